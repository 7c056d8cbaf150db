"""An event loop on which time passes only when nothing else can happen.

When no task can run, the loop does not wait for the next timer: it makes it the time of that
timer. A simulated day takes as long as its computations do, and production code needs no other way
to sleep than ``asyncio.sleep``. Everything must happen in this process and thread: a thread or a
socket would live in real time, so both are refused.
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
"""When virtual time begins, unless said otherwise: a Thursday."""


_TICKS = 1_000_000
"""Ticks of a virtual second."""


class Deadlock(RuntimeError):
    """Every task waits for another: no timer is set and nothing can ever happen."""


class RealTimeNeeded(RuntimeError):
    """What was asked for happens in real time."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The event loop; ``time()`` is in virtual seconds and begins at 0.

    Raises:
        Deadlock: from whatever runs the loop.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_JumpingSelector(self))
        # Within this a timer counts as due. Timers lie on ticks, so that none is due before its
        # time has come: whoever then waits for the rest of it would wait for ever.
        self._clock_resolution = 0.5 / _TICKS

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._seconds

    def jump(self, seconds: float) -> None:
        """Let time pass; called by the selector when nothing is ready."""
        self._seconds = round((self._seconds + seconds) * _TICKS) / _TICKS

    def call_at(  # type: ignore[override]  # the tuple of its arguments is passed on as it is
        self, when: float, *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        """As for every loop, but on the next tick."""
        tick = round(when * _TICKS)
        return super().call_at((tick + (tick / _TICKS < when)) / _TICKS, *args, **kwargs)

    def run_in_executor(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refused: a thread takes real time."""
        raise RealTimeNeeded("threads cannot be used in virtual time")

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise RealTimeNeeded("sockets cannot be used in virtual time")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise RealTimeNeeded("sockets cannot be used in virtual time")

    async def create_datagram_endpoint(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise RealTimeNeeded("sockets cannot be used in virtual time")

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise RealTimeNeeded("processes cannot be used in virtual time")

    async def subprocess_shell(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise RealTimeNeeded("processes cannot be used in virtual time")


class VirtualClock:
    """A :class:`spotalis.model.environment.Clock` that tells the time of a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: datetime = EPOCH) -> None:
        """``epoch``: the wall clock (aware, UTC) at the loop's second 0."""
        self._loop = loop
        self._epoch = epoch

    def now(self) -> datetime:
        """The epoch plus what has passed."""
        return self._epoch + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, epoch: datetime = EPOCH) -> T:
    """Run ``main(clock)`` on a loop of its own, in virtual time from ``epoch`` on.

    Raises:
        Deadlock: ``main`` waits for what can never happen.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main(VirtualClock(runner.get_loop(), epoch)))


class _JumpingSelector(selectors.BaseSelector):
    """Looks at its files without waiting; where it would have to wait, time jumps instead.

    The only file is the loop's own pipe, through which other threads and signals wake it.
    """

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._files = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []  # something is ready to run; the pipe can wait until nothing is
        found = self._files.select(0)
        if found:
            return found
        if timeout is None:
            raise Deadlock(_explained(self._loop))
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


def _explained(loop: asyncio.AbstractEventLoop) -> str:
    waiting = sorted(
        f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', task.get_coro())})"
        for task in asyncio.all_tasks(loop)
    )
    tasks = ", ".join(waiting) or "no task"
    return f"nothing can happen any more at virtual second {loop.time():g}; waiting: {tasks}"
