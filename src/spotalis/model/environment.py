"""Time and randomness as arguments, so that every run can be repeated exactly."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The wall clock in UTC, for timestamps and windows, never for leases."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For leases, budgets and deadlines."""
        ...


class Random(Protocol):
    """A source of jitter, generated names and tie-breaks; ``random.Random`` implements it."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """An integer of ``k`` random bits."""
        ...
