"""What the operator costs the API server: counted in its audit log, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from spotalis.embedded.server.audit import AuditEntry, resource_of
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, only_embedded


def asked(bed: OnEmbeddedCluster, since: int) -> list[AuditEntry]:
    """The operator's requests after the first so many entries of the log."""
    return [entry for entry in bed.cluster.audit.entries[since:] if entry.user == bed.user]


def counted(entries: Iterable[AuditEntry]) -> Counter[str]:
    return Counter(f"{entry.verb} {resource_of(entry)}" for entry in entries)


@only_embedded
def test_a_move_costs_at_most_four_requests_besides_its_event(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        await bed.add_nodes(spot=5, on_demand=5)
        async with bed.operator():
            await bed.deployment("web", 20, Wishes(100, other={"max-moves-in-flight": "1"}))
            await bed.settled("web", 0, 20)
            await asyncio.sleep(60)
            since = len(bed.cluster.audit.entries)
            await bed.annotate("Deployment", "web", {"spot-percentage": "70"})
            await bed.settled("web", 6, 14)
            await asyncio.sleep(60)
            found = counted(
                entry
                for entry in asked(bed, since)
                if entry.plural not in ("leases", "events") and entry.verb != "watch"
            )
            assert found.pop("patch deployments/status") == 2  # Rebalancing, and Balanced again
            assert found == {
                "create configmaps": 1,
                "update configmaps": 5,
                "delete configmaps": 1,
                "list pods": 6,
                "create pods/eviction": 6,
            }
            assert found.total() <= 4 * 6

    play(scenario)


@only_embedded
def test_at_rest_hundreds_of_workloads_cost_the_lease_and_nothing_else(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        await bed.add_nodes(spot=10, on_demand=10)
        async with bed.operator():
            for number in range(200):
                await bed.deployment(f"web-{number}", 2, Wishes(50))
            await bed.settled("web-199", 1, 1)
            await asyncio.sleep(120)
            since = len(bed.cluster.audit.entries)
            await asyncio.sleep(600)
            found = counted(entry for entry in asked(bed, since) if entry.verb != "watch")
            assert set(found) <= {"update leases", "get leases"}
            # One in 2 s and its jitter, and a look whenever a watch of the Lease has ended.
            assert 250 <= found["update leases"] <= 300
            assert found["get leases"] <= 5

    play(scenario)
