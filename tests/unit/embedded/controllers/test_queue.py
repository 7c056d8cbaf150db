"""The work queue of the controllers."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.controllers.queue import WorkQueue
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.helpers import now


@in_virtual_time
async def test_a_key_added_twice_is_handed_out_once_in_the_order_of_the_first_add() -> None:
    queue = WorkQueue()
    for key in "abcab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


@in_virtual_time
async def test_a_key_added_while_a_worker_has_it_is_handed_out_again_after_done() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 1)
    queue.done("a")
    assert await queue.get() == "a"


@in_virtual_time
async def test_the_shortest_delay_wins() -> None:
    queue = WorkQueue()
    queue.add_after("a", 5)
    queue.add_after("a", 2)
    queue.add_after("a", 9)
    assert await queue.get() == "a"
    assert now() == pytest.approx(2)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 20)


@in_virtual_time
async def test_retries_back_off_exponentially() -> None:
    queue, waits = WorkQueue(), []
    for _ in range(5):
        start = now()
        queue.retry("a")
        await queue.get()
        queue.done("a")
        waits.append(now() - start)
    assert waits == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08], abs=2e-6)  # ticks
    queue.forget("a")
    queue.retry("a")
    start = now()
    await queue.get()
    assert now() - start == pytest.approx(0.005)


@in_virtual_time
async def test_latency_passes_between_add_and_get() -> None:
    queue = WorkQueue(latency_seconds=0.5)
    queue.add("a")
    await queue.get()
    assert now() == pytest.approx(0.5)


@in_virtual_time
async def test_a_cancelled_worker_does_not_lose_a_key() -> None:
    queue = WorkQueue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"


@in_virtual_time
async def test_a_closed_queue_has_no_timers_left() -> None:
    queue = WorkQueue()
    queue.add_after("a", 1)
    queue.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 5)
