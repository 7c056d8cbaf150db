"""The values of the annotations that an owner writes, and their parsers.

Each parser raises ValueError for an invalid value, with the end of a sentence as its message. See
docs/reference/behaviour.md, "What an owner writes".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spotalis.model.disruption import MoveLimit
from spotalis.model.durations import parse_duration

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo  # `spotalis controller --help` needs no schedule

FOREVER = datetime.max.replace(tzinfo=UTC)
"""A pause without an end."""


def parse_percentage(text: str) -> int:
    """The share of replicas on spot, in percent."""
    digits = text.removesuffix("%")
    if not re.fullmatch(r"[0-9]{1,3}", digits) or int(digits) > 100:
        raise ValueError("must be a whole number from 0 to 100, with or without %")
    return int(digits)


def parse_minimum(text: str) -> int:
    """The minimum of replicas on on-demand."""
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError("must be a whole number from 0 to 9999")
    return int(text)


def parse_fallback(text: str) -> timedelta:
    """How long a spot replica may be unschedulable; ``timedelta.max`` for ``never``."""
    if text == "never":
        return timedelta.max
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or never") from None


def parse_boolean(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError('must be "true" or "false"')
    return text == "true"


def parse_paused_until(text: str) -> datetime:
    """The end of a pause; ``FOREVER`` if it has none."""
    if text == "forever":
        return FOREVER
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or "T" not in text:
        raise ValueError("must be an instant such as 2026-03-01T18:00:00Z, or forever")
    return instant


def parse_move_limit(text: str) -> MoveLimit:
    """How many replicas may move at once."""
    share = re.fullmatch(r"([0-9]{1,3})%", text)
    if share and 1 <= int(share[1]) <= 100:
        return MoveLimit(percent=int(share[1]))
    if re.fullmatch(r"[0-9]{1,4}", text) and int(text) > 0:
        return MoveLimit(count=int(text))
    raise ValueError("must be a whole number from 1 to 9999, or a percentage from 1% to 100%")


def parse_schedule(text: str) -> str:
    """A cron expression of five fields."""
    if (problem := _problem_of_schedule(text)) is not None:
        raise ValueError(f"must be a cron expression of 5 fields{problem}")
    return text


@lru_cache(maxsize=256)
def _problem_of_schedule(text: str) -> str | None:
    """Why a schedule is invalid; None if it is not. CronSim searches 50 years, day by day, for the
    first firing of a schedule that never fires."""
    from cronsim import CronSim, CronSimError

    if len(text.split()) != 5:
        return ""
    try:
        next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        return f" ({error})"
    return None


def parse_timezone(text: str) -> ZoneInfo:
    """An IANA time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None


KEYS: Mapping[str, Callable[[str], Any]] = {
    "spot-percentage": parse_percentage,
    "min-on-demand": parse_minimum,
    "spot-fallback": parse_fallback,
    "disruption-schedule": parse_schedule,
    "disruption-duration": parse_duration,
    "disruption-timezone": parse_timezone,
    "pdb-override": parse_boolean,
    "paused-until": parse_paused_until,
    "paused-reason": str,
    "max-moves-in-flight": parse_move_limit,
}
"""Every annotation that an owner may write, with its parser. ``enabled`` is not among them: it is
also read from labels, and ``false`` wins."""
