"""A crash during a rebalance changes neither its result nor its number of evictions."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded: when the crash comes

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import only_embedded, only_real


async def crash_after(cluster: TestCluster, seconds: float) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(0, max_moves_in_flight="2"))
        await cluster.wait_for_split("web", 10, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "70"})
        await asyncio.sleep(seconds)
        await cluster.kill_operator()
    async with cluster.operator():
        await cluster.wait_for_split("web", 3, 7, within=180)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 7


@only_embedded
@pytest.mark.parametrize("seed", range(20))
async def test_a_crash_during_a_rebalance_causes_no_extra_eviction(
    cluster: TestCluster, seed: int
) -> None:
    await crash_after(cluster, random.Random(seed).uniform(0.0, 12.0))


@only_real
@pytest.mark.parametrize("seconds", [0.3, 1.1, 2.7, 5.2])
async def test_a_sigkill_during_a_rebalance_causes_no_extra_eviction(
    cluster: TestCluster, seconds: float
) -> None:
    await crash_after(cluster, seconds)
