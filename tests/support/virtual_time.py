"""Run tests in virtual time: on a loop where a sleep of a day takes no time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from spotalis.embedded.virtual_time import VirtualClock, VirtualTimeLoop

P = ParamSpec("P")
T = TypeVar("T")

STARTED_AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def virtual_clock(started_at: datetime = STARTED_AT) -> VirtualClock:
    """Return the clock of the running loop, whose time began at ``started_at``."""
    return VirtualClock(asyncio.get_running_loop(), started_at)


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new loop in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorate an async test so that it runs on a new loop in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run
