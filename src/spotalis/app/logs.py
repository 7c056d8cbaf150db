"""Log output: one line per record on one stream, as JSON or as text.

Modules log through :mod:`spotalis.logs`. This module chooses the stream, the format and the levels,
and hides credentials.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from spotalis.model.timestamps import format_milli_time

_SECRET_FIELD = re.compile(r"(?i)(token|password|secret|authorization|private|key_pem)$")
_SECRET_TEXT = re.compile(
    # A private key, complete or truncated; not beyond the end of a surrounding JSON string.
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"(?:[^\"\\]|\\[^\"])*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=\\?\")|$)"
    r"|(?i:bearer) +[\w.~+/-]+=*"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"  # a JSON web token, such as a service account's
)
_HIDDEN = "[hidden]"
MAX_FIELD_LENGTH = 4096
"""Characters of a field. An admission webhook of a tenant can deny an eviction with a message of
any length, and some texts make the search for secrets quadratic."""
_PLAIN = re.compile(r"[\w./:@%+-]+")


def configure(
    stream: TextIO,
    *,
    form: Literal["json", "text"] = "json",
    level: str = "info",
    levels: Mapping[str, str] | None = None,
) -> None:
    """Write every log line of the process to ``stream``; a second call replaces the first.

    Args:
        stream: standard error for ``spotalis controller``.
        form: ``json`` for machines, ``text`` for people.
        level, levels: of all and of individual loggers; see :func:`set_level`.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, (JSONFormatter, TextFormatter)):
            root.removeHandler(old)
    root.addHandler(handler)
    logging.captureWarnings(True)
    set_level("", level)
    for name, own in (levels or {}).items():
        set_level(name, own)


def set_level(name: str, level: str) -> None:
    """Change the level of a logger and of the loggers below it.

    Args:
        name: such as ``spotalis.planner``; ``""`` for all loggers without their own level.
        level: ``debug``, ``info``, ``warning`` or ``error``; others raise ValueError.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"must be debug, info, warning or error, not {level}")
    logging.getLogger(name).setLevel(number)


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, fields and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; never raises, whatever its fields contain."""
        line = {
            **_fields(record),
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return _hide(_json(line))


class TextFormatter(logging.Formatter):
    """The same for people, in one line; the lines of an exception are indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; never raises, whatever its fields contain."""
        words = [
            _time(record),
            f"{record.levelname.lower():<7}",
            record.name,
            _one_line(record.getMessage()),
            *(f"{_one_line(str(k))}={_word(v)}" for k, v in _fields(record).items()),
        ]
        text = " ".join(words)
        if record.exc_info and record.exc_info[0] is not None:
            below = self.formatException(record.exc_info).split("\n")
            text = "\n    | ".join([text, *map(_one_line, below)])
        return _hide(text)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given: object = getattr(record, "fields", None)
    if not isinstance(given, Mapping):
        return {}
    return {str(k): _HIDDEN if _SECRET_FIELD.search(str(k)) else _cut(v) for k, v in given.items()}


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > MAX_FIELD_LENGTH:
        return f"{value[:MAX_FIELD_LENGTH]}... ({len(value)} characters)"
    return value


def _time(record: logging.LogRecord) -> str:
    return format_milli_time(datetime.fromtimestamp(record.created, UTC))


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except Exception:
        # Keys that JSON does not support, lone surrogates, or a __str__ that raises.
        return msgspec.json.encode(_safe(value)).decode()


def _safe(value: object) -> object:
    if isinstance(value, Mapping):
        return {_safe_text(k): _safe(v) for k, v in value.items()}
    return value if isinstance(value, int | float | None) else _safe_text(value)


def _safe_text(value: object) -> str:
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__} without text>"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _word(value: object) -> str:
    text = value if isinstance(value, str) else _json(value)
    return text if _PLAIN.fullmatch(text) else _one_line(_json(value))


def _hide(line: str) -> str:
    return _SECRET_TEXT.sub(_HIDDEN, line)
