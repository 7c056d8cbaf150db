"""The webhook is away: pods come as they are, that is said, and it is put right afterwards."""

from __future__ import annotations

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded

REST = 5 * 60.0
"""Of a workload whose replacement came without a review (behaviour.md 4)."""


@on_both_beds
async def test_a_webhook_that_is_never_called_costs_one_eviction_and_is_named_until_it_is(
    cluster: TestCluster,
) -> None:
    """The process runs; only the API server does not reach it."""

    await cluster.add_nodes(spot=3)
    cluster.webhook_unreachable = True
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(100))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.wait_for_status("web", "Balanced")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        # 2 are to go to on-demand; the first one's replacement lands on spot again.
        await cluster.wait_for_status("web", "WebhookNeverCalled")
        await incidents.told(cluster, "web", "AdmissionBypassed")
        await cluster.wait_for_split("web", 0, 4)
        await cluster.assert_unchanged("web")
        assert {pod.rule for pod in await cluster.pods("web")} == {""}
        assert len(cluster.evictions()) == 1
        await cluster.add_nodes(on_demand=3)
        await cluster.restore_webhook()
        await cluster.scale("Deployment", "web", 6)
        await cluster.wait_for_split("web", 2, 4)  # the new ones are right at once
        assert len(cluster.evictions()) == 1
        if isinstance(cluster, EmbeddedTestCluster):  # minutes
            await cluster.wait_for_split("web", 3, 3, within=REST + 60)
            await cluster.assert_unchanged("web")
            assert len(cluster.evictions()) == 2


@only_embedded
async def test_a_webhook_that_is_not_reached_at_birth_costs_one_eviction_as_well(
    cluster: TestCluster,
) -> None:
    """20 at 50 %, and the scheduler puts them all on spot: 10 are to go, unready as they are."""

    await cluster.add_nodes(spot=3)
    cluster.webhook_unreachable = True
    async with cluster.operator():
        await cluster.create_deployment("web", 20, policy(50, max_moves_in_flight="20"))
        await cluster.wait_for_status("web", "WebhookNeverCalled")
        await cluster.wait_for_split("web", 0, 20)
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == 1
