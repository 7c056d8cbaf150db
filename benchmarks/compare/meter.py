"""Looks at pods and nodes twice a second, and adds up what it sees."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from spotalis.model.nodes import NodeType
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster

LOOK_SECONDS = 0.5
FLOOR = 2
"""On-demand replicas that each workload wants at least."""
SPOT_SHARE = 0.8
TINY = 1e-9
"""For rounding: 10 * (1 - 0.8) is not exactly 2."""


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """The replicas of one workload at one moment.

    on_demand, spot: Ready and not terminating, by the capacity type of their node.
    pending:         without a node.
    largest:         the most replicas on one node.
    pods:            all of them, to notice changes.
    """

    desired: int
    on_demand: int
    spot: int
    pending: int
    largest: int
    pods: frozenset[str]

    @property
    def serves(self) -> bool:
        """Whether exactly the desired replicas exist and are Ready."""
        return self.on_demand + self.spot == self.desired == len(self.pods)

    @property
    def error(self) -> int:
        """Replicas on the wrong capacity type. A split may be rounded up or down."""
        exact = self.desired * (1 - SPOT_SHARE)
        low, high = math.floor(exact + TINY), math.ceil(exact - TINY)
        return max(0, low - self.on_demand, self.on_demand - high)


@dataclass(slots=True)
class Totals:
    """Sums since the beginning, in seconds unless the name says otherwise."""

    below_floor: float = 0.0
    missing: float = 0.0
    pending: float = 0.0
    nodes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Node-seconds by capacity type."""
    cpus: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """CPU-seconds of these nodes."""


class Meter:
    """What has been seen so far."""

    def __init__(self, cluster: TestCluster) -> None:
        self._cluster = cluster
        self.desired: dict[str, int] = {}
        """Replicas by workload."""
        self.totals = Totals()
        self.launched: dict[str, str] = {}
        """Capacity type by name of every node seen so far."""
        self.sizes: dict[str, int] = {}
        """CPUs of every node seen so far."""
        self.views: Mapping[str, WorkloadView] = {}
        """The latest view of each workload."""
        self._looked_at: float | None = None

    async def look(self) -> None:
        """Look at the cluster, and add what has passed since the last look."""
        at = asyncio.get_running_loop().time()
        passed = 0.0 if self._looked_at is None else at - self._looked_at
        self._looked_at = at
        types = await self._look_at_nodes(passed)
        self.views = {name: await self._view(name, types) for name in list(self.desired)}
        totals = self.totals
        for view in self.views.values():
            totals.missing += passed * max(0, view.desired - view.on_demand - view.spot)
            totals.pending += passed * view.pending
            totals.below_floor += passed * (view.on_demand < FLOOR)

    async def _look_at_nodes(self, passed: float) -> dict[str, str]:
        nodes = json.loads((await self._cluster.api.raw("GET", "/api/v1/nodes")).body)["items"]
        types = {}
        for node in nodes:
            name, labels = node["metadata"]["name"], node["metadata"]["labels"]
            types[name] = capacity_type = labels.get(CAPACITY_TYPE_LABEL, "")
            self.totals.nodes[capacity_type] += passed
            self.sizes[name] = _cpus(labels)
            self.totals.cpus[capacity_type] += passed * self.sizes[name]
        self.launched |= types
        return types

    async def _view(self, name: str, types: Mapping[str, str]) -> WorkloadView:
        pods = await self._cluster.pods(name)
        serving = [pod for pod in pods if pod.ready and pod.deleting_at is None]
        found = Counter(types.get(pod.node, "") for pod in serving)
        return WorkloadView(
            desired=self.desired[name],
            on_demand=found[NodeType.ON_DEMAND],
            spot=found[NodeType.SPOT],
            pending=sum(not pod.node for pod in pods),
            largest=max(Counter(pod.node for pod in serving).values(), default=0),
            pods=frozenset(pod.uid for pod in pods),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look again and again during the block."""

        async def watch() -> None:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            if watching.done():
                watching.result()  # raises: what was measured is not complete
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _cpus(labels: Mapping[str, str]) -> int:
    """CPUs of a node. Its instance type is named by them: ``size-4``."""
    return int(labels["node.kubernetes.io/instance-type"].removeprefix("size-"))
