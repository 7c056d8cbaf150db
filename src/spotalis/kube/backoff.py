"""Delays between retries."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from spotalis.model.environment import Random


class Backoff:
    """Delays that double from ``floor_seconds`` to ``ceiling_seconds``, with jitter.

    Each delay is drawn from the upper half of its step, so that clients that failed together do
    not retry together.
    """

    def __init__(
        self, rng: Random, *, floor_seconds: float = 0.8, ceiling_seconds: float = 30.0
    ) -> None:
        self._rng = rng
        self._floor = floor_seconds
        self._ceiling = ceiling_seconds
        self._step = floor_seconds

    def next_seconds(self) -> float:
        """The next delay, within [floor, ceiling]."""
        high = self._step = min(self._step * 2, self._ceiling)
        low = max(self._floor, high / 2)
        return low + (high - low) * self._rng.random()

    def reset(self) -> None:
        """Start from the floor again, after a success."""
        self._step = self._floor


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """The delay that a ``Retry-After`` header asks for; None if the header cannot be parsed.

    The header holds seconds or an HTTP date; a past date is 0.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
