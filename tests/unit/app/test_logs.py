"""Log output: each record is one line in JSON or text, whatever its fields contain."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.app.logs import JSONFormatter, TextFormatter, configure, set_level

LOGGER = logging.getLogger("spotalis.test_logs")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    LOGGER.setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def _record(message: str, fields: object = None, *args: object) -> logging.LogRecord:
    record = logging.LogRecord("spotalis.x", logging.WARNING, "x.py", 1, message, args, None)
    record.created = 1795428000.25
    if fields is not None:
        record.fields = fields
    return record


def test_a_json_line_has_time_level_logger_message_and_the_fields() -> None:
    line = JSONFormatter().format(_record("Eviction refused", {"code": 429, "workload": "a/b"}))
    assert json.loads(line) == {
        "time": "2026-11-23T10:00:00.250Z",
        "level": "warning",
        "logger": "spotalis.x",
        "message": "Eviction refused",
        "code": 429,
        "workload": "a/b",
    }


def test_a_text_line_has_the_same_parts() -> None:
    fields = {"code": 429, "workload": "a/b", "note": "two words"}
    assert TextFormatter().format(_record("Eviction refused", fields)) == (
        "2026-11-23T10:00:00.250Z warning spotalis.x Eviction refused"
        ' code=429 workload=a/b note="two words"'
    )


def test_an_exception_is_one_json_field() -> None:
    stream = io.StringIO()
    configure(stream)
    try:
        raise RuntimeError("broken\nin two")
    except RuntimeError:
        LOGGER.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "it failed"
    assert json.loads(line)["exception"].endswith("RuntimeError: broken\nin two")


def test_the_lines_of_an_exception_are_indented_in_text() -> None:
    stream = io.StringIO()
    configure(stream, form="text")
    try:
        raise RuntimeError("broken\n2026-11-23T10:00:00.000Z info forged")
    except RuntimeError:
        LOGGER.exception("it failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("it failed")
    assert all(line.startswith("    | ") for line in rest)


@given(st.text(), st.dictionaries(st.text(), st.text() | st.floats() | st.binary()))
def test_whatever_is_logged_is_one_line(message: str, fields: dict[str, Any]) -> None:
    record = _record("%s", fields, message)
    as_json, as_text = JSONFormatter().format(record), TextFormatter().format(record)
    assert len(as_json.splitlines()) == 1 or "\n" not in as_json
    json.loads(as_json)
    assert re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", as_text) is None


class _Odd:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "value",
    [_Odd(), "\ud800", {("a", 1): 2}, {"x": [_Odd()]}, timedelta(seconds=3), object, 2**80],
    ids=["no str", "surrogate", "tuple key", "nested", "duration", "a class", "a huge number"],
)
def test_a_field_of_any_kind_never_raises(value: object) -> None:
    json.loads(JSONFormatter().format(_record("m", {"value": value})))
    assert "value=" in TextFormatter().format(_record("m", {"value": value}))


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()])
def test_a_long_field_is_cut_and_its_length_is_named(formatter: logging.Formatter) -> None:
    """With a megabyte of beginnings of a JSON web token, the search for secrets takes minutes."""
    line = formatter.format(_record("Eviction refused", {"error": "eyJ-" * 250_000}))
    assert len(line) < 5_000
    assert "... (1000000 characters)" in line


def test_fields_that_are_not_a_mapping_are_omitted() -> None:
    assert "fields" not in json.loads(JSONFormatter().format(_record("m", "nonsense")))


def test_a_field_cannot_replace_message_or_level() -> None:
    line = json.loads(JSONFormatter().format(_record("true", {"message": "false", "level": "x"})))
    assert (line["message"], line["level"]) == ("true", "warning")


_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
_KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()], ids=["json", "text"])
@pytest.mark.parametrize(
    ("message", "fields", "secret"),
    [
        pytest.param("Authorization: Bearer abc.def-123", {}, "abc.def-123", id="bearer"),
        pytest.param("got " + _TOKEN, {}, "eyJzdWIi", id="a JSON web token"),
        pytest.param("key", {"pem": _KEY}, "MHcCAQEE", id="a private key"),
        pytest.param("key", {"pem": _KEY[:45]}, "MHcCAQEE", id="half a private key"),
        pytest.param("m", {"token": "s3cr3t"}, "s3cr3t", id="a field called token"),
        pytest.param("m", {"client_secret": "s3cr3t"}, "s3cr3t", id="a field that ends in secret"),
    ],
)
def test_a_secret_is_never_written(
    formatter: logging.Formatter, message: str, fields: dict[str, object], secret: str
) -> None:
    line = formatter.format(_record(message, fields))
    assert secret not in line
    assert "[hidden]" in line


def test_a_line_with_a_hidden_secret_is_valid_json() -> None:
    line = JSONFormatter().format(_record("m", {"a": _KEY[:45], "b": "Bearer x", "z": 1}))
    assert json.loads(line)["z"] == 1


def test_levels_can_be_set_globally_and_per_logger_at_run_time() -> None:
    stream = io.StringIO()
    configure(stream, level="warning", levels={"spotalis.test_logs": "debug"})
    LOGGER.debug("one")
    logging.getLogger("spotalis.other").info("two")
    set_level("spotalis.test_logs", "error")
    LOGGER.warning("three")
    set_level("", "info")
    logging.getLogger("spotalis.other").info("four")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "one",
        "four",
    ]


def test_configuring_again_replaces_the_first_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(first)
    configure(second)
    LOGGER.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_an_unknown_level_is_rejected() -> None:
    with pytest.raises(ValueError, match="must be debug, info, warning or error, not loud"):
        set_level("spotalis", "loud")


def test_python_warnings_are_logged() -> None:
    stream = io.StringIO()
    configure(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    assert json.loads(stream.getvalue())["logger"] == "py.warnings"


def test_the_time_is_that_of_the_record_in_utc() -> None:
    record = _record("m")
    at = datetime.fromisoformat(json.loads(JSONFormatter().format(record))["time"])
    assert at == datetime.fromtimestamp(record.created, UTC)
