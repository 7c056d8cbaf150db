"""Time as an argument."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the composition root chooses whose."""

    def now(self) -> datetime:
        """The wall clock: an aware datetime in UTC, for stamps and windows, never for leases."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For leases, budgets and deadlines."""
        ...
