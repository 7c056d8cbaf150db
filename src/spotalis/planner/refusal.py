"""What is remembered of evictions that were refused or whose outcome is not known.

See docs/reference/behaviour.md, "Repair".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

MIN_REFUSED_BACKOFF = timedelta(seconds=10)
MIN_UNKNOWN_BACKOFF = timedelta(seconds=2)
"""A lost response is likely to be followed by a clear one."""
MAX_BACKOFF = timedelta(minutes=5)
"""Policies that depend on the time of day are noticed within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Consecutive evictions of one pod without success."""

    message: str
    """The last answer of the API server."""
    failures: int
    retry_at: datetime
    """The pod is not evicted before then."""
    is_certain: bool = True
    """The last eviction was certainly not carried out."""

    def is_backing_off(self, now: datetime) -> bool:
        """Whether the pod must not be evicted yet."""
        return now < self.retry_at

    @property
    def is_stuck(self) -> bool:
        """Whether it is more than a lost response."""
        return self.is_certain or self.failures > 1

    def describe(self, pod_name: str) -> str:
        """The refusal in words, without the time of the next try."""
        how = "was refused" if self.is_certain else "has failed, and may still take place"
        return f"the eviction of {pod_name} {how}: {self.message}"


def next_refusal(
    previous: Refusal | None, message: str, *, is_certain: bool, now: datetime
) -> Refusal:
    """The refusal after one more eviction without success: the delay doubles up to a maximum."""
    failures = 1 if previous is None else previous.failures + 1
    first = MIN_REFUSED_BACKOFF if is_certain else MIN_UNKNOWN_BACKOFF
    delay = min(first * 2 ** min(failures - 1, 10), MAX_BACKOFF)
    return Refusal(message=message, failures=failures, retry_at=now + delay, is_certain=is_certain)


def next_retry_in(refusals: Iterable[Refusal], now: datetime) -> timedelta | None:
    """Time until the first of these pods may be evicted again; None if none is backing off."""
    delays = [one.retry_at - now for one in refusals if one.is_backing_off(now)]
    return min(delays, default=None)
