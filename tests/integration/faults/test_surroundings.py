"""What owners, other controllers and the webhook's absence can do (safety.md B.1: 31 to 48)."""

from __future__ import annotations

import asyncio
import json

import pytest

from spotalis.embedded.transport import NetworkFault
from spotalis.model.decision import Reason
from spotalis.model.transport import Request
from tests.integration.faults.simulated import (
    count_evictions,
    get_leader,
    get_reason,
    is_eviction,
    once,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.history import FaultRates, History
from tests.simulation.runner import run_script
from tests.simulation.world import World


def two_workloads(**changes: int | str | None) -> History:
    return History(
        seed=1, spot=2, on_demand=2, workloads=(workload_spec(**changes), workload_spec(name="w1"))
    )


def never(world: World) -> None:
    """From now on no new replica becomes ready."""

    def seen(kind: str, pod: dict[str, object], old: object) -> None:
        if kind == "ADDED":
            world.set_readiness(pod["metadata"]["name"], "never")  # type: ignore[index]

    world.cluster.store.subscribe("pods", seen)


@simulated(budget=1)
async def test_row_31_a_budget_that_nobody_counts_anew_is_no_licence(world: World) -> None:
    await world.cluster.stop_controller("disruption")
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert count_evictions(world) == 1  # all that was allowed when counting stopped
    await world.cluster.start_controller("disruption")
    await wait_for_split(world, 3, within=300)


def test_row_32_two_budgets_on_one_pod_block_that_workload_by_name_and_no_other() -> None:
    async def script(world: World) -> None:
        spec = {"selector": {"matchLabels": {"app": "w0"}}, "maxUnavailable": 1}
        body = {"metadata": {"name": "another", "namespace": "default"}, "spec": spec}
        await world.api.create("poddisruptionbudgets", body)
        await world.apply("percent", index=0, value=100)
        await world.apply("percent", index=1, value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 3
        assert (get_reason(world), get_reason(world, "w1")) == (
            Reason.BLOCKED_BY_PDB,
            Reason.BALANCED,
        )

    outcome = run_script(two_workloads(budget=1), script)
    assert not outcome.violations, outcome.violations


def test_row_33_a_budget_that_never_opens_blocks_its_workload_and_no_other() -> None:
    async def script(world: World) -> None:
        await world.apply("percent", index=0, value=100)
        await world.apply("percent", index=1, value=100)
        await asyncio.sleep(600)
        assert count_evictions(world) == 3
        assert (get_reason(world), get_reason(world, "w1")) == (
            Reason.BLOCKED_BY_PDB,
            Reason.BALANCED,
        )
        posted = [e for e in world.cluster.audit.find(kind="pods/eviction") if e.code == 429]
        assert len(posted) <= 60  # at most one attempt in ten seconds
        await world.apply("budget", index=0, value=2)
        await wait_for_split(world, 6)

    outcome = run_script(two_workloads(budget=0), script)
    assert not outcome.violations, outcome.violations


@simulated()
async def test_row_34_a_victim_that_ends_before_the_eviction_comes_is_counted_once(
    world: World,
) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=4))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    victim = world.oracle.trace[-1].split()[-1]
    await world.api.delete("pods", "default", victim, user="somebody")
    await wait_for_split(world, 2)


@simulated(kind="StatefulSet", moves=1)
async def test_row_35_a_pod_that_came_under_the_same_name_is_not_evicted_for_the_old_one(
    world: World,
) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=8))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    await world.api.delete("pods", "default", "w0-4", user="somebody")
    await asyncio.sleep(9)
    held = [line for line in world.oracle.trace if "refuses eviction 0 of w0-4: 409" in line]
    assert held
    await wait_for_split(world, 2)


