"""The reference of the keys, and its patterns: they agree with the parsers of the operator."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import spotalis
from spotalis.cli.error_codes import ERRORS
from spotalis.cli.key import KEY_HELP, SCHEMAS
from spotalis.cli.main import run
from spotalis.model.policy_values import KEYS

VALID = {
    "enabled": ["true", "false"],
    "pdb-override": ["true", "false"],
    "spot-percentage": ["0", "00", "007", "70", "70%", "100", "100%"],
    "min-on-demand": ["0", "0001", "9999"],
    "spot-fallback": ["never", "90s", "1h30m", "1.5h", "2w3d4h5m6s7ms"],
    "max-moves-in-flight": ["1", "0001", "9999", "1%", "010%", "100%"],
    "paused-until": ["forever", "2026-12-24T06:00:00Z", "2026-12-24T06:00+01:00", "20261224T06Z"],
    "paused-reason": ["", "any text", "two\nlines"],
    "disruption-schedule": ["0 2 * * 1-5", "*/5 * * * *", "0  2\t* * *"],
    "disruption-duration": ["3h", "500ms"],
    "disruption-timezone": ["UTC", "Europe/Berlin", "Etc/GMT+1", "America/Port-au-Prince"],
}
WRONG = {
    "enabled": ["yes", "True", ""],
    "pdb-override": ["1", ""],
    "spot-percentage": ["7O", "101", "-1", "0.5", "70 %", "", "1000"],
    "min-on-demand": ["-1", "10000", "1.5", "two", ""],
    "spot-fallback": ["90", "5 m", "1h1h", "1m1h", "soon", ""],
    "max-moves-in-flight": ["0", "0%", "ten", "-1", ""],
    "paused-until": ["tomorrow", "2026-12-24", "2026-12-24T06:00:00", "true", ""],
    "paused-reason": [],
    "disruption-schedule": ["0 2 * *", "daily", "0 2 * * 1-5 x", ""],
    "disruption-duration": ["3", "h", ""],
    "disruption-timezone": ["Europe Berlin", ""],
}


def parses(key: str, text: str) -> bool:
    try:
        if key == "enabled":
            return text in ("true", "false")
        KEYS[key](text)
    except ValueError:
        return False
    return True


def matches(key: str, text: str) -> bool:
    return all(re.fullmatch(pattern, text) for pattern in KEY_HELP[key].patterns)


@pytest.mark.parametrize("key", KEY_HELP)
def test_the_patterns_accept_valid_values_and_reject_typical_mistakes(key: str) -> None:
    for text in VALID[key]:
        assert (parses(key, text), matches(key, text)) == (True, True), text
    for text in WRONG[key]:
        assert (parses(key, text), matches(key, text)) == (False, False), text


def test_every_key_is_described() -> None:
    assert KEY_HELP.keys() == {"enabled", *KEYS}
    for help_ in KEY_HELP.values():
        assert set(help_.also) <= KEY_HELP.keys()


def test_a_key_is_described_with_or_without_its_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spotalis", "key", "spotalis.io/spot-percentage"]) == 0
    first = capsys.readouterr().out
    assert run(["spotalis", "key", "spot-percentage"]) == 0
    assert capsys.readouterr().out == first
    assert first.startswith("KEY:      spotalis.io/spot-percentage (annotation)\n")


def test_an_unknown_key_suggests_a_similar_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spotalis", "key", "spot-percent"]) == 2
    assert "did you mean 'spot-percentage'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_schema_of_an_output_is_json_schema(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spotalis", "key", "--schema", command]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"$ref", "$defs"} <= schema.keys()


def test_every_code_in_the_source_is_described_and_no_other() -> None:
    source = Path(spotalis.__file__).parent
    codes = {
        code
        for file in source.rglob("*.py")
        if file.name != "error_codes.py"
        for code in re.findall(r'"(SP[0-9]{3})"', file.read_text("utf-8"))
    }
    assert set(ERRORS) == codes


@pytest.mark.parametrize("code", ["SP101", "sp101"])
def test_a_code_prints_its_description(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spotalis", "key", code]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["CODE", "MEANING", "MEANWHILE", "FIX"]
    assert lines[2] == "MEANWHILE: The workload is left unchanged and reports InvalidPolicy."
    assert max(map(len, lines)) <= 80


def test_an_unknown_code_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spotalis", "key", "SP999"]) == 2
    assert "'SP999' is not a code of Spotalis" in capsys.readouterr().err
