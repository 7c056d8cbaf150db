"""T013b: rollouts of every shape. No move during one, exact afterwards, never stuck."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.incidents import READY_NEVER
from tests.support.stage import Play, on_both_beds

SECOND = "registry.example/main:2"
NOT_ANY_MORE = dict.fromkeys(READY_NEVER)


def rolling(surge: int | str, unavailable: int | str) -> dict[str, Any]:
    """A Deployment's strategy."""
    values = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"strategy": {"type": "RollingUpdate", "rollingUpdate": values}}


SHAPES = [
    pytest.param(rolling(0, 1), id="surge 0, unavailable 1"),
    pytest.param(rolling("25%", "25%"), id="surge 25 %, unavailable 25 %"),
    pytest.param(rolling(1, 0), id="surge 1, unavailable 0"),
    pytest.param(rolling("100%", 0), id="surge 100 %, unavailable 0"),
    pytest.param({"strategy": {"type": "Recreate"}}, id="Recreate"),
]


async def births(bed: Bed, name: str, reference: set[str]) -> int:
    """How many of the pods are not among these."""
    return len({pod.uid for pod in await bed.pods(name)} - reference)


@on_both_beds
@pytest.mark.parametrize("shape", SHAPES)
def test_a_rollout_is_split_right_when_it_is_over_with_no_eviction(
    play: Play, shape: dict[str, Any]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(70, 1), spec=shape)
            await bed.settled("web", 2, 4)
            old = {pod.uid for pod in await bed.pods("web")}
            await incidents.roll_out(bed, "Deployment", "web", SECOND)
            await incidents.rolled_out(bed, "Deployment", "web")
            await bed.settled("web", 2, 4)
            assert await births(bed, "web", old) == 6
            await bed.stands_still("web", seconds=5)
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_new_image_in_the_middle_of_a_rebalance_ends_it_with_no_further_eviction(
    play: Play,
) -> None:
    """The rollout's own new pods are placed right: nothing is left to move."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(0), spec=rolling("25%", "25%"))
            await bed.settled("web", 10, 0)
            await bed.annotate("Deployment", "web", {"spot-percentage": "70"})

            async def two_moved() -> bool:
                return len(bed.evictions()) >= 2

            await bed.until(two_moved, "two replicas are moved")
            await incidents.roll_out(bed, "Deployment", "web", SECOND)
            await bed.says("web", "RolloutInProgress")
            moved = len(bed.evictions())
            await incidents.rolled_out(bed, "Deployment", "web")
            await bed.settled("web", 3, 7)
            await bed.stands_still("web")
            assert len(bed.evictions()) == moved
            assert moved < 7

    play(scenario)


@on_both_beds
def test_a_rollout_that_never_becomes_ready_stops_moves_until_it_is_rolled_back(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(70), spec=rolling("25%", "25%"))
            await bed.settled("web", 3, 7)
            await incidents.roll_out(bed, "Deployment", "web", SECOND, READY_NEVER)

            async def stuck() -> bool:
                pods = await bed.pods("web")
                return len(pods) == 13 and sum(not pod.ready for pod in pods) == 5

            await bed.until(stuck, "8 old pods serve, 5 new ones never will")
            await bed.annotate("Deployment", "web", {"spot-percentage": "30"})
            await bed.stands_still("web", seconds=12)
            assert bed.evictions() == []

            await incidents.roll_out(
                bed, "Deployment", "web", "registry.example/main:1", NOT_ANY_MORE
            )
            await bed.settled("web", 7, 3)
            await bed.stands_still("web")
        # 8 old ones are left, 3 + 5 by their slots; the 2 that come back are on-demand.
        assert len(bed.evictions()) == 2

    play(scenario)


@on_both_beds
def test_a_paused_rollout_stops_moves_until_it_goes_on(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(50), spec=rolling(0, 1))
            await bed.settled("web", 3, 3)
            old = {pod.uid for pod in await bed.pods("web")}
            await incidents.roll_out(bed, "Deployment", "web", SECOND)

            async def begun() -> bool:
                return await births(bed, "web", old) >= 2

            await bed.until(begun, "two pods are new")
            await incidents.change(bed, "Deployment", "web", {"paused": True})

            async def rests() -> bool:
                pods = await bed.pods("web")
                return len(pods) == 6 and all(p.ready and not p.deleting_at for p in pods)

            await bed.until(rests, "it rests half way")
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.stands_still("web", seconds=10)
            assert 0 < await births(bed, "web", old) < 6
            assert bed.evictions() == []
            await incidents.change(bed, "Deployment", "web", {"paused": None})
            await incidents.rolled_out(bed, "Deployment", "web")
            await bed.settled("web", 6, 0)
            await bed.stands_still("web")

    play(scenario)


@on_both_beds
def test_pausing_a_deployment_with_no_change_pending_does_not_stop_moves(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
            await incidents.change(bed, "Deployment", "web", {"paused": True})
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.settled("web", 4, 0)
        assert len(bed.evictions()) == 2

    play(scenario)


SETS = [
    pytest.param({"podManagementPolicy": "OrderedReady"}, id="ordered"),
    pytest.param({"podManagementPolicy": "Parallel"}, id="parallel"),
    pytest.param({"ordinals": {"start": 3}}, id="ordinals start at 3"),
    pytest.param(
        {"podManagementPolicy": "OrderedReady", "ordinals": {"start": 3}},
        id="ordered, ordinals start at 3",
    ),
]


@on_both_beds
@pytest.mark.parametrize("spec", SETS)
def test_a_stateful_set_is_split_right_after_a_rollout_and_moves_afterwards(
    play: Play, spec: dict[str, Any]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.stateful_set("db", 5, Wishes(60), spec=spec)
            await bed.settled("db", 2, 3)
            old = {pod.uid for pod in await bed.pods("db")}
            await incidents.roll_out(bed, "StatefulSet", "db", SECOND)
            await incidents.rolled_out(bed, "StatefulSet", "db")
            await bed.settled("db", 2, 3)
            assert await births(bed, "db", old) == 5
            await bed.stands_still("db", seconds=5)
            assert bed.evictions() == []
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "20"})
            await bed.settled("db", 4, 1)
        first = spec.get("ordinals", {}).get("start", 0)
        # At 60 % the slots 1, 3 and 4 are spot; at 20 % only 4.
        assert bed.evictions() == [f"db-{first + 3}", f"db-{first + 1}"]

    play(scenario)


@on_both_beds
def test_moves_go_on_once_a_partitioned_rollout_has_come_down_to_its_partition(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
        async with bed.operator():
            await bed.stateful_set("db", 5, Wishes(60), spec={"updateStrategy": strategy})
            await bed.settled("db", 2, 3)
            await incidents.roll_out(bed, "StatefulSet", "db", SECOND)

            async def down() -> bool:
                status = (await bed.raw_object("StatefulSet", "db"))["status"]
                return (status.get("updatedReplicas"), status.get("readyReplicas")) == (2, 5)

            await bed.until(down, "ordinals 4 and 3 are new")
            await bed.settled("db", 2, 3)
            assert bed.evictions() == []
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "20"})
            await bed.settled("db", 4, 1)
            await bed.stands_still("db")
            revisions = {p.labels["controller-revision-hash"] for p in await bed.pods("db")}
            assert len(revisions) == 2
        assert bed.evictions() == ["db-3", "db-1"]

    play(scenario)


@on_both_beds
def test_an_ordered_set_whose_rollout_is_stuck_is_freed_by_its_owner_not_by_us(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            spec = {"podManagementPolicy": "OrderedReady"}
            await bed.stateful_set("db", 4, Wishes(50), spec=spec)
            await bed.settled("db", 2, 2)
            await incidents.roll_out(bed, "StatefulSet", "db", SECOND, READY_NEVER)

            async def stuck() -> bool:
                waiting = [pod for pod in await bed.pods("db") if not pod.ready]
                return [pod.name for pod in waiting] == ["db-3"] and waiting[0].deleting_at is None

            await bed.until(stuck, "the first new pod never becomes ready")
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "0"})
            await bed.stands_still("db", seconds=10)
            assert bed.evictions() == []
            await incidents.roll_out(
                bed, "StatefulSet", "db", "registry.example/main:1", NOT_ANY_MORE
            )
            # Kubernetes itself leaves the broken pod (kubernetes/kubernetes#67250): its owner acts.
            (broken,) = [pod for pod in await bed.pods("db") if not pod.ready]
            assert await incidents.evict(bed, broken) == 201
            await bed.settled("db", 4, 0)
            await bed.stands_still("db")
        assert bed.evictions() == ["db-1"]

    play(scenario)
