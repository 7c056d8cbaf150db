"""The queue of keys that every controller works from."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.controllers.queue import WorkQueue
from tests.unit.embedded.controllers.helpers import in_virtual_time, now


@in_virtual_time
async def test_a_key_added_often_comes_once_and_in_the_order_of_its_first_adding() -> None:
    queue = WorkQueue()
    for key in "abcab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


@in_virtual_time
async def test_a_key_added_while_a_worker_has_it_comes_again_when_the_worker_is_done() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 1)
    queue.done("a")
    assert await queue.get() == "a"


@in_virtual_time
async def test_of_two_delays_the_shorter_counts() -> None:
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
async def test_failures_are_tried_again_ever_later() -> None:
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
async def test_latency_passes_between_adding_and_getting() -> None:
    queue = WorkQueue(latency_seconds=0.5)
    queue.add("a")
    await queue.get()
    assert now() == pytest.approx(0.5)


@in_virtual_time
async def test_a_cancelled_worker_takes_no_key_with_it() -> None:
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
