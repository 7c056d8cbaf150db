"""The clocks of the machine; no other module reads them."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock and monotonic clock of the machine."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The clock that asyncio's event loop uses."""
        return time.monotonic()
