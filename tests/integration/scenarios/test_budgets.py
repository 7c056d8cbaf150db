"""PodDisruptionBudgets: a blocked workload waits, reports the reason, and blocks no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotalis.model.nodes import NodeType
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.real_cluster import RealTestCluster
from tests.support.scenarios import on_both_beds

TO_70 = {"spot-percentage": "70"}
K8S = Path(__file__).parents[3] / "build" / "k8s"
RIGHT_TO_DELETE = K8S / "optional" / "pdb-override.yaml"


@on_both_beds
async def test_a_budget_that_allows_no_disruption_blocks_only_its_workload_until_it_is_deleted(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("held", 4, policy(0))
        await cluster.create_deployment("free", 4, policy(0))
        await cluster.create_budget("held", "held", minAvailable=4)
        await cluster.wait_for_split("held", 4, 0)
        await cluster.wait_for_split("free", 4, 0)
        await cluster.annotate("Deployment", "held", TO_70)
        await cluster.annotate("Deployment", "free", TO_70)
        await cluster.wait_for_split("free", 2, 2)
        await cluster.wait_for_status("held", "BlockedByPDB")
        await cluster.assert_unchanged("held", seconds=12)
        assert len(cluster.evictions()) == 2
        assert (
            cluster.count_refused_evictions() == 0
        )  # the operator reads the budget before it sends an eviction
        assert (await incidents.events(cluster, "held")).count("MoveBlocked") == 1
        await cluster.delete_budget("held")
        await cluster.wait_for_split("held", 2, 2)
    assert len(cluster.evictions()) == 4


@pytest.mark.check
@on_both_beds
async def test_with_a_budget_of_one_replicas_move_one_at_a_time(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, max_moves_in_flight="6"))
        await cluster.create_budget("one", "web", maxUnavailable=1)
        await cluster.wait_for_split("web", 6, 0)
        await cluster.annotate("Deployment", "web", TO_70)
        await cluster.wait_for_split("web", 2, 4, within=120)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 4


@on_both_beds
async def test_two_budgets_that_match_one_pod_block_only_its_workload_and_the_event_names_them(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("held", 4, policy(0))
        await cluster.create_deployment("free", 4, policy(0))
        await cluster.wait_for_split("held", 4, 0)
        await cluster.wait_for_split("free", 4, 0)
        # Wait until the pods are Ready: with two budgets, changes would be counted for one of them
        # only.
        for name in ("one", "two"):
            await cluster.create_budget(name, "held", maxUnavailable=1)
            await cluster.wait_until_budget_allows(name)
        await cluster.annotate("Deployment", "held", TO_70)
        await cluster.annotate("Deployment", "free", TO_70)
        await cluster.wait_for_split("free", 2, 2)
        await cluster.wait_for_status("held", "BlockedByPDB")
        await cluster.assert_unchanged("held")
        assert len(cluster.evictions()) == 2
        assert cluster.count_refused_evictions() == 0
        [note] = await incidents.notes(cluster, "held", "MoveBlocked")
        assert "more than one PodDisruptionBudget: one, two" in note
        await cluster.delete_budget("two")
        await cluster.wait_for_split("held", 2, 2)
    assert len(cluster.evictions()) == 4


@on_both_beds
async def test_moves_never_exceed_a_budget_of_20_percent(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(0, max_moves_in_flight="10"))
        await cluster.create_budget("fifth", "web", maxUnavailable="20%")
        await cluster.wait_for_split("web", 10, 0)
        async with cluster.track_minimum_ready("web") as fewest:
            await cluster.annotate("Deployment", "web", TO_70)
            await cluster.wait_for_split("web", 3, 7, within=120)
        assert fewest() == 8
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 7


@on_both_beds
async def test_a_budget_created_during_a_rebalance_stops_it_until_the_budget_is_deleted(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(0))
        await cluster.wait_for_split("web", 10, 0)
        await cluster.annotate("Deployment", "web", TO_70)

        async def two_moved() -> bool:
            return len(cluster.evictions()) >= 2

        await cluster.wait_until(two_moved, "two replicas are moved")
        await cluster.create_budget("late", "web", minAvailable=10)
        await incidents.told(cluster, "web", "MoveBlocked")
        moved = len(cluster.evictions())
        assert moved < 7  # 2, or more if they were sent before the budget was created
        await cluster.wait_for_split("web", 10 - moved, moved)
        await cluster.assert_unchanged("web", seconds=12)
        assert len(cluster.evictions()) == moved
        await cluster.delete_budget("late")
        await cluster.wait_for_split("web", 3, 7, within=120)
    assert len(cluster.evictions()) == 7


@pytest.mark.both
@on_both_beds
async def test_with_pdb_override_pods_that_a_budget_blocks_are_deleted_and_the_floor_holds(
    cluster: TestCluster,
) -> None:
    if isinstance(cluster, RealTestCluster):
        cluster.plane.apply(RIGHT_TO_DELETE.read_text())
    await cluster.add_nodes(spot=2, on_demand=3)
    async with cluster.operator("--pdb-override"):
        annotations = policy(0, 2, pdb_override="true", max_moves_in_flight="10")
        await cluster.create_deployment("web", 10, annotations)
        await cluster.wait_for_split("web", 10, 0)
        await cluster.create_budget("web", "web", minAvailable=10)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})
        async with cluster.track_minimum_ready("web", NodeType.ON_DEMAND) as least:
            await cluster.wait_for_split("web", 2, 8, within=120)
        assert least() == 2
        assert cluster.evictions() == []
        assert cluster.writes().count(("delete", "pods")) == 8
