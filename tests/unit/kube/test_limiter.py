from __future__ import annotations

import asyncio

import pytest

from spotalis.kube.limiter import RateLimiter
from tests.support.manual_clock import ManualClock
from tests.support.virtual_time import in_virtual_time, virtual_clock


async def finished_at(limiter: RateLimiter, *, priority: bool = False) -> float:
    await limiter.acquire(priority)
    return round(virtual_clock().monotonic(), 3)


@in_virtual_time
async def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    limiter = RateLimiter(qps=2, burst=3, clock=virtual_clock())
    finished = await asyncio.gather(*(finished_at(limiter) for _ in range(6)))
    assert finished == [0, 0, 0, 0.5, 1.0, 1.5]


@in_virtual_time
async def test_idle_time_earns_no_more_than_the_burst() -> None:
    limiter = RateLimiter(qps=2, burst=2, clock=virtual_clock())
    await asyncio.sleep(3600)
    finished = await asyncio.gather(*(finished_at(limiter) for _ in range(3)))
    assert finished == [3600, 3600, 3600.5]


@in_virtual_time
async def test_requests_with_priority_overtake_all_others() -> None:
    limiter = RateLimiter(qps=1, burst=1, clock=virtual_clock())
    await limiter.acquire()
    others = [asyncio.ensure_future(finished_at(limiter)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert await finished_at(limiter, priority=True) == 1.0
    assert await asyncio.gather(*others) == [2.0, 3.0, 4.0]


@in_virtual_time
async def test_a_cancelled_waiter_takes_no_token_and_blocks_no_other() -> None:
    limiter = RateLimiter(qps=1, burst=1, clock=virtual_clock())
    await limiter.acquire()
    for priority in (False, True):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.acquire(priority), 0.25)
    assert await finished_at(limiter, priority=True) == 1.0
    assert await finished_at(limiter) == 2.0


@pytest.mark.parametrize(("qps", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_rate_of_zero_is_rejected(qps: float, burst: int) -> None:
    with pytest.raises(ValueError, match="qps"):
        RateLimiter(qps, burst, ManualClock())
