"""An event loop in virtual time: when no task can run, it advances to the next timer.

A simulated day takes only as long as its computations, and production code sleeps with
``asyncio.sleep`` as usual. Threads, sockets and processes would run in real time, so the loop
rejects them.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from selectors import SelectorKey
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The default start of virtual time, a Thursday."""


_TICKS = 1_000_000
"""Ticks per virtual second."""


class Deadlock(RuntimeError):
    """All tasks wait for each other and no timer is set, so the loop can never continue."""


class RealTimeNeeded(RuntimeError):
    """The operation would take real time."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The event loop; ``time()`` is in virtual seconds and begins at 0.

    Raises:
        Deadlock: from whatever runs the loop.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_JumpingSelector(self))
        # A timer within this resolution is due. Timers are rounded up to ticks so that none fires
        # early: code that then waits for the remaining time would not make progress.
        self._clock_resolution = 0.5 / _TICKS

    def time(self) -> float:
        """Virtual seconds since the loop was created."""
        return self._seconds

    def jump(self, seconds: float) -> None:
        """Advance the time; the selector calls this when nothing is ready."""
        self._seconds = round((self._seconds + seconds) * _TICKS) / _TICKS

    def call_at(  # type: ignore[override]  # the tuple of its arguments is passed on as it is
        self, when: float, *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        """Schedule a callback, rounded up to the next tick."""
        tick = round(when * _TICKS)
        return super().call_at((tick + (tick / _TICKS < when)) / _TICKS, *args, **kwargs)

    def run_in_executor(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Not supported: threads run in real time."""
        raise RealTimeNeeded("threads cannot be used in virtual time")

    async def _not_supported(self, *_: Any, **__: Any) -> NoReturn:
        raise RealTimeNeeded("sockets and processes cannot be used in virtual time")

    create_connection = create_server = create_datagram_endpoint = _not_supported
    subprocess_exec = subprocess_shell = _not_supported


class VirtualClock:
    """A :class:`spotalis.model.environment.Clock` that shows the time of a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: datetime = EPOCH) -> None:
        """``epoch`` is the wall clock (aware, UTC) at second 0 of the loop."""
        self._loop = loop
        self._epoch = epoch

    def now(self) -> datetime:
        """The epoch plus the elapsed virtual time."""
        return self._epoch + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """The time of the loop."""
        return self._loop.time()


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, epoch: datetime = EPOCH) -> T:
    """Run ``main(clock)`` on a new virtual loop that starts at ``epoch``.

    Raises:
        Deadlock: ``main`` waits for something that can never happen.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main(VirtualClock(runner.get_loop(), epoch)))


class _JumpingSelector(selectors.BaseSelector):
    """A selector that never waits: it advances the time of the loop instead.

    Its only file is the pipe through which signals and other threads wake the loop.
    """

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._files = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []  # callbacks are ready; the pipe is read when there are none
        found = self._files.select(0)
        if found:
            return found
        if timeout is None:
            raise Deadlock(_deadlock_message(self._loop))
        self._loop.jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()


def _deadlock_message(loop: asyncio.AbstractEventLoop) -> str:
    waiting = sorted(
        f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', task.get_coro())})"
        for task in asyncio.all_tasks(loop)
    )
    tasks = ", ".join(waiting) or "no task"
    return f"deadlock at virtual second {loop.time():g}; waiting: {tasks}"
