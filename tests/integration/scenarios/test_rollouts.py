"""Rollouts of every kind: no moves meanwhile, an exact split afterwards, and never stuck."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.incidents import READY_NEVER
from tests.support.scenarios import on_both_beds

SECOND = "registry.example/main:2"
NOT_ANY_MORE = dict.fromkeys(READY_NEVER)


def rolling(surge: int | str, unavailable: int | str) -> dict[str, Any]:
    """The strategy of a Deployment."""
    values = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"strategy": {"type": "RollingUpdate", "rollingUpdate": values}}


SHAPES = [
    pytest.param(rolling(0, 1), id="surge 0, unavailable 1"),
    pytest.param(rolling("25%", "25%"), id="surge 25 %, unavailable 25 %"),
    pytest.param(rolling(1, 0), id="surge 1, unavailable 0"),
    pytest.param(rolling("100%", 0), id="surge 100 %, unavailable 0"),
    pytest.param({"strategy": {"type": "Recreate"}}, id="Recreate"),
]


async def count_new_pods(cluster: TestCluster, name: str, reference: set[str]) -> int:
    """Return the number of pods that are not in ``old``."""
    return len({pod.uid for pod in await cluster.pods(name)} - reference)


@on_both_beds
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_completed_rollout_is_split_exactly_without_evictions(
    cluster: TestCluster, shape: dict[str, Any]
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(70, 1), spec=shape)
        await cluster.wait_for_split("web", 2, 4)
        old = {pod.uid for pod in await cluster.pods("web")}
        await incidents.roll_out(cluster, "Deployment", "web", SECOND)
        await incidents.rolled_out(cluster, "Deployment", "web")
        await cluster.wait_for_split("web", 2, 4)
        assert await count_new_pods(cluster, "web", old) == 6
        await cluster.assert_unchanged("web", seconds=5)
    assert cluster.evictions() == []


@pytest.mark.check
@on_both_beds
async def test_a_rollout_during_a_rebalance_completes_it_without_further_evictions(
    cluster: TestCluster,
) -> None:
    """The pods of the rollout are placed correctly, so that no move is left."""

    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(0), spec=rolling("25%", "25%"))
        await cluster.wait_for_split("web", 10, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "70"})

        async def two_moved() -> bool:
            return len(cluster.evictions()) >= 2

        await cluster.wait_until(two_moved, "two replicas are moved")
        await incidents.roll_out(cluster, "Deployment", "web", SECOND)
        await cluster.wait_for_status("web", "RolloutInProgress")
        moved = len(cluster.evictions())
        await incidents.rolled_out(cluster, "Deployment", "web")
        await cluster.wait_for_split("web", 3, 7)
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == moved
        assert moved < 7


@on_both_beds
async def test_a_rollout_that_is_not_ready_stops_moves_until_it_is_rolled_back(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70), spec=rolling("25%", "25%"))
        await cluster.wait_for_split("web", 3, 7)
        await incidents.roll_out(cluster, "Deployment", "web", SECOND, READY_NEVER)

        async def is_stuck() -> bool:
            pods = await cluster.pods("web")
            return len(pods) == 13 and sum(not pod.ready for pod in pods) == 5

        await cluster.wait_until(is_stuck, "8 old pods are Ready, 5 new ones are not")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "30"})
        await cluster.assert_unchanged("web", seconds=12)
        assert cluster.evictions() == []

        await incidents.roll_out(
            cluster, "Deployment", "web", "registry.example/main:1", NOT_ANY_MORE
        )
        await cluster.wait_for_split("web", 7, 3)
        await cluster.assert_unchanged("web")
    # 8 old pods are left, 3 + 5 by their slots; the 2 that return are on-demand.
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_a_paused_rollout_stops_moves_until_it_resumes(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(50), spec=rolling(0, 1))
        await cluster.wait_for_split("web", 3, 3)
        old = {pod.uid for pod in await cluster.pods("web")}
        await incidents.roll_out(cluster, "Deployment", "web", SECOND)

        async def begun() -> bool:
            return await count_new_pods(cluster, "web", old) >= 2

        await cluster.wait_until(begun, "two pods are new")
        await incidents.change(cluster, "Deployment", "web", {"paused": True})

        async def is_paused() -> bool:
            pods = await cluster.pods("web")
            return len(pods) == 6 and all(p.ready and not p.deleting_at for p in pods)

        await cluster.wait_until(is_paused, "the rollout is paused")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.assert_unchanged("web", seconds=10)
        assert 0 < await count_new_pods(cluster, "web", old) < 6
        assert cluster.evictions() == []
        await incidents.change(cluster, "Deployment", "web", {"paused": None})
        await incidents.rolled_out(cluster, "Deployment", "web")
        await cluster.wait_for_split("web", 6, 0)
        await cluster.assert_unchanged("web")


@on_both_beds
async def test_pausing_a_deployment_without_a_pending_change_does_not_stop_moves(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await incidents.change(cluster, "Deployment", "web", {"paused": True})
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0)
    assert len(cluster.evictions()) == 2


SETS = [
    pytest.param({"podManagementPolicy": "OrderedReady"}, id="ordered"),
    pytest.param({"podManagementPolicy": "Parallel"}, id="parallel"),
    pytest.param({"ordinals": {"start": 3}}, id="ordinals start at 3"),
    pytest.param(
        {"podManagementPolicy": "OrderedReady", "ordinals": {"start": 3}},
        id="ordered, ordinals start at 3",
    ),
]


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("spec", SETS)
async def test_a_stateful_set_is_split_exactly_by_moves_after_a_rollout(
    cluster: TestCluster, spec: dict[str, Any]
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 5, policy(60), spec=spec)
        await cluster.wait_for_split("db", 2, 3)
        old = {pod.uid for pod in await cluster.pods("db")}
        await incidents.roll_out(cluster, "StatefulSet", "db", SECOND)
        await incidents.rolled_out(cluster, "StatefulSet", "db")
        await cluster.wait_for_split("db", 2, 3)
        assert await count_new_pods(cluster, "db", old) == 5
        await cluster.assert_unchanged("db", seconds=5)
        assert cluster.evictions() == []
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "20"})
        await cluster.wait_for_split("db", 4, 1)
    first = spec.get("ordinals", {}).get("start", 0)
    # At 60% the slots 1, 3 and 4 are spot; at 20% only 4.
    assert cluster.evictions() == [f"db-{first + 3}", f"db-{first + 1}"]


@on_both_beds
async def test_moves_continue_when_a_partitioned_rollout_reaches_its_partition(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    async with cluster.operator():
        await cluster.create_stateful_set("db", 5, policy(60), spec={"updateStrategy": strategy})
        await cluster.wait_for_split("db", 2, 3)
        await incidents.roll_out(cluster, "StatefulSet", "db", SECOND)

        async def down() -> bool:
            status = (await cluster.get_object("StatefulSet", "db"))["status"]
            return (status.get("updatedReplicas"), status.get("readyReplicas")) == (2, 5)

        await cluster.wait_until(down, "ordinals 4 and 3 are new")
        await cluster.wait_for_split("db", 2, 3)
        assert cluster.evictions() == []
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "20"})
        await cluster.wait_for_split("db", 4, 1)
        await cluster.assert_unchanged("db")
        revisions = {p.labels["controller-revision-hash"] for p in await cluster.pods("db")}
        assert len(revisions) == 2
    assert cluster.evictions() == ["db-3", "db-1"]


@on_both_beds
async def test_a_stuck_rollout_of_an_ordered_set_is_left_to_its_owner(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        spec = {"podManagementPolicy": "OrderedReady"}
        await cluster.create_stateful_set("db", 4, policy(50), spec=spec)
        await cluster.wait_for_split("db", 2, 2)
        await incidents.roll_out(cluster, "StatefulSet", "db", SECOND, READY_NEVER)

        async def is_stuck() -> bool:
            waiting = [pod for pod in await cluster.pods("db") if not pod.ready]
            return [pod.name for pod in waiting] == ["db-3"] and waiting[0].deleting_at is None

        await cluster.wait_until(is_stuck, "the first new pod is not Ready")
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "0"})
        await cluster.assert_unchanged("db", seconds=10)
        assert cluster.evictions() == []
        await incidents.roll_out(
            cluster, "StatefulSet", "db", "registry.example/main:1", NOT_ANY_MORE
        )
        # Kubernetes does not replace the broken pod (kubernetes/kubernetes#67250): the owner has
        # to.
        (broken,) = [pod for pod in await cluster.pods("db") if not pod.ready]
        assert await incidents.evict(cluster, broken) == 201
        await cluster.wait_for_split("db", 4, 0)
        await cluster.assert_unchanged("db")
    assert cluster.evictions() == ["db-1"]


@on_both_beds
async def test_moves_of_an_on_delete_set_continue_when_its_owner_has_renewed_every_pod(
    cluster: TestCluster,
) -> None:
    """Kubernetes leaves ``currentRevision`` of such a set as it was."""

    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        spec = {"updateStrategy": {"type": "OnDelete"}}
        await cluster.create_stateful_set("db", 4, policy(50), spec=spec)
        await cluster.wait_for_split("db", 2, 2)
        await incidents.roll_out(cluster, "StatefulSet", "db", SECOND)
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "0"})
        await cluster.wait_for_status("db", "RolloutInProgress")
        old = {pod.name: pod for pod in await cluster.pods("db")}
        # The owner renews three of the pods. Evicting db-3 would renew it against the owner's will.
        for name in ("db-0", "db-1", "db-2"):
            assert await incidents.evict(cluster, old[name]) == 201
        await cluster.wait_for_split("db", 3, 1)
        await cluster.assert_unchanged("db")
        assert await cluster.get_status_reason("db") == "RolloutInProgress"
        assert cluster.evictions() == []
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "50"})
        assert await incidents.evict(cluster, old["db-3"]) == 201
        await cluster.wait_for_split("db", 2, 2)
        status = (await cluster.get_object("StatefulSet", "db"))["status"]
        assert status["currentRevision"] != status["updateRevision"]
    assert cluster.evictions() == ["db-1"]
