"""Wait in real time for something that another process does."""
# ruff: noqa: TID251  # what is waited for happens in other processes, in real time

from __future__ import annotations

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
