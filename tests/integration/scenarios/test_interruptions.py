"""T011 and storms: providers take nodes, with a notice and without."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import pytest

from spotalis.embedded.cluster import Timing
from tests.support import embedded_stage, incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.incidents import AKS_PREEMPT, KARPENTER, REBALANCE, TOLERATES_ALL
from tests.support.stage import Play, on_both_beds, only_embedded, only_real

MINUTE = 60.0
EARLY = "--interruption-evict-early"


async def crowd(bed: Bed, name: str) -> Counter[str]:
    """Pods of a workload by node."""
    return Counter(pod.node for pod in await bed.pods(name))


@on_both_beds
def test_a_spot_node_warns_is_drained_and_goes_and_its_pods_come_back_on_spot(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        spot = await bed.add_nodes(spot=3, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(70, 2))
            await bed.budget("web", "web", minAvailable=8)
            await bed.settled("web", 3, 7)
            nodes = await crowd(bed, "web")
            taken = max(spot[:3], key=lambda name: nodes[name])
            assert nodes[taken] == 3
            doomed = [pod for pod in await bed.pods("web") if pod.node == taken]
            others = {pod.uid for pod in await bed.pods("web")} - {pod.uid for pod in doomed}

            await incidents.warn(bed, taken, KARPENTER)
            await incidents.told(bed, "web", "SpotReclaimed")  # before it is gone
            for pod in doomed[:2]:  # as far as the provider's drain gets in its two minutes

                async def gone(pod: object = pod) -> bool:
                    return await incidents.evict(bed, pod) in (201, 404)  # type: ignore[arg-type]

                await bed.until(gone, "the budget lets one go")
            await bed.reclaim(taken)

            await bed.settled("web", 3, 7)
            await bed.stands_still("web")
            now = await bed.pods("web")
            assert {pod.uid for pod in now} >= others
            assert taken not in {pod.node for pod in now}
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
@pytest.mark.parametrize("notice", [KARPENTER, AKS_PREEMPT], ids=["Karpenter", "AKS"])
def test_pods_on_a_leaving_node_hold_no_slot_so_a_change_meanwhile_needs_no_eviction(
    play: Play, notice: Mapping[str, str]
) -> None:
    """Both on-demand pods of the node that goes are replaced on spot, as the new share wants."""

    async def scenario(bed: Bed) -> None:
        first, _ = await bed.add_nodes(on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            assert (await crowd(bed, "web"))[first] == 2
            await incidents.warn(bed, first, notice)
            await bed.add_nodes(spot=2)
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.stands_still("web")
            await bed.reclaim(first)
            await bed.settled("web", 2, 2)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


async def a_node_goes_and_its_pods_stay_for_a_while(bed: Bed) -> None:
    first, _ = await bed.add_nodes(on_demand=2)
    async with bed.operator():
        await bed.deployment("web", 4, Wishes(0))
        await bed.settled("web", 4, 0)
        assert (await crowd(bed, "web"))[first] == 2
        await bed.add_nodes(spot=2)
        await bed.api.raw("DELETE", f"/api/v1/nodes/{first}")
        await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
        await bed.stands_still("web", seconds=20)  # they are collected after 40 s or more
        await bed.settled("web", 2, 2, within=240)
        await bed.stands_still("web")
    assert bed.evictions() == []


@only_real
def test_pods_whose_node_is_gone_hold_no_slot_until_they_are_collected(play: Play) -> None:
    play(a_node_goes_and_its_pods_stay_for_a_while)


def test_pods_whose_node_is_gone_hold_no_slot_embedded() -> None:
    """With the collector's patience of a real cluster, which the embedded one has not by itself."""
    for play in embedded_stage.playing(timing=Timing(pod_gc_quarantine=timedelta(seconds=40))):
        play(a_node_goes_and_its_pods_stay_for_a_while)


