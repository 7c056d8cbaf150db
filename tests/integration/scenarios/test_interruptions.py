"""Interruptions: providers reclaim nodes, with and without notice. Storms of lost nodes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import pytest

from spotalis.embedded.cluster import Timing
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster, run_scenario
from tests.support.incidents import AKS_PREEMPT, KARPENTER, REBALANCE, SPOT_ITN, TOLERATES_ALL
from tests.support.scenarios import on_both_beds, only_embedded, only_real

MINUTE = 60.0
EARLY = "--interruption-evict-early"


async def pods_per_node(cluster: TestCluster, name: str) -> Counter[str]:
    """Count the pods of a workload by node."""
    return Counter(pod.node for pod in await cluster.pods(name))


@pytest.mark.check
@on_both_beds
async def test_the_pods_of_a_reclaimed_spot_node_return_to_spot(
    cluster: TestCluster,
) -> None:
    spot = await cluster.add_nodes(spot=3, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70, 2))
        await cluster.create_budget("web", "web", minAvailable=8)
        await cluster.wait_for_split("web", 3, 7)
        nodes = await pods_per_node(cluster, "web")
        taken = max(spot[:3], key=lambda name: nodes[name])
        assert nodes[taken] == 3
        doomed = [pod for pod in await cluster.pods("web") if pod.node == taken]
        others = {pod.uid for pod in await cluster.pods("web")} - {pod.uid for pod in doomed}

        await incidents.warn(cluster, taken, SPOT_ITN)
        await incidents.told(cluster, "web", "SpotReclaimed")  # before it is gone
        for pod in doomed[:2]:  # the provider's drain evicts what it can in two minutes

            async def gone(pod: object = pod) -> bool:
                return await incidents.evict(cluster, pod) in (201, 404)  # type: ignore[arg-type]

            await cluster.wait_until(gone, "the budget allows an eviction")
        await cluster.reclaim(taken)

        await cluster.wait_for_split("web", 3, 7)
        await cluster.assert_unchanged("web")
        now = await cluster.pods("web")
        assert {pod.uid for pod in now} >= others
        assert taken not in {pod.node for pod in now}
    assert cluster.evictions() == []


@on_both_beds
@pytest.mark.parametrize("notice", [KARPENTER, AKS_PREEMPT], ids=["Karpenter", "AKS"])
async def test_pods_on_a_terminating_node_hold_no_slot_so_that_a_policy_change_needs_no_eviction(
    cluster: TestCluster, notice: Mapping[str, str]
) -> None:
    """Both on-demand pods of the terminating node are replaced on spot, as the new policy asks."""

    first, _ = await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        assert (await pods_per_node(cluster, "web"))[first] == 2
        await incidents.warn(cluster, first, notice)
        await cluster.add_nodes(spot=2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.assert_unchanged("web")
        await cluster.reclaim(first)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


async def delete_node_but_not_its_pods(cluster: TestCluster) -> None:
    first, _ = await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        assert (await pods_per_node(cluster, "web"))[first] == 2
        await cluster.add_nodes(spot=2)
        await cluster.api.raw("DELETE", f"/api/v1/nodes/{first}")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.assert_unchanged("web", seconds=20)  # they are collected after 40 s or more
        await cluster.wait_for_split("web", 2, 2, within=240)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@only_real
async def test_pods_of_a_deleted_node_hold_no_slot_until_they_are_collected(
    cluster: TestCluster,
) -> None:
    await delete_node_but_not_its_pods(cluster)


def test_pods_of_a_deleted_node_hold_no_slot_on_the_embedded_cluster() -> None:
    """With the delay of pod garbage collection in a real cluster."""
    timing = Timing(pod_gc_quarantine=timedelta(seconds=40))
    run_scenario(delete_node_but_not_its_pods, timing=timing)


@only_embedded  # 15 minutes
async def test_an_interruption_notice_expires_after_15_minutes(
    cluster: TestCluster,
) -> None:
    first, _ = await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        await incidents.warn(cluster, first, KARPENTER)
        await cluster.add_nodes(spot=2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.assert_unchanged("web", seconds=14 * MINUTE)
        await cluster.wait_for_split("web", 2, 2, within=3 * MINUTE)
    assert len(cluster.evictions()) == 2


@on_both_beds
@pytest.mark.parametrize(
    "notice", [KARPENTER, AKS_PREEMPT, REBALANCE], ids=["Karpenter", "AKS", "rebalance"]
)
async def test_a_node_with_an_interruption_notice_receives_no_pods_whatever_they_tolerate(
    cluster: TestCluster, notice: Mapping[str, str]
) -> None:
    await cluster.add_nodes(on_demand=2)
    (only,) = await cluster.add_nodes(spot=1)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        # With "never", no replica probes spot.
        await cluster.create_deployment("web", 4, policy(0, spot_fallback="never"))
        await incidents.change(cluster, "Deployment", "web", {"template": {"spec": TOLERATES_ALL}})
        await incidents.rolled_out(cluster, "Deployment", "web")
        await cluster.wait_for_split("web", 4, 0)
        await incidents.warn(cluster, only, notice)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await incidents.told(cluster, "web", "SpotCapacityMissing")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        await incidents.withdraw(cluster, only, notice)
        await cluster.wait_for_split("web", 2, 2)
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_a_rebalance_recommendation_causes_no_move(cluster: TestCluster) -> None:
    spot, *_ = await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(50))
        await cluster.wait_for_split("web", 3, 3)
        await incidents.warn(cluster, spot, REBALANCE)
        await cluster.assert_unchanged("web")
        await cluster.scale("Deployment", "web", 8)
        await cluster.wait_for_split("web", 4, 4)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@on_both_beds
async def test_during_a_storm_moves_to_spot_stop_and_moves_to_on_demand_continue(
    cluster: TestCluster,
) -> None:
    spot = await cluster.add_nodes(spot=5)
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("up", 4, policy(0))
        await cluster.create_deployment("down", 2, policy(100))
        await cluster.wait_for_split("up", 4, 0)
        await cluster.wait_for_split("down", 0, 2)
        used = await pods_per_node(cluster, "down")
        free = [name for name in spot if not used[name]]
        assert len(free) >= 3
        await incidents.warn(cluster, free[0], AKS_PREEMPT)
        await cluster.reclaim(free[1])
        await cluster.reclaim(free[2])
        await cluster.annotate("Deployment", "up", {"spot-percentage": "50"})
        await cluster.annotate("Deployment", "down", {"spot-percentage": "0"})
        await incidents.told(cluster, "up", "SpotStorm")
        await cluster.wait_for_split("down", 2, 0)
        await cluster.assert_unchanged("up", seconds=12)
        assert len(cluster.evictions()) == 2
        assert (await incidents.events(cluster, "up")).count("SpotStorm") == 1
        assert "SpotStorm" not in await incidents.events(cluster, "down")


@on_both_beds
async def test_a_storm_ends_after_its_cooldown_and_waiting_moves_start(
    cluster: TestCluster,
) -> None:
    spot = await cluster.add_nodes(spot=5)
    await cluster.add_nodes(on_demand=3)
    calm = timedelta(seconds=25)
    async with cluster.operator(
        "--storm-cooldown=25s", "--storm-min-nodes=2", "--storm-threshold-percent=20"
    ):
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.reclaim(spot[0])
        last = await cluster.now()
        await cluster.reclaim(spot[1])
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_status("web", "StormFrozen")
        await incidents.told(cluster, "web", "SpotStorm")
        assert cluster.evictions() == []
        await cluster.wait_for_split("web", 2, 2, within=120)
        await incidents.told(cluster, "web", "SpotStormOver")
        said = await incidents.events(cluster, "web")
        assert (said.count("SpotStorm"), said.count("SpotStormOver")) == (1, 1)
    first, _ = cluster.eviction_times()
    assert first - last >= calm


@only_embedded  # over 10 minutes
async def test_a_storm_ends_10_minutes_after_the_last_lost_node_and_is_reported_once(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    spot = await cluster.add_nodes(spot=5)
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        for name in spot[:3]:
            await cluster.reclaim(name)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await incidents.told(cluster, "web", "SpotStorm")
        assert cluster.scraped().storm_active
        await cluster.assert_unchanged("web", seconds=8 * MINUTE)
        await cluster.reclaim(spot[3])  # one more lost node: the cooldown starts again
        await cluster.assert_unchanged("web", seconds=10 * MINUTE - 5)
        assert cluster.evictions() == []
        await cluster.wait_for_split("web", 2, 2, within=30)
        assert not cluster.scraped().storm_active
        said = await incidents.events(cluster, "web")
        assert (said.count("SpotStorm"), said.count("SpotStormOver")) == (1, 1)
        await asyncio.sleep(MINUTE)
    assert len(cluster.evictions()) == 2


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_with_early_eviction_pods_leave_at_the_notice_as_fast_as_their_budget_allows(
    cluster: TestCluster, kind: str
) -> None:
    spot = await cluster.add_nodes(spot=3, on_demand=2)
    async with cluster.operator(EARLY):
        create = cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set
        await create("web", 10, policy(70, 2))
        await cluster.create_budget("web", "web", minAvailable=9)
        await cluster.wait_for_split("web", 3, 7)
        nodes = await pods_per_node(cluster, "web")
        taken = max(spot, key=lambda name: nodes[name])
        doomed = {pod.uid: pod.name for pod in await cluster.pods("web") if pod.node == taken}
        others = {pod.uid for pod in await cluster.pods("web")} - doomed.keys()
        await incidents.warn(cluster, taken, SPOT_ITN)

        async def empty() -> bool:
            return taken not in {pod.node for pod in await cluster.pods("web")}

        await cluster.wait_until(empty, "the node has no pods")
        await cluster.wait_for_split("web", 3, 7)
        assert sorted(cluster.evictions()) == sorted(doomed.values())
        assert {pod.uid for pod in await cluster.pods("web")} >= others
        assert (await incidents.events(cluster, "web")).count("EvictedEarly") == len(doomed) == 3
        await cluster.reclaim(taken)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 3


@only_embedded  # minutes
async def test_without_early_eviction_pods_stay_until_their_node_is_removed(
    cluster: TestCluster,
) -> None:
    taken, *_ = await cluster.add_nodes(spot=3, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70, 2))
        await cluster.wait_for_split("web", 3, 7)
        await incidents.warn(cluster, taken, SPOT_ITN)
        await cluster.assert_unchanged("web", seconds=2 * MINUTE)
    assert cluster.evictions() == []


@on_both_beds
async def test_early_eviction_leaves_the_pods_of_a_node_that_karpenter_replaces_to_karpenter(
    cluster: TestCluster,
) -> None:
    """Karpenter taints the node, and drains it once its replacement is ready."""
    taken, *_ = await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(EARLY):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await incidents.warn(cluster, taken, KARPENTER)
        await cluster.assert_unchanged("web", seconds=12)
        assert "SpotReclaimed" not in await incidents.events(cluster, "web")
    assert cluster.evictions() == []


@on_both_beds
async def test_spot_nodes_that_an_autoscaler_removes_are_no_storm(cluster: TestCluster) -> None:
    spot = await cluster.add_nodes(spot=5, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        for node in spot[:4]:
            await incidents.warn(cluster, node, KARPENTER)
            await cluster.reclaim(node)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_split("web", 2, 2)
        assert "SpotStorm" not in await incidents.events(cluster, "web")
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_an_early_eviction_ignores_the_window_and_respects_a_pause(
    cluster: TestCluster,
) -> None:
    taken, *_ = await cluster.add_nodes(spot=2, on_demand=2)
    closed = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1m"}
    async with cluster.operator(EARLY):
        await cluster.create_deployment("web", 4, policy(50, **closed))
        await cluster.create_deployment("rests", 4, policy(50, paused_until="forever"))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_split("rests", 2, 2)
        assert (
            (await pods_per_node(cluster, "web"))[taken]
            == (await pods_per_node(cluster, "rests"))[taken]
            == 1
        )
        await incidents.warn(cluster, taken, SPOT_ITN)
        await incidents.told(cluster, "web", "EvictedEarly")
        await cluster.wait_for_split("web", 2, 2)
        await cluster.assert_unchanged("rests")
    assert len(cluster.evictions()) == 1
    assert cluster.evictions()[0].startswith("web-")


@only_embedded  # silences the watch of pods
async def test_an_early_eviction_is_sent_once_even_before_a_watch_shows_it(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    taken, *_ = await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(EARLY):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        (pods,) = [s for s in cluster.transport.streams if s.request.path == "/api/v1/pods"]
        pods.silence()
        await incidents.warn(cluster, taken, SPOT_ITN)
        await asyncio.sleep(0.3)
        await incidents.cordon(cluster, taken)  # a change of the node
        await asyncio.sleep(1)
        assert len(cluster.evictions()) == 1
        pods.cut()
        await cluster.wait_for_split("web", 2, 2)
    assert len(cluster.evictions()) == 1