@simulated(percent=60, replicas=5, budget=2)
async def test_row_36_a_version_that_is_out_of_date_costs_no_budget_and_is_not_hammered(
    world: World,
) -> None:
    """Of a running pod no version is asked for; of a pending one, whom no budget counts, it is."""

    for node in [n for n in world.cluster.fleet.names() if n.startswith("spot")]:
        await world.cluster.fleet.reclaim(node)
    asked: list[tuple[bool, bool]] = []
    allowed: list[int] = []

    def touched(request: Request) -> NetworkFault | None:
        """Somebody writes the pod's status just before its eviction arrives, five times."""
        if is_eviction(request):
            name = request.path.split("/")[-2]
            pod = world.cluster.store.get("pods", "default", name)
            assert pod is not None
            pending = not pod["spec"].get("nodeName")
            conditions = json.loads(request.body)["deleteOptions"]["preconditions"]
            asked.append((pending, "resourceVersion" in conditions))
            if len(asked) <= 5:
                world.cluster.store.put("pods", {**pod, "status": dict(pod["status"])})
            budget = world.cluster.store.get("poddisruptionbudgets", "default", "w0")
            assert budget is not None
            allowed.append(budget["status"]["disruptionsAllowed"])
        return None

    transport_of(world).fault_rule = touched
    await world.apply("scale", value=7)
    await asyncio.sleep(200)
    refused = [e for e in world.cluster.audit.find(kind="pods/eviction") if e.code == 409]
    assert (len(refused), len(asked) - len(refused)) == (5, count_evictions(world))
    assert all(pending is versioned for pending, versioned in asked)
    assert all(pending for pending, _ in asked[:6])
    assert set(allowed[:6]) == {allowed[0]}


@simulated(moves=4)
async def test_row_37_who_evicts_beside_us_shares_the_floor_by_the_published_bound(
    world: World,
) -> None:
    await world.apply("percent", value=100)
    for number in range(6):
        await asyncio.sleep(0.7)
        await world.apply("evict-pod", index=number)
    # The oracle has held every eviction of ours against the floor less what others took.
    await wait_for_split(world, count_evictions(world), within=200)


def test_row_38_replacements_that_land_where_they_came_from_end_the_moves_after_three() -> None:
    async def script(world: World) -> None:
        for node in world.cluster.fleet.names():
            if node.startswith("spot"):
                await world.cluster.fleet.taint(node, "somebody", "else")
        await world.apply("percent", value=100)
        await asyncio.sleep(240)
        assert (count_evictions(world), get_reason(world)) == (3, Reason.FUTILE)
        assert len(world.oracle.pods_of("w0")) == 5

    lost = History(
        seed=1,
        spot=2,
        on_demand=2,
        workloads=(workload_spec(moves=1),),
        fault_rates=FaultRates(webhook_down=1.0),
    )
    outcome = run_script(lost, script)
    assert not outcome.violations, outcome.violations


@simulated(moves=1)
async def test_row_38_so_it_is_where_spot_has_no_room_and_the_webhook_was_there_until_now(
    world: World,
) -> None:
    """Without node pools each move is a probe, and its replacement starts anywhere."""

    for name in world.cluster.fleet.names():
        if name.startswith("spot"):
            await world.cluster.fleet.taint(name, "somebody", "else")
        node = world.cluster.store.get("nodes", "", name)
        assert node is not None
        labels = {k: v for k, v in node["metadata"]["labels"].items() if "nodepool" not in k}
        metadata = {**node["metadata"], "labels": labels}
        world.cluster.store.put("nodes", {**node, "metadata": metadata})
    await world.apply("scale", value=6)
    await asyncio.sleep(20)
    world.fault_rates = FaultRates(webhook_down=1.0)
    await world.apply("percent", value=100)
    await asyncio.sleep(240)
    assert (count_evictions(world), get_reason(world)) == (3, Reason.FUTILE)
    assert len(world.oracle.pods_of("w0")) == 6


@simulated()
async def test_row_39_while_replacements_do_not_become_ready_no_more_is_moved(world: World) -> None:
    never(world)
    await world.apply("percent", value=100)
    await asyncio.sleep(300)
    assert count_evictions(world) == 2  # max-moves-in-flight