@only_embedded  # a quarter of an hour
def test_a_notice_that_nothing_follows_for_15_minutes_is_not_believed_any_more(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        first, _ = await bed.add_nodes(on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            await incidents.warn(bed, first, KARPENTER)
            await bed.add_nodes(spot=2)
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.stands_still("web", seconds=14 * MINUTE)
            await bed.settled("web", 2, 2, within=3 * MINUTE)
        assert len(bed.evictions()) == 2

    play(scenario)


@on_both_beds
@pytest.mark.parametrize(
    "notice", [KARPENTER, AKS_PREEMPT, REBALANCE], ids=["Karpenter", "AKS", "rebalance"]
)
def test_a_node_with_a_notice_is_no_target_whatever_the_pods_tolerate(
    play: Play, notice: Mapping[str, str]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=2)
        (only,) = await bed.add_nodes(spot=1)
        await incidents.end_provisioning(bed)
        async with bed.operator():
            # Never, so that nobody is sent to find out.
            await bed.deployment("web", 4, Wishes(0, other={"spot-fallback": "never"}))
            await incidents.change(bed, "Deployment", "web", {"template": {"spec": TOLERATES_ALL}})
            await incidents.rolled_out(bed, "Deployment", "web")
            await bed.settled("web", 4, 0)
            await incidents.warn(bed, only, notice)
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await incidents.told(bed, "web", "SpotCapacityMissing")
            await bed.stands_still("web")
            assert bed.evictions() == []
            await incidents.withdraw(bed, only, notice)
            await bed.settled("web", 2, 2)
        assert len(bed.evictions()) == 2

    play(scenario)


@on_both_beds
def test_a_rebalance_recommendation_moves_nobody(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        spot, *_ = await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(50))
            await bed.settled("web", 3, 3)
            await incidents.warn(bed, spot, REBALANCE)
            await bed.stands_still("web")
            await bed.scale("Deployment", "web", 8)
            await bed.settled("web", 4, 4)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_in_a_storm_nobody_moves_to_spot_while_moves_to_on_demand_go_on(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        spot = await bed.add_nodes(spot=5)
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("up", 4, Wishes(0))
            await bed.deployment("down", 2, Wishes(100))
            await bed.settled("up", 4, 0)
            await bed.settled("down", 0, 2)
            used = await crowd(bed, "down")
            free = [name for name in spot if not used[name]]
            assert len(free) >= 3
            await incidents.warn(bed, free[0], AKS_PREEMPT)
            await bed.reclaim(free[1])
            await bed.reclaim(free[2])
            await bed.annotate("Deployment", "up", {"spot-percentage": "50"})
            await bed.annotate("Deployment", "down", {"spot-percentage": "0"})
            await incidents.told(bed, "up", "SpotStorm")
            await bed.settled("down", 2, 0)
            await bed.stands_still("up", seconds=12)
            assert len(bed.evictions()) == 2
            assert (await incidents.events(bed, "up")).count("SpotStorm") == 1
            assert "SpotStorm" not in await incidents.events(bed, "down")

    play(scenario)


@on_both_beds
def test_a_storm_ends_when_the_set_calm_is_over_and_what_rested_goes(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        spot = await bed.add_nodes(spot=5)
        await bed.add_nodes(on_demand=3)
        calm = timedelta(seconds=25)
        async with bed.operator(
            "--storm-cooldown=25s", "--storm-min-nodes=2", "--storm-threshold-percent=20"
        ):
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            await bed.reclaim(spot[0])
            last = await bed.now()
            await bed.reclaim(spot[1])
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await bed.says("web", "StormFrozen")
            await incidents.told(bed, "web", "SpotStorm")
            assert bed.evictions() == []
            await bed.settled("web", 2, 2, within=120)
            await incidents.told(bed, "web", "SpotStormOver")
            said = await incidents.events(bed, "web")
            assert (said.count("SpotStorm"), said.count("SpotStormOver")) == (1, 1)
        first, _ = bed.evicted_at()
        assert first - last >= calm

    play(scenario)


@only_embedded  # ten minutes and more
def test_a_storm_is_over_10_minutes_after_the_last_loss_and_says_so_once(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        spot = await bed.add_nodes(spot=5)
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            for name in spot[:3]:
                await bed.reclaim(name)
            await bed.annotate("Deployment", "web", {"spot-percentage": "50"})
            await incidents.told(bed, "web", "SpotStorm")
            assert bed.scraped().storm_active
            await bed.stands_still("web", seconds=8 * MINUTE)
            await bed.reclaim(spot[3])  # one more, alone: it begins anew
            await bed.stands_still("web", seconds=10 * MINUTE - 5)
            assert bed.evictions() == []
            await bed.settled("web", 2, 2, within=30)
            assert not bed.scraped().storm_active
            said = await incidents.events(bed, "web")
            assert (said.count("SpotStorm"), said.count("SpotStormOver")) == (1, 1)
            await asyncio.sleep(MINUTE)
        assert len(bed.evictions()) == 2

    play(scenario)


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_with_early_eviction_pods_leave_at_the_notice_as_fast_as_their_budget_lets_them(
    play: Play, kind: str
) -> None:
    async def scenario(bed: Bed) -> None:
        spot = await bed.add_nodes(spot=3, on_demand=2)
        async with bed.operator(EARLY):
            create = bed.deployment if kind == "Deployment" else bed.stateful_set
            await create("web", 10, Wishes(70, 2))
            await bed.budget("web", "web", minAvailable=9)
            await bed.settled("web", 3, 7)
            nodes = await crowd(bed, "web")
            taken = max(spot, key=lambda name: nodes[name])
            doomed = {pod.uid: pod.name for pod in await bed.pods("web") if pod.node == taken}
            others = {pod.uid for pod in await bed.pods("web")} - doomed.keys()
            await incidents.warn(bed, taken, KARPENTER)

            async def empty() -> bool:
                return taken not in {pod.node for pod in await bed.pods("web")}

            await bed.until(empty, "nobody is left on the node")
            await bed.settled("web", 3, 7)
            assert sorted(bed.evictions()) == sorted(doomed.values())
            assert {pod.uid for pod in await bed.pods("web")} >= others
            assert (await incidents.events(bed, "web")).count("EvictedEarly") == len(doomed) == 3
            await bed.reclaim(taken)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 3

    play(scenario)


@only_embedded  # minutes
def test_without_early_eviction_pods_stay_until_their_node_goes(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        taken, *_ = await bed.add_nodes(spot=3, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(70, 2))
            await bed.settled("web", 3, 7)
            await incidents.warn(bed, taken, KARPENTER)
            await bed.stands_still("web", seconds=2 * MINUTE)
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_an_early_eviction_waits_for_no_window_but_for_a_pause(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        taken, *_ = await bed.add_nodes(spot=2, on_demand=2)
        closed = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1m"}
        async with bed.operator(EARLY):
            await bed.deployment("web", 4, Wishes(50, other=closed))
            await bed.deployment("rests", 4, Wishes(50, other={"paused-until": "forever"}))
            await bed.settled("web", 2, 2)
            await bed.settled("rests", 2, 2)
            assert (await crowd(bed, "web"))[taken] == (await crowd(bed, "rests"))[taken] == 1
            await incidents.warn(bed, taken, KARPENTER)
            await incidents.told(bed, "web", "EvictedEarly")
            await bed.settled("web", 2, 2)
            await bed.stands_still("rests")
        assert len(bed.evictions()) == 1
        assert bed.evictions()[0].startswith("web-")

    play(scenario)


@only_embedded  # the watch of pods is made to fall silent
def test_an_early_eviction_is_sent_once_although_no_watch_has_shown_it_yet(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        taken, *_ = await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator(EARLY):
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
            (pods,) = [s for s in bed.transport.streams if s.request.path == "/api/v1/pods"]
            pods.silence()
            await incidents.warn(bed, taken, KARPENTER)
            await asyncio.sleep(0.3)
            await incidents.cordon(bed, taken)  # the node changes: everybody is looked at again
            await asyncio.sleep(1)
            assert len(bed.evictions()) == 1
            pods.cut()
            await bed.settled("web", 2, 2)
        assert len(bed.evictions()) == 1

    play(scenario)
