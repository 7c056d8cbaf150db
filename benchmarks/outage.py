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


def measure() -> list[Figure]:
    """Play the outage once; every figure is of virtual time, and the same at every run."""
    figures: list[Figure] = []

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        await cluster.add_nodes(spot=SPOT_NODES, on_demand=ON_DEMAND_NODES)
        async with cluster.operator():
            for number in range(WORKLOADS):
                await cluster.create_deployment(f"web-{number}", REPLICAS, policy(PERCENT, FLOOR))
            total = WORKLOADS * REPLICAS
            on_spot = total * PERCENT // 100
            loop = asyncio.get_running_loop()
            broken_seconds, least = 0.0, total

            async def until(ready: int, spot: int, within: float) -> float:
                """Seconds until it is so, looking each second."""
                nonlocal broken_seconds, least
                began = loop.time()
                for _ in range(int(within / LOOK_SECONDS)):
                    now = look(cluster)
                    broken_seconds += now.floor_broken * LOOK_SECONDS
                    least = min(least, now.ready)
                    if now.ready >= ready and now.spot == spot:
                        return loop.time() - began
                    await asyncio.sleep(LOOK_SECONDS)
                raise AssertionError(f"not within {within} s: {ready} ready, {spot} on spot")

            await until(total, on_spot, 600)
            assert cluster.evictions() == []
            broken_seconds, least = 0.0, total
            began = loop.time()
            for node in cluster.embedded.fleet.names(NodeType.SPOT):
                await cluster.reclaim(node)
            # One replica may be away to find out whether spot is back.
            served = await until(total - 1, 0, 1200)
            lost = total - least
            fell = len(cluster.evictions())
            await asyncio.sleep(max(0.0, AWAY_SECONDS - (loop.time() - began)))
            probed = len(cluster.evictions()) - fell
            before = len(cluster.evictions())
            least = total
            await cluster.add_nodes(spot=SPOT_NODES)
            back = await until(total, on_spot, 3600)
            returned = len(cluster.evictions()) - before
            figures.extend(
                (
                    Figure(name="pods lost at once", value=lost, unit="pods"),
                    Figure(
                        name="from the loss to full service",
                        value=served,
                        unit="s",
                        how="spot-fallback is the built-in 120 s",
                    ),
                    Figure(
                        name="replicas that waited, and fell back",
                        value=fell,
                        unit="evictions",
                        how="of Pending pods: nothing ready was lost",
                    ),
                    Figure(
                        name="evictions by probes in that hour",
                        value=probed,
                        unit="evictions",
                        how="one replica away and back again for each",
                    ),
                    Figure(name="from the return to the exact split", value=back, unit="s"),
                    Figure(name="moves of the return", value=returned, unit="evictions"),
                    Figure(
                        name="fewest ready meanwhile",
                        value=least,
                        unit="pods",
                        how=f"of {total}; 20 moves at once in the cluster, 2 in each workload",
                    ),
                    Figure(name="workload-seconds below the floor", value=broken_seconds, unit="s"),
                )
            )

    run_scenario(scenario)
    return figures
