"""A queue that is told to end does, whatever comes at the same moment."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # jitter

from spotalis.operator.cluster import WorkloadKey
from spotalis.operator.queue import Queue
from tests.support.virtual_time import LoopClock, in_virtual_time

KEY = WorkloadKey("Deployment", "shop", "api")


def test_an_end_that_comes_with_news_is_heeded() -> None:
    """Seen on the real bed: a replica that had given up its Lease, and never exited."""

    async def work(key: WorkloadKey) -> float | None:
        return None

    async def story() -> None:
        queue = Queue(work, clock=LoopClock(), dice=random.Random(0), workers=1)
        running = asyncio.create_task(queue.run())
        queue.add_after(KEY, 3600.0)  # so that workers wait with a deadline
        await asyncio.sleep(1)
        queue.add(KEY)
        await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        assert running in done

    in_virtual_time(story())
