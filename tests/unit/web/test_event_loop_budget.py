"""In which order unknown clients have turns, and how many, with time as an argument."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.web.event_loop_budget import _TURN_SECONDS, EventLoopBudget
from tests.support.virtual_time import in_virtual_time


class Work:
    """Time that passes only while a client has its turn, and the log of the turns."""

    def __init__(self, *, burst_seconds: float = 1.0, turn_seconds: float = 0.0) -> None:
        self.seconds = 0.0
        self.budget = EventLoopBudget(
            share=0.25, burst_seconds=burst_seconds, timer=lambda: self.seconds
        )
        self.done: list[tuple[str, float]] = []
        """The name of each client that had a turn, and when."""
        self._turn_seconds = turn_seconds

    def begin(self, name: str, priority: int = 0) -> asyncio.Task[None]:
        """Let a client ask for a turn in the next iteration of the loop."""
        return asyncio.create_task(self._work(name, priority))

    async def _work(self, name: str, priority: int) -> None:
        await self.budget.turn(priority)
        self.budget.charge(self._turn_seconds)
        self.done.append((name, asyncio.get_running_loop().time()))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]


@in_virtual_time
async def test_turns_are_given_by_priority_then_in_order_of_arrival() -> None:
    work = Work()
    asked = (("large", 6), ("first", 0), ("second", 0), ("seen before", 1), ("third", 0))
    await asyncio.gather(*[work.begin(name, priority) for name, priority in asked])
    assert work.names == ["first", "second", "third", "seen before", "large"]


@in_virtual_time
async def test_one_turn_is_given_in_each_iteration_of_the_loop() -> None:
    work = Work()
    tasks = [work.begin(str(number)) for number in range(5)]
    had = [0]
    while len(work.done) < 5:
        await asyncio.sleep(0)
        if len(work.done) > had[-1] or had[-1]:
            had.append(len(work.done))
    await asyncio.gather(*tasks)
    assert had == [0, 1, 2, 3, 4, 5]


@in_virtual_time
async def test_no_turn_is_given_before_the_time_that_was_taken_is_earned() -> None:
    work = Work(burst_seconds=1.0, turn_seconds=2.0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[work.begin(str(number)) for number in range(3)])
    waits = [at - began for _, at in work.done]
    # The first turn leaves a debt of 1 s, paid in 4 s by a share of a quarter; each other 8 s.
    assert waits == pytest.approx([0, 4, 12], abs=0.01)


@in_virtual_time
async def test_a_turn_that_takes_no_measured_time_is_charged_too() -> None:
    work = Work(burst_seconds=10 * _TURN_SECONDS)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[work.begin(str(number)) for number in range(30)])
    assert asyncio.get_running_loop().time() - began == pytest.approx(
        20 * _TURN_SECONDS / 0.25, rel=0.1
    )


@in_virtual_time
async def test_no_more_than_the_burst_is_earned_while_nothing_happens() -> None:
    work = Work(burst_seconds=1.0, turn_seconds=1.0)
    await asyncio.sleep(3600)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[work.begin(str(number)) for number in range(3)])
    waits = [at - began for _, at in work.done]
    assert waits == pytest.approx([0, 0, 4], abs=0.01)


@in_virtual_time
async def test_without_a_limit_of_the_burst_turns_are_given_at_once() -> None:
    work = Work(burst_seconds=float("inf"), turn_seconds=3600)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[work.begin(str(number)) for number in range(3)])
    assert asyncio.get_running_loop().time() == began


@in_virtual_time
async def test_a_client_that_leaves_the_queue_costs_nothing() -> None:
    work = Work(burst_seconds=1.0, turn_seconds=1.5)
    first, left, last = [work.begin(name) for name in ("first", "left", "last")]
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait([first, left, last])
    assert work.names == ["first", "last"]
    began, ended = (at for _, at in work.done)
    assert ended - began == pytest.approx(2, abs=0.01), "0.5 s of debt and a share of a quarter"


@in_virtual_time
async def test_the_steps_of_a_coroutine_are_charged_and_its_waits_are_not() -> None:
    work = Work()
    charged: list[float] = []

    async def steps() -> str:
        work.seconds += 1
        await asyncio.sleep(60)
        work.seconds += 2
        return "result"

    async def others() -> None:
        work.seconds += 100

    other = asyncio.create_task(others())
    assert await work.budget.metered(steps(), charged.append) == "result"
    assert other.done()
    assert charged == [1, 2]


@in_virtual_time
async def test_a_step_that_fails_or_is_cancelled_is_charged() -> None:
    work = Work()
    charged: list[float] = []

    async def fail() -> None:
        work.seconds += 1
        try:
            await asyncio.sleep(60)
        finally:
            work.seconds += 2
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await work.budget.metered(fail(), charged.append)
    task = asyncio.create_task(work.budget.metered(fail(), charged.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert charged == [1, 2, 1, 2]


@in_virtual_time
async def test_a_deadline_within_a_metered_coroutine_holds() -> None:
    async def wait() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(60)
        except TimeoutError:
            return "too late"
        return "in time"

    assert await Work().budget.metered(wait(), lambda seconds: None) == "too late"
