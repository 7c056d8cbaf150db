"""Token buckets, and the client's rate limit that is made of one."""

from __future__ import annotations

import asyncio

from spotalis.model.environment import Clock


class TokenBucket:
    """Holds up to ``burst`` tokens and earns ``rate`` tokens per second; starts full."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock.monotonic()

    def take(self, *, reserve: int = 0) -> float:
        """Take a token and return 0, or return the seconds until one can be taken.

        ``reserve`` tokens are left for others.
        """
        now = self._clock.monotonic()
        earned = max(0.0, now - self._filled_at) * self._rate
        self._tokens = min(self._burst, self._tokens + earned)
        self._filled_at = now
        missing = 1 + reserve - self._tokens
        if missing > _ROUNDING:
            return missing / self._rate
        self._tokens -= 1
        return 0.0


class RateLimiter:
    """Limits requests; those with priority go first, so that a busy operator keeps its lease."""

    def __init__(self, qps: float, burst: int, clock: Clock) -> None:
        if qps <= 0 or burst < 1:
            raise ValueError("qps must be greater than 0, and burst at least 1")
        self._bucket = TokenBucket(qps, float(burst), clock)
        self._lanes = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._priority_waiting = 0

    async def acquire(self, priority: bool = False) -> None:
        """Wait for a token; each of the two lanes is first come, first served."""
        self._priority_waiting += priority
        try:
            async with self._lanes[priority]:  # at most one request per lane waits below
                seconds = self._take(priority)
                while seconds > 0:
                    await asyncio.sleep(seconds)
                    seconds = self._take(priority)
        finally:
            self._priority_waiting -= priority

    def _take(self, priority: bool) -> float:
        return self._bucket.take(reserve=0 if priority else self._priority_waiting)


_ROUNDING = 1e-6
"""A sleep may end a rounding error early; a millionth of a token is not worth another one."""