@simulated()
async def test_row_40_lost_spot_falls_back_and_comes_back_and_nothing_goes_round(
    world: World,
) -> None:
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    for node in [n for n in world.cluster.fleet.names() if n.startswith("spot")]:
        await world.cluster.fleet.reclaim(node)
    await asyncio.sleep(60)
    # Three wait in vain and start on on-demand; one goes back to find out, in vain.
    assert count_evictions(world) == 3 + 3 + 2
    await asyncio.sleep(120)
    assert count_evictions(world) == 3 + 3 + 2


@simulated()
async def test_row_41_a_node_that_no_longer_says_its_class_counts_for_nothing(world: World) -> None:
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    for name in [n for n in world.cluster.fleet.names() if n.startswith("spot")]:
        node = world.cluster.store.get("nodes", "", name)
        assert node is not None
        labels = {k: v for k, v in node["metadata"]["labels"].items() if "karpenter" not in k}
        metadata = {**node["metadata"], "labels": labels}
        world.cluster.store.put("nodes", {**node, "metadata": metadata})
    await world.apply("percent", value=0)
    await asyncio.sleep(60)
    assert count_evictions(world) == 3


@simulated()
@pytest.mark.parametrize("nonsense", ["150", "7O", "-1", ""])
async def test_row_42_a_policy_edited_to_nonsense_leaves_everything_as_it_is(
    world: World, nonsense: str
) -> None:
    await world.annotate("w0", "spot-percentage", nonsense)
    await asyncio.sleep(40)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.INVALID_POLICY)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_43_a_workload_made_anew_under_its_name_inherits_no_intents(world: World) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=30), times=9)
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    assert world.oracle.ledgers
    old = world.workload("w0")
    await world.api.delete("deployments", "default", "w0", user="somebody")
    await asyncio.sleep(5)
    keep = ("name", "namespace", "annotations")
    metadata = {key: old["metadata"][key] for key in keep}
    await world.api.create("deployments", {"metadata": metadata, "spec": old["spec"]})
    await asyncio.sleep(60)
    assert not world.oracle.ledgers
    await wait_for_split(world, 0)


@pytest.mark.parametrize(
    "fault_rates",
    [
        FaultRates(webhook_down=1.0),
        FaultRates(webhook_slow=1.0),
        FaultRates(webhook_down=0.5, webhook_slow=0.3),
    ],
    ids=["away", "slow", "now and then"],
)
def test_rows_44_46_pods_come_whatever_becomes_of_the_webhook_and_are_put_right(
    fault_rates: FaultRates,
) -> None:
    async def script(world: World) -> None:
        await world.apply("scale", value=9)
        await asyncio.sleep(15)
        assert len(world.oracle.pods_of("w0")) == 9
        world.fault_rates = FaultRates()
        await wait_for_split(world, count_evictions(world), within=900)

    outcome = run_script(
        History(
            seed=1,
            spot=2,
            on_demand=2,
            workloads=(workload_spec(percent=60),),
            fault_rates=fault_rates,
        ),
        script,
    )
    assert not outcome.violations, outcome.violations


@simulated()
@pytest.mark.parametrize("number", range(3))
async def test_row_53_a_corrupted_replica_idles_its_workload_or_costs_nothing(
    world: World, number: int
) -> None:
    pods = world.oracle.pods_of("w0")
    pod = pods[number]
    metadata = dict(pod["metadata"])
    if number == 0:
        metadata["ownerReferences"] = [{**metadata["ownerReferences"][0], "uid": "flipped"}]
    elif number == 1:
        metadata["labels"] = {}
    spec = {**pod["spec"], "nodeName": "nowhere"} if number > 1 else pod["spec"]
    world.cluster.store.put("pods", {**pod, "metadata": metadata, "spec": spec})
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert count_evictions(world) <= 3
    assert get_leader(world).operator.elector.leads
