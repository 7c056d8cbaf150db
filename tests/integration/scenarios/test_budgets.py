"""PodDisruptionBudgets: a refusal is a wait with a reason, no loop, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from spotalis.model.nodes import NodeType
from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.real_stage import OnRealControlPlane
from tests.support.stage import Play, on_both_beds

TO_70 = {"spot-percentage": "70"}
K8S = Path(__file__).parents[3] / "build" / "k8s"
RIGHT_TO_DELETE = K8S / "optional" / "pdb-override.yaml"


@on_both_beds
def test_a_budget_that_allows_nothing_blocks_its_workload_only_until_it_opens(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("held", 4, Wishes(0))
            await bed.deployment("free", 4, Wishes(0))
            await bed.budget("held", "held", minAvailable=4)
            await bed.settled("held", 4, 0)
            await bed.settled("free", 4, 0)
            await bed.annotate("Deployment", "held", TO_70)
            await bed.annotate("Deployment", "free", TO_70)
            await bed.settled("free", 2, 2)
            await bed.says("held", "BlockedByPDB")
            await bed.stands_still("held", seconds=12)
            assert len(bed.evictions()) == 2
            assert bed.evictions_refused() == 0  # it looks at the budget, and asks nothing in vain
            assert (await incidents.events(bed, "held")).count("MoveBlocked") == 1
            await bed.delete_budget("held")
            await bed.settled("held", 2, 2)
        assert len(bed.evictions()) == 4

    play(scenario)


@on_both_beds
def test_a_budget_of_one_lets_replicas_go_one_by_one(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(0, other={"max-moves-in-flight": "6"}))
            await bed.budget("one", "web", maxUnavailable=1)
            await bed.settled("web", 6, 0)
            await bed.annotate("Deployment", "web", TO_70)
            await bed.settled("web", 2, 4, within=120)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 4

    play(scenario)


@on_both_beds
def test_two_budgets_on_one_pod_block_it_by_name_and_nobody_else(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("held", 4, Wishes(0))
            await bed.deployment("free", 4, Wishes(0))
            await bed.settled("held", 4, 0)
            await bed.settled("free", 4, 0)
            # Once its pods serve: of two budgets their changes are counted for one alone.
            for name in ("one", "two"):
                await bed.budget(name, "held", maxUnavailable=1)
                await bed.allows(name)
            await bed.annotate("Deployment", "held", TO_70)
            await bed.annotate("Deployment", "free", TO_70)
            await bed.settled("free", 2, 2)
            await bed.says("held", "BlockedByPDB")
            await bed.stands_still("held")
            assert len(bed.evictions()) == 2
            assert bed.evictions_refused() == 0
            [note] = await incidents.notes(bed, "held", "MoveBlocked")
            assert "more than one PodDisruptionBudget: one, two" in note
            await bed.delete_budget("two")
            await bed.settled("held", 2, 2)
        assert len(bed.evictions()) == 4

    play(scenario)


@on_both_beds
def test_a_budget_of_20_percent_is_never_overdrawn(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(0, other={"max-moves-in-flight": "10"}))
            await bed.budget("fifth", "web", maxUnavailable="20%")
            await bed.settled("web", 10, 0)
            async with bed.fewest("web") as fewest:
                await bed.annotate("Deployment", "web", TO_70)
                await bed.settled("web", 3, 7, within=120)
            assert fewest() == 8
            await bed.stands_still("web")
        assert len(bed.evictions()) == 7

    play(scenario)


@on_both_beds
def test_a_budget_that_comes_in_the_middle_of_a_rebalance_stops_it_until_it_goes(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(0))
            await bed.settled("web", 10, 0)
            await bed.annotate("Deployment", "web", TO_70)

            async def two_moved() -> bool:
                return len(bed.evictions()) >= 2

            await bed.until(two_moved, "two replicas are moved")
            await bed.budget("late", "web", minAvailable=10)
            await incidents.told(bed, "web", "MoveBlocked")
            moved = len(bed.evictions())
            assert moved < 7  # 2, or as many as went while the budget came
            await bed.settled("web", 10 - moved, moved)
            await bed.stands_still("web", seconds=12)
            assert len(bed.evictions()) == moved
            await bed.delete_budget("late")
            await bed.settled("web", 3, 7, within=120)
        assert len(bed.evictions()) == 7

    play(scenario)


@on_both_beds
def test_an_override_deletes_where_a_budget_blocks_and_the_floor_still_holds(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        if isinstance(bed, OnRealControlPlane):
            bed.plane.apply(RIGHT_TO_DELETE.read_text())
        await bed.add_nodes(spot=2, on_demand=3)
        async with bed.operator("--pdb-override"):
            wishes = Wishes(0, 2, {"pdb-override": "true", "max-moves-in-flight": "10"})
            await bed.deployment("web", 10, wishes)
            await bed.settled("web", 10, 0)
            await bed.budget("web", "web", minAvailable=10)
            await bed.annotate("Deployment", "web", {"spot-percentage": "100"})
            async with bed.fewest("web", NodeType.ON_DEMAND) as least:
                await bed.settled("web", 2, 8, within=120)
            assert least() == 2
            assert bed.evictions() == []
            assert bed.writes().count(("delete", "pods")) == 8

    play(scenario)
