"""An event loop with real sockets whose time passes only when a test advances it.

For the deadlines of servers: on a slow machine no deadline passes before the test wants it to. (The
loop of :mod:`spotalis.embedded.virtual_time` has no sockets.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 60.0
"""After this much real time, time passes by itself, so that a test fails instead of hanging."""


class HeldTime:
    """The time of a loop, which a test advances."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._began = loop.time()
        self._passed = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass. Timers that are due run in the next iterations of the loop."""
        self._passed += seconds

    def seconds(self) -> float:
        """Return the time of the loop."""
        overdue = max(0.0, self._real() - self._began - _PATIENCE_SECONDS)
        return self._began + self._passed + overdue


@contextmanager
def held_time() -> Iterator[HeldTime]:
    """Hold the time of the running loop during the block."""
    loop = asyncio.get_running_loop()
    held = HeldTime(loop)
    loop.time = held.seconds  # type: ignore[method-assign]
    try:
        yield held
    finally:
        del loop.time  # restores the method of the class
