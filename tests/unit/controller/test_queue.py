"""The work queue stops on cancellation, and isolates and reports failures of a key."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # jitter

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.queue import WorkQueue
from tests.support.virtual_time import in_virtual_time, virtual_clock

KEY = WorkloadKey("Deployment", "shop", "api")


@in_virtual_time
async def test_a_cancellation_that_arrives_with_an_earlier_key_is_not_lost() -> None:
    """Seen on the real cluster: an instance had released its Lease but did not exit."""

    async def work(key: WorkloadKey) -> float | None:
        return None

    queue = WorkQueue(work, clock=virtual_clock(), rng=random.Random(0), workers=1)
    running = asyncio.create_task(queue.run())
    queue.add_after(KEY, 3600.0)  # so that workers wait with a deadline
    await asyncio.sleep(1)
    queue.add(KEY)
    await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)
    assert running in done


@in_virtual_time
async def test_a_failure_is_reported_and_delays_only_its_own_key() -> None:
    other = WorkloadKey("Deployment", "shop", "other")
    worked: list[tuple[WorkloadKey, float]] = []
    failures: list[str] = []

    async def work(key: WorkloadKey) -> float | None:
        worked.append((key, round(virtual_clock().monotonic())))
        if key is KEY:
            raise RuntimeError("a bug")
        return None

    queue = WorkQueue(
        work,
        clock=virtual_clock(),
        rng=random.Random(0),
        workers=1,
        on_failure=lambda key, error: failures.append(f"{key}: {error}"),
    )
    running = asyncio.create_task(queue.run())
    queue.add(KEY)
    queue.add(other)
    await asyncio.sleep(6.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # Tried again after 1 to 2 and after 2 to 4 more seconds.
    assert [key for key, _ in worked] == [KEY, other, KEY, KEY]
    assert failures == ["shop/deploy/api: a bug"] * 3


@in_virtual_time
async def test_a_busy_key_is_handled_at_once_and_then_twenty_times_per_second() -> None:
    worked: list[float] = []

    async def work(key: WorkloadKey) -> float | None:
        worked.append(virtual_clock().monotonic())
        return None

    queue = WorkQueue(work, clock=virtual_clock(), rng=random.Random(0), workers=1)
    running = asyncio.create_task(queue.run())
    for _ in range(1000):
        queue.add(KEY)
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert worked[0] == 0
    assert len(worked) == 21
    assert worked[-1] >= 0.999  # the last change is not missed


@in_virtual_time
async def test_other_tasks_run_between_reconciles_that_never_wait() -> None:
    """Admission requests are answered during a full resync."""
    happened: list[str] = []

    async def work(key: WorkloadKey) -> float | None:
        happened.append(key.name)
        return None

    async def admit() -> None:
        await asyncio.sleep(0)
        happened.append("admission")

    queue = WorkQueue(work, clock=virtual_clock(), rng=random.Random(0), workers=2)
    for number in range(100):
        queue.add(WorkloadKey("Deployment", "shop", f"{number}"))
    running = asyncio.create_task(queue.run())
    admission = asyncio.create_task(admit())
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, admission, return_exceptions=True)
    assert len(happened) == 101
    assert happened.index("admission") <= 4, "at most two reconciles of each worker"
