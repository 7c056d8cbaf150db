"""The webhook is unreachable: pods are created unchanged, then reported and moved."""

from __future__ import annotations

import pytest

from tests.integration.scenarios.test_tenants import start_endless_moves
from tests.integration.scenarios.test_watched_namespaces import condition_message
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded

REST = 5 * 60.0
"""The reason of a workload with a replacement that the webhook did not see."""


@pytest.mark.check
@on_both_beds
async def test_a_pod_created_without_the_webhook_costs_one_eviction_and_health_reports_the_webhook(
    cluster: TestCluster,
) -> None:
    """The process runs, but the API server cannot reach its webhook."""

    await cluster.add_nodes(spot=3)
    cluster.webhook_unreachable = True
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(100))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.wait_for_status("web", "Balanced")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        # 2 replicas should move to on-demand; the replacement of the first lands on spot again.
        await cluster.wait_for_status("web", "WebhookNeverCalled")
        await incidents.told(cluster, "web", "AdmissionBypassed")
        await cluster.wait_for_split("web", 0, 4)
        await cluster.assert_unchanged("web")
        assert {pod.rule for pod in await cluster.pods("web")} == {""}
        assert len(cluster.evictions()) == 1
        await cluster.add_nodes(on_demand=3)
        await cluster.restore_webhook()
        await cluster.scale("Deployment", "web", 6)
        await cluster.wait_for_split("web", 2, 4)  # new pods are placed correctly
        assert len(cluster.evictions()) == 1
        if isinstance(cluster, EmbeddedTestCluster):  # minutes
            await cluster.wait_for_split("web", 3, 3, within=REST + 60)
            await cluster.assert_unchanged("web")
            assert len(cluster.evictions()) == 2


@only_embedded
async def test_a_pod_created_while_the_webhook_is_unreachable_costs_one_eviction(
    cluster: TestCluster,
) -> None:
    """20 replicas at 50%, all on spot: 10 should move, although they are not Ready."""

    await cluster.add_nodes(spot=3)
    cluster.webhook_unreachable = True
    async with cluster.operator():
        await cluster.create_deployment("web", 20, policy(50, max_moves_in_flight="20"))
        await cluster.wait_for_status("web", "WebhookNeverCalled")
        await cluster.wait_for_split("web", 0, 20)
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == 1


@only_embedded
async def test_replicas_that_are_still_starting_are_named_when_no_other_may_be_moved(
    cluster: TestCluster,
) -> None:
    """The replacements of two moves land on on-demand again and do not become ready."""
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("other", 1, policy(0))
        await cluster.wait_for_split("other", 1, 0)  # The webhook has been called.
        cluster.webhook_unreachable = True
        await start_endless_moves(cluster, "web", 4, cluster.namespace, held=2)
        await cluster.wait_for_status("web", "NoCandidate")
        assert await condition_message(cluster, "web") == (
            "4 replicas to move from on-demand to spot, but of the 4 on-demand replicas "
            "2 ask not to be disrupted, 2 are still starting after a move"
        )
