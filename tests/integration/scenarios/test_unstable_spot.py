"""Spot nodes that die within minutes and are bought again: the interruption breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from spotalis.model.nodes import NodeType
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.incidents import KARPENTER
from tests.support.scenarios import only_embedded

LIFETIME_SECONDS = 180.0
HOUR_SECONDS = 3600.0
POLICY = policy(50, 1, spot_fallback="60s")


@asynccontextmanager
async def dying_spot_nodes(cluster: TestCluster, *, with_notice: bool) -> AsyncIterator[set[str]]:
    """Reclaim each spot node 3 minutes after it has joined; collect the UIDs of pods on spot."""
    seen: set[str] = set()

    async def die(node: str) -> None:
        await asyncio.sleep(LIFETIME_SECONDS)
        if with_notice:
            await incidents.warn(cluster, node, KARPENTER)
            await asyncio.sleep(20)
        await cluster.reclaim(node)

    async def watch() -> None:
        dying: dict[str, asyncio.Task[None]] = {}
        while True:
            types = await cluster.node_types()
            for node, found in types.items():
                if found is NodeType.SPOT and node not in dying:
                    dying[node] = asyncio.create_task(die(node))
            pods = await cluster.pods("web")
            seen.update(pod.uid for pod in pods if types.get(pod.node) is NodeType.SPOT)
            await asyncio.sleep(5)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()


@only_embedded  # An hour passes.
@pytest.mark.parametrize(
    ("with_notice", "births"),
    [
        pytest.param(True, 2, id="notice"),
        # The pods of a deleted node vanish at once here: the first loss is not seen.
        pytest.param(False, 3, id="no notice"),
    ],
)
async def test_a_replica_is_born_on_unstable_spot_nodes_at_most_three_times_an_hour(
    cluster: TestCluster, with_notice: bool, births: int
) -> None:
    await cluster.add_nodes(on_demand=1)
    async with cluster.provisioner(), cluster.operator():
        async with dying_spot_nodes(cluster, with_notice=with_notice) as on_spot:
            await cluster.create_deployment("web", 2, POLICY)
            await cluster.wait_for_split("web", 1, 1)
            await asyncio.sleep(900)
            await cluster.wait_for_split("web", 2, 0)
            await cluster.wait_for_status("web", "SpotUnstable")
            await asyncio.sleep(HOUR_SECONDS - 900)
            assert len(on_spot) == births
            # Half open: one replica tries, is lost too, and the breaker opens again.
            await asyncio.sleep(1200)
            assert len(on_spot) == births + 1
            await cluster.wait_for_status("web", "SpotUnstable")
        # The pool is stable again: the next try stays.
        await asyncio.sleep(HOUR_SECONDS)
        await cluster.wait_for_split("web", 1, 1)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 2  # the two replicas that tried


@only_embedded  # An hour passes.
async def test_without_the_breaker_a_replica_is_born_on_unstable_spot_nodes_again_and_again(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=1)
    async with (
        cluster.provisioner(),
        cluster.operator("--breaker-interruptions=0"),
        dying_spot_nodes(cluster, with_notice=False) as on_spot,
    ):
        await cluster.create_deployment("web", 2, POLICY)
        await asyncio.sleep(HOUR_SECONDS)
        assert len(on_spot) >= 15
    assert cluster.evictions() == []
