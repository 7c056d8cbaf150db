"""PodDisruptionBudgets: a refusal is a wait with a reason, no loop, and nobody else's."""

from __future__ import annotations

from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds

TO_70 = {"spot-percentage": "70"}


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
            await bed.stands_still("held", seconds=12)
            assert len(bed.evictions()) == 2
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
            await bed.settled("web", 2, 4, within=90)
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
            await bed.budget("one", "held", maxUnavailable=1)
            await bed.budget("two", "held", maxUnavailable=1)
            await bed.settled("held", 4, 0)
            await bed.settled("free", 4, 0)
            await bed.annotate("Deployment", "held", TO_70)
            await bed.annotate("Deployment", "free", TO_70)
            await bed.settled("free", 2, 2)
            await bed.stands_still("held")
            assert len(bed.evictions()) == 2
            await bed.delete_budget("two")
            await bed.settled("held", 2, 2)
        assert len(bed.evictions()) == 4

    play(scenario)
