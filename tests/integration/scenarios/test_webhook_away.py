"""The webhook is away: pods come as they are, that is said, and it is put right afterwards."""

from __future__ import annotations

from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds, only_embedded

REST = 5 * 60.0
"""Of a workload whose replacement came without a review (behaviour.md 4)."""


@on_both_beds
def test_a_webhook_that_is_never_called_costs_one_eviction_and_is_named_until_it_is(
    play: Play,
) -> None:
    """The process runs; only the API server does not reach it."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3)
        bed.webhook_away = True
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(100))
            await bed.settled("web", 0, 4)
            await bed.says("web", "Balanced")
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            # 2 are to go to on-demand; the first one's replacement lands on spot again.
            await bed.says("web", "WebhookNeverCalled")
            await incidents.told(bed, "web", "AdmissionBypassed")
            await bed.settled("web", 0, 4)
            await bed.stands_still("web")
            assert {pod.rule for pod in await bed.pods("web")} == {""}
            assert len(bed.evictions()) == 1
            await bed.add_nodes(on_demand=3)
            await bed.webhook_back()
            await bed.scale("Deployment", "web", 6)
            await bed.settled("web", 2, 4)  # the new ones are right at once
            assert len(bed.evictions()) == 1
            if isinstance(bed, OnEmbeddedCluster):  # minutes
                await bed.settled("web", 3, 3, within=REST + 60)
                await bed.stands_still("web")
                assert len(bed.evictions()) == 2

    play(scenario)


@only_embedded
def test_a_webhook_that_is_not_reached_at_birth_costs_one_eviction_as_well(play: Play) -> None:
    """20 at 50 %, and the scheduler puts them all on spot: 10 are to go, unready as they are."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3)
        bed.webhook_away = True
        async with bed.operator():
            await bed.deployment("web", 20, Wishes(50, other={"max-moves-in-flight": "20"}))
            await bed.says("web", "WebhookNeverCalled")
            await bed.settled("web", 0, 20)
            await bed.stands_still("web")
            assert len(bed.evictions()) == 1

    play(scenario)
