"""Time and randomness as arguments, so that every run can be repeated exactly."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the composition root chooses which one."""

    def now(self) -> datetime:
        """The wall clock: an aware datetime in UTC, for stamps and windows, never for leases."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For leases, budgets and deadlines."""
        ...


class Random(Protocol):
    """The source of jitter, generated names and tie-breaks; ``random.Random`` implements it."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A whole number of ``k`` random bits."""
        ...
