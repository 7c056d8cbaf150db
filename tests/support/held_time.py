"""Time that passes only when a test lets it, on a loop with real sockets.

For what a server does at its deadlines: however slow the machine is, none comes before the test
lets it come. (A virtual loop, :mod:`spotalis.embedded.virtual_time`, has no sockets.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 60.0
"""After so long in real time it passes by itself: who waits in vain fails instead of hanging."""


class HeldTime:
    """The time of a loop, at rest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._began = loop.time()
        self._passed = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass; what comes due happens in the loop's next turns."""
        self._passed += seconds

    def seconds(self) -> float:
        """As the loop counts them."""
        overdue = max(0.0, self._real() - self._began - _PATIENCE_SECONDS)
        return self._began + self._passed + overdue


@contextmanager
def held_time() -> Iterator[HeldTime]:
    """Hold the running loop's time until the block ends."""
    loop = asyncio.get_running_loop()
    held = HeldTime(loop)
    loop.time = held.seconds  # type: ignore[method-assign]
    try:
        yield held
    finally:
        del loop.time  # the class's own again
