"""A coroutine is awaited for a limited time; only one that waits gets a timer."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.kube.waiting import DeadlineExceededError, within
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_the_result_of_a_coroutine_that_does_not_wait_is_returned_at_once() -> None:
    async def answer() -> int:
        return 7

    # A timer of 0 s would end a coroutine that waits.
    assert await within(0.0, answer()) == 7


@in_virtual_time
async def test_a_coroutine_that_waits_several_times_ends_within_its_time() -> None:
    async def answer() -> str:
        await asyncio.sleep(1)
        await asyncio.sleep(1)
        return "done"

    assert await within(2.5, answer()) == "done"


@in_virtual_time
async def test_a_coroutine_is_cancelled_when_its_time_is_over() -> None:
    cancelled: list[float] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(1)
            await asyncio.sleep(60)
        finally:
            cancelled.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceededError):
        await within(2.0, wait())
    assert cancelled == [began + 2.0]


@pytest.mark.parametrize("seconds", [0.0, 1.0])
@in_virtual_time
async def test_errors_of_the_coroutine_are_raised_unchanged(seconds: float) -> None:
    async def fail() -> None:
        if seconds:
            await asyncio.sleep(seconds)
        raise TimeoutError("of the coroutine")

    with pytest.raises(TimeoutError, match="of the coroutine") as raised:
        await within(5.0, fail())
    assert not isinstance(raised.value, DeadlineExceededError)


@in_virtual_time
async def test_a_coroutine_that_catches_an_error_goes_on() -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError("one")

    async def answer() -> str:
        try:
            await fail()
        except ValueError:
            await asyncio.sleep(1)
        return "recovered"

    assert await within(5.0, answer()) == "recovered"


@in_virtual_time
async def test_cancelling_the_caller_cancels_the_coroutine() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(within(30.0, wait()))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]
