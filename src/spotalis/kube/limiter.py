"""The client's own rate limit, so that a busy operator does not crowd out its own lease."""

from __future__ import annotations

import asyncio

from spotalis.model.environment import Clock


class RateLimiter:
    """A token bucket in which requests with priority are served first."""

    def __init__(self, qps: float, burst: int, clock: Clock) -> None:
        if qps <= 0 or burst < 1:
            raise ValueError("qps must be greater than 0, and burst at least 1")
        self._qps = qps
        self._burst = float(burst)
        self._clock = clock
        self._tokens = self._burst
        self._filled_at = clock.monotonic()
        self._lanes = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._priority_waiting = 0

    async def acquire(self, priority: bool = False) -> None:
        """Wait for a token; each of the two lanes is first come, first served."""
        self._priority_waiting += priority
        try:
            async with self._lanes[priority]:  # so that one of each lane at most waits below
                seconds = self._take(priority)
                while seconds > 0:
                    await asyncio.sleep(seconds)
                    seconds = self._take(priority)
        finally:
            self._priority_waiting -= priority

    def _take(self, priority: bool) -> float:
        """Take a token and return 0, or return the seconds until there can be one."""
        now = self._clock.monotonic()
        earned = max(0.0, now - self._filled_at) * self._qps
        self._tokens = min(self._burst, self._tokens + earned)
        self._filled_at = now
        ahead = 0 if priority else self._priority_waiting
        missing = 1 + ahead - self._tokens
        if missing > _ROUNDING:
            return missing / self._qps
        self._tokens -= 1
        return 0.0


_ROUNDING = 1e-6
"""A sleep may end a rounding error early; a millionth of a token is not worth another."""
