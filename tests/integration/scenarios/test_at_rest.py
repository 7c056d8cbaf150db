"""Workloads at rest cost nothing: the resync does not compute again what cannot have changed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds

RESYNC_SECONDS = 5


async def reconciles_in(cluster: TestCluster, resyncs: int) -> int:
    """Return how many reconciles complete during this number of resyncs."""
    before = await cluster.count_reconciles()
    await asyncio.sleep(resyncs * RESYNC_SECONDS)
    return await cluster.count_reconciles() - before


async def wait_for_rest(cluster: TestCluster) -> None:
    async def is_at_rest() -> bool:
        return await reconciles_in(cluster, 1) == 0

    await cluster.wait_until(is_at_rest, "no workload is reconciled during a resync")


@pytest.mark.check
@on_both_beds
async def test_a_resync_skips_workloads_at_rest_until_something_changes(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(f"--resync={RESYNC_SECONDS}s"):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.create_stateful_set("db", 4, policy(50))
        for name in ("web", "db"):
            await cluster.wait_for_status(name, "Balanced")
        await wait_for_rest(cluster)
        many = 100 if isinstance(cluster, EmbeddedTestCluster) else 2
        assert await reconciles_in(cluster, many) == 0
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_split("web", 1, 3)
        await cluster.wait_for_status("web", "Balanced")
        await wait_for_rest(cluster)


@on_both_beds
async def test_a_resync_reconciles_workloads_that_are_not_at_rest(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(f"--resync={RESYNC_SECONDS}s"):
        await cluster.create_deployment("web", 4, policy(spot_percentage="half"))
        await cluster.create_deployment("api", 4, policy(50))
        await cluster.wait_for_status("web", "InvalidPolicy")
        await cluster.wait_for_status("api", "Balanced")
        await asyncio.sleep(3 * RESYNC_SECONDS)
        # One workload of the two.
        assert await reconciles_in(cluster, 4) in (3, 4, 5)
