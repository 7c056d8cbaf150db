"""Requests of the operator to the API server, counted in the audit log, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from spotalis.embedded.server.audit import AuditEntry, resource_of
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import only_embedded


def asked(cluster: EmbeddedTestCluster, since: int) -> list[AuditEntry]:
    """Return the operator's requests after the first ``since`` entries of the audit log."""
    return [entry for entry in cluster.embedded.audit.entries[since:] if entry.user == cluster.user]


def counted(entries: Iterable[AuditEntry]) -> Counter[str]:
    return Counter(f"{entry.verb} {resource_of(entry)}" for entry in entries)


@only_embedded
async def test_a_move_costs_at_most_four_requests_besides_its_event(cluster: TestCluster) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=5, on_demand=5)
    async with cluster.operator():
        await cluster.create_deployment("web", 20, policy(100, max_moves_in_flight="1"))
        await cluster.wait_for_split("web", 0, 20)
        await asyncio.sleep(60)
        since = len(cluster.embedded.audit.entries)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "70"})
        await cluster.wait_for_split("web", 6, 14)
        await asyncio.sleep(60)
        found = counted(
            entry
            for entry in asked(cluster, since)
            if entry.plural not in ("leases", "events") and entry.verb != "watch"
        )
        assert found.pop("patch deployments/status") == 2  # Rebalancing, then Balanced
        assert found == {
            "create configmaps": 1,
            "update configmaps": 5,
            "delete configmaps": 1,
            "list pods": 6,
            "create pods/eviction": 6,
        }
        assert found.total() <= 4 * 6


@only_embedded
async def test_at_rest_200_workloads_cost_only_the_renewals_of_the_lease(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=10, on_demand=10)
    async with cluster.operator():
        for number in range(200):
            await cluster.create_deployment(f"web-{number}", 2, policy(50))
        await cluster.wait_for_split("web-199", 1, 1)
        await asyncio.sleep(120)
        since = len(cluster.embedded.audit.entries)
        await asyncio.sleep(600)
        found = counted(entry for entry in asked(cluster, since) if entry.verb != "watch")
        assert set(found) <= {"update leases", "get leases"}
        # One renewal in 2 s plus jitter, and a read whenever a watch of the Lease ends.
        assert 250 <= found["update leases"] <= 300
        assert found["get leases"] <= 5
