"""A clock that a test advances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A wall clock and a monotonic clock that advance together."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)) -> None:
        self._start = now
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Return the time of the wall clock."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return 1000.0 + self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds
