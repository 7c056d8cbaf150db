"""Waiting in real time for something that another process does."""
# ruff: noqa: TID251  # what is waited for happens in other processes, in real time

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_POLL = 0.04  # seconds between two looks


def eventually(check: Callable[[], _T], *, within: float, what: str) -> _T:
    """Asks again and again, 25 times a second, until the answer is true.

    check:   returns something true once it has happened; what it raises ends the wait.
    within:  seconds; check is asked at least twice.
    what:    what is waited for, in words, for the error.
    Returns: the first true answer.
    Raises:  NeverHappenedError with the last answer.
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
    """What a test waited for did not come true before its deadline."""
