"""Wait for an event or for time to pass."""

from __future__ import annotations

import asyncio


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
