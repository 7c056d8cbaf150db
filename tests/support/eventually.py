"""Wait for a condition: in real time in another process, or on the running event loop."""
# ruff: noqa: TID251  # what is waited for happens in other processes, in real time

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_POLL = 0.04  # seconds between two calls


def eventually(check: Callable[[], _T], *, within: float, what: str) -> _T:
    """Call ``check`` 25 times a second until it returns a true value, and return that value.

    Args:
        check: called at least twice; its exceptions end the wait.
        within: seconds.
        what: description of the condition, for the error message.

    Raises:
        NeverHappenedError: with the last value.
    """
    deadline = time.monotonic() + within
    while not (answer := check()):
        if time.monotonic() > deadline and not (answer := check()):
            raise NeverHappenedError(f"not within {within:g} s: {what} (last: {answer!r})")
        if answer:
            break
        time.sleep(_POLL)
    return answer


class NeverHappenedError(AssertionError):
    """A condition that a test waited for did not become true in time."""


async def until(
    condition: Callable[[], object], *, within: float = 600.0, every: float = 0.1
) -> float:
    """Wait on the running event loop, in its time, until the condition holds.

    Args:
        condition: called every ``every`` seconds.
        within: seconds.
        every: seconds.

    Returns:
        The seconds waited.

    Raises:
        NeverHappenedError: it did not hold in time.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not condition():
        if loop.time() - start >= within:
            raise NeverHappenedError(f"not within {within:g} s")
        await asyncio.sleep(every)
    return loop.time() - start
