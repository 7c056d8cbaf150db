"""Wait for an event, or for a coroutine, or for time to pass."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineExceededError(TimeoutError):
    """A coroutine did not end in time."""


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for a limited time.

    A timer is started only if the coroutine has to wait: most requests are answered without.

    Raises:
        DeadlineExceededError: the coroutine was cancelled after ``seconds``.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await _resume(coroutine, awaited)
    except TimeoutError:
        if timer.expired():
            raise DeadlineExceededError from None
        raise


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until ``event`` is set, for at most ``seconds`` (None: without limit).

    Returns whether it is set. ``asyncio.wait_for`` is avoided: before Python 3.12 it can swallow
    a cancellation that arrives together with the event.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine, which has begun and waits for ``awaited``."""
    while True:
        step: Callable[[Any], Any]
        argument: Any
        try:
            argument, step = (yield awaited), coroutine.send
        except BaseException as error:
            argument, step = error, coroutine.throw
        try:
            awaited = step(argument)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            argument = None  # an error would reference this frame, which references the error
