"""A lost spot pool in virtual time: 100 nodes and 1,000 pods, gone at once, back after an hour."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.figure import Figure
from spotalis.model.nodes import NodeType
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster, run_scenario

WORKLOADS = 50
REPLICAS = 20
PERCENT, FLOOR = 70, 2
TOTAL = WORKLOADS * REPLICAS
SPOT_NODES = 100
ON_DEMAND_NODES = 40
"""Of 32 CPUs each: there is room for all."""
AWAY_SECONDS = 3600
LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Seen:
    """One look at all pods."""

    ready: int
    spot: int
    floor_broken: int
    """Workloads with fewer ready on-demand replicas than their floor."""


def look(cluster: EmbeddedTestCluster) -> Seen:
    """Count from the API server's own store."""
    fleet = cluster.embedded.fleet
    types = {
        node["metadata"]["name"]: fleet.type_of(node)
        for node in cluster.embedded.store.list("nodes")
    }
    ready = spot = 0
    on_demand = dict.fromkeys(range(WORKLOADS), 0)
    for pod in cluster.embedded.store.list("pods"):
        conditions = pod.get("status", {}).get("conditions") or ()
        serves = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        node_type = types.get(pod["spec"].get("nodeName", ""))
        if not serves or pod["metadata"].get("deletionTimestamp") or node_type is None:
            continue
        ready += 1
        if node_type is NodeType.SPOT:
            spot += 1
        else:
            on_demand[int(pod["metadata"]["labels"]["app"].removeprefix("web-"))] += 1
    return Seen(ready, spot, sum(count < FLOOR for count in on_demand.values()))


@dataclass(slots=True)
class Outage:
    """The figures of one outage, in virtual time."""

    lost: int
    served_seconds: float
    fallbacks: int
    probes: int
    back_seconds: float
    returned: int
    fewest_ready: int
    floor_broken_seconds: float

    def figures(self) -> list[Figure]:
        """Return the figures for the report."""
        return [
            Figure(name="pods lost at once", value=self.lost, unit="pods"),
            Figure(
                name="from the loss to full service",
                value=self.served_seconds,
                unit="s",
                how="spot-fallback is the built-in 120 s",
            ),
            Figure(
                name="replicas that waited, and fell back",
                value=self.fallbacks,
                unit="evictions",
                how="of Pending pods: nothing ready was lost",
            ),
            Figure(
                name="evictions by probes in that hour",
                value=self.probes,
                unit="evictions",
                how="one replica away and back again for each",
            ),
            Figure(name="from the return to the exact split", value=self.back_seconds, unit="s"),
            Figure(name="moves of the return", value=self.returned, unit="evictions"),
            Figure(
                name="fewest ready meanwhile",
                value=self.fewest_ready,
                unit="pods",
                how=f"of {TOTAL}; 20 moves at once in the cluster, 2 in each workload",
            ),
            Figure(
                name="workload-seconds below the floor", value=self.floor_broken_seconds, unit="s"
            ),
        ]


class Watcher:
    """Looks at all pods once per second, and keeps the worst that it sees."""

    def __init__(self, cluster: EmbeddedTestCluster) -> None:
        self._cluster = cluster
        self.floor_broken_seconds = 0.0
        self.fewest_ready = TOTAL

    async def until(self, ready: int, spot: int, within: float) -> float:
        """Wait for this many ready pods and this many on spot; return the duration in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(int(within / LOOK_SECONDS)):
            now = look(self._cluster)
            self.floor_broken_seconds += now.floor_broken * LOOK_SECONDS
            self.fewest_ready = min(self.fewest_ready, now.ready)
            if now.ready >= ready and now.spot == spot:
                return loop.time() - began
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"not within {within} s: {ready} ready, {spot} on spot")


def measure() -> list[Figure]:
    """Run the outage once. Every figure is of virtual time, and the same in every run."""
    outages: list[Outage] = []

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        outages.append(await _outage(cluster))

    run_scenario(scenario)
    return outages[0].figures()


async def _outage(cluster: EmbeddedTestCluster) -> Outage:
    """Remove all spot nodes, wait an hour, and add them again."""
    await cluster.add_nodes(spot=SPOT_NODES, on_demand=ON_DEMAND_NODES)
    async with cluster.operator():
        for number in range(WORKLOADS):
            await cluster.create_deployment(f"web-{number}", REPLICAS, policy(PERCENT, FLOOR))
        on_spot = TOTAL * PERCENT // 100
        await Watcher(cluster).until(TOTAL, on_spot, 600)
        assert cluster.evictions() == []
        watcher = Watcher(cluster)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for node in cluster.embedded.fleet.names(NodeType.SPOT):
            await cluster.reclaim(node)
        # One replica may be away as a probe for spot capacity.
        served_seconds = await watcher.until(TOTAL - 1, 0, 1200)
        lost = TOTAL - watcher.fewest_ready
        fallbacks = len(cluster.evictions())
        await asyncio.sleep(max(0.0, AWAY_SECONDS - (loop.time() - began)))
        before = len(cluster.evictions())
        watcher.fewest_ready = TOTAL
        await cluster.add_nodes(spot=SPOT_NODES)
        back_seconds = await watcher.until(TOTAL, on_spot, 3600)
        return Outage(
            lost=lost,
            served_seconds=served_seconds,
            fallbacks=fallbacks,
            probes=before - fallbacks,
            back_seconds=back_seconds,
            returned=len(cluster.evictions()) - before,
            fewest_ready=watcher.fewest_ready,
            floor_broken_seconds=watcher.floor_broken_seconds,
        )
