"""The wall clock of the API server."""

from __future__ import annotations

from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

from spotalis.model.environment import Clock
from spotalis.model.transport import Response

CLOCK_TOLERANCE = timedelta(minutes=1)
"""Smaller differences are not reported: a Date has whole seconds, and responses take time."""


class ServerClock:
    """Compares the clock of this process with the Date header of the API server's responses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[str, float] | None = None
        """The last Date header, and the monotonic time of its arrival."""

    def observe(self, response: Response) -> None:
        """Read the header of a response that has just arrived."""
        if date := response.headers.get("date"):
            self._last = (date, self._clock.monotonic())

    def skew(self) -> timedelta:
        """The time by which the API server's clock is ahead of this process's clock.

        0 within CLOCK_TOLERANCE, and as long as no response had a valid Date.
        """
        if self._last is None:
            return timedelta(0)
        date, arrived_at = self._last
        try:
            at = parsedate_to_datetime(date)
        except ValueError:
            return timedelta(0)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        elapsed = timedelta(seconds=self._clock.monotonic() - arrived_at)
        skew = at + elapsed - self._clock.now()
        return skew if abs(skew) > CLOCK_TOLERANCE else timedelta(0)
