"""Loss and return of all spot capacity in virtual time: 100 spot nodes, 1,000 pods, one hour."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.figure import Figure
from spotalis.model.nodes import NodeType
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster, playing

WORKLOADS = 50
REPLICAS = 20
PERCENT, FLOOR = 70, 2
SPOT_NODES = 100
ON_DEMAND_NODES = 40
"""Nodes of 32 CPUs each: enough for all pods."""
OUTAGE_SECONDS = 3600
SAMPLE_SECONDS = 1.0


@dataclass(slots=True)
class Sample:
    """Counts over all pods at one moment."""

    ready: int
    spot: int
    below_floor: int
    """Workloads with fewer ready on-demand replicas than their floor."""


class Sampler:
    """Samples the cluster every second and keeps the worst values."""

    def __init__(self, cluster: OnEmbeddedCluster) -> None:
        self._cluster = cluster
        self.below_floor_seconds = 0.0
        self.fewest_ready = WORKLOADS * REPLICAS

    async def wait_for(self, ready: int, spot: int, within: float) -> float:
        """Wait until at least ``ready`` pods are ready and exactly ``spot`` are on spot nodes.

        Returns the seconds that passed; raises AssertionError after ``within`` seconds.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(int(within / SAMPLE_SECONDS)):
            now = sample(self._cluster)
            self.below_floor_seconds += now.below_floor * SAMPLE_SECONDS
            self.fewest_ready = min(self.fewest_ready, now.ready)
            if now.ready >= ready and now.spot == spot:
                return loop.time() - began
            await asyncio.sleep(SAMPLE_SECONDS)
        raise AssertionError(f"not within {within} s: {ready} ready, {spot} on spot")


def sample(cluster: OnEmbeddedCluster) -> Sample:
    """Count pods in the embedded API server's store."""
    fleet, store = cluster.cluster.fleet, cluster.cluster.store
    types = {node["metadata"]["name"]: fleet.type_of(node) for node in store.list("nodes")}
    ready = spot = 0
    on_demand = dict.fromkeys(range(WORKLOADS), 0)
    for pod in store.list("pods"):
        conditions = pod.get("status", {}).get("conditions") or ()
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        node_type = types.get(pod["spec"].get("nodeName", ""))
        if not is_ready or pod["metadata"].get("deletionTimestamp") or node_type is None:
            continue
        ready += 1
        if node_type is NodeType.SPOT:
            spot += 1
        else:
            on_demand[int(pod["metadata"]["labels"]["app"].removeprefix("web-"))] += 1
    return Sample(ready, spot, sum(count < FLOOR for count in on_demand.values()))


def measure() -> list[Figure]:
    """Simulate the outage. All figures are in virtual time and the same in every run."""
    figures: list[Figure] = []

    async def scenario(cluster: Bed) -> None:
        assert isinstance(cluster, OnEmbeddedCluster)
        await cluster.add_nodes(spot=SPOT_NODES, on_demand=ON_DEMAND_NODES)
        async with cluster.operator():
            for number in range(WORKLOADS):
                await cluster.deployment(f"web-{number}", REPLICAS, Wishes(PERCENT, FLOOR))
            figures.extend(await _outage(cluster))

    next(playing())(scenario)
    return figures


async def _outage(cluster: OnEmbeddedCluster) -> list[Figure]:
    total = WORKLOADS * REPLICAS
    on_spot = total * PERCENT // 100
    loop = asyncio.get_running_loop()
    await Sampler(cluster).wait_for(total, on_spot, 600)
    assert cluster.evictions() == []

    loss = Sampler(cluster)
    began = loop.time()
    for node in cluster.cluster.fleet.names(NodeType.SPOT):
        await cluster.reclaim(node)
    # One replica may be missing: it probes whether spot capacity is back.
    service_restored = await loss.wait_for(total - 1, 0, 1200)
    fallbacks = len(cluster.evictions())
    await asyncio.sleep(max(0.0, OUTAGE_SECONDS - (loop.time() - began)))
    until_return = len(cluster.evictions())

    back = Sampler(cluster)
    await cluster.add_nodes(spot=SPOT_NODES)
    split_restored = await back.wait_for(total, on_spot, 3600)
    return_moves = len(cluster.evictions()) - until_return
    return [
        Figure(name="pods lost at once", value=total - loss.fewest_ready, unit="pods"),
        Figure(
            name="from the loss to full service",
            value=service_restored,
            unit="s",
            how="spot-fallback is the default, 120 s",
        ),
        Figure(
            name="replicas that waited and fell back",
            value=fallbacks,
            unit="evictions",
            how="of Pending pods: no ready pod was evicted",
        ),
        Figure(
            name="evictions for probes in that hour",
            value=until_return - fallbacks,
            unit="evictions",
            how="each probe moves one replica to spot and back",
        ),
        Figure(name="from the return to the exact split", value=split_restored, unit="s"),
        Figure(name="moves after the return", value=return_moves, unit="evictions"),
        Figure(
            name="fewest ready during the return",
            value=back.fewest_ready,
            unit="pods",
            how=f"of {total}; 20 moves at once in the cluster, 2 in each workload",
        ),
        Figure(
            name="workload-seconds below the floor",
            value=loss.below_floor_seconds + back.below_floor_seconds,
            unit="s",
        ),
    ]
