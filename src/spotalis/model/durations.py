"""Durations in Go's syntax (``1h30m``, ``500ms``), plus the units ``d`` and ``w``."""

from __future__ import annotations

import re
from datetime import timedelta

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_MAXIMUM = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """Parse a positive duration of up to 366 days.

    This is stricter than Go: every number needs a unit, units must be in decreasing order and may
    occur once; a sign is not allowed. Typing errors such as ``90``, ``5 m`` or ``1h1h`` are errors.

    Raises:
        ValueError: says what a duration must look like.
    """
    total, last, position = 0.0, float("inf"), 0
    # Matching at one position is linear; searching for the next part of "111..." is quadratic.
    while (part := _PART.match(text, position)) and _SECONDS[part[2]] < last:
        last, position = _SECONDS[part[2]], part.end()
        total += float(part[1]) * last
    if position != len(text) or not text:
        raise ValueError("must be a duration such as 90s, 5m or 1h30m")
    if total > _MAXIMUM.total_seconds():
        raise ValueError("must not be longer than 366d")
    duration = timedelta(seconds=total)
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def format_duration(duration: timedelta) -> str:
    """Format a duration as the shortest text that :func:`parse_duration` accepts.

    It is rounded to milliseconds.
    """
    left = round(duration.total_seconds() * 1000)
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
