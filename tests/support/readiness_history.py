"""What was ready at the moment of each eviction by the operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.support.cluster import POLL_SECONDS, TestCluster


@dataclass
class ReadinessHistory:
    """The ready pods of a workload over time, in snapshots every 0.1 s."""

    desired: int
    snapshots: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    """Time of the cluster's clock, and the names of the pods that were ready."""

    @property
    def minimum(self) -> int:
        """The smallest number of ready replicas."""
        return min(len(ready) for _, ready in self.snapshots)

    def seconds_below(self, count: int) -> float:
        """How long fewer replicas than this were ready, in total."""
        pairs = zip(self.snapshots, self.snapshots[1:], strict=False)
        return sum(
            (after - at).total_seconds() for (at, ready), (after, _) in pairs if len(ready) < count
        )

    def ready_at(self, at: datetime) -> frozenset[str]:
        """The pods that were ready in the last snapshot before this time."""
        before = [ready for taken, ready in self.snapshots if taken < at]
        return before[-1] if before else frozenset()

    def harmful_evictions(self, cluster: TestCluster) -> list[str]:
        """The pods that the operator evicted although they were ready and others were missing."""
        evictions = zip(cluster.evictions(), cluster.eviction_times(), strict=True)
        return [
            name
            for name, at in evictions
            if name in (ready := self.ready_at(at)) and len(ready) < self.desired
        ]


@asynccontextmanager
async def track_readiness(
    cluster: TestCluster, name: str, desired: int
) -> AsyncIterator[ReadinessHistory]:
    """Record the ready pods of a workload during the block."""
    history = ReadinessHistory(desired)

    async def look() -> None:
        at = await cluster.now()
        pods = await cluster.pods(name)
        ready = frozenset(pod.name for pod in pods if pod.ready and pod.deleting_at is None)
        history.snapshots.append((at, ready))

    async def watch() -> None:
        while True:
            await look()
            await asyncio.sleep(POLL_SECONDS / 2)

    await look()
    watching = asyncio.create_task(watch())
    try:
        yield history
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await look()
