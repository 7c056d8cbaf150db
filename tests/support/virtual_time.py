"""A day in a moment: the virtual loop, with a clock for those that have no loop yet."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from spotalis.embedded.virtual_time import VirtualTimeLoop

T = TypeVar("T")

STARTED_AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class LoopClock:
    """Tells the running loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return STARTED_AT + timedelta(seconds=self.monotonic())


def in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, however long it sleeps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
