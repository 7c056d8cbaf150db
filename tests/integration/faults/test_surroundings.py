"""Faults of other components of the cluster (docs/contributing/faults.md: 31 to 48, 53)."""

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
    history,
    is_eviction,
    once,
    simulate,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.history import FaultRates
from tests.simulation.world import World


def keep_new_pods_unready(world: World) -> None:
    """From now on new pods never become ready."""

    def on_event(kind: str, pod: dict[str, object], old: object) -> None:
        if kind == "ADDED":
            world.set_readiness(pod["metadata"]["name"], "never")  # type: ignore[index]

    world.cluster.store.subscribe("pods", on_event)


@simulated(workload_spec(budget=1))
async def test_row_31_a_budget_with_an_outdated_status_is_not_overdrawn(world: World) -> None:
    await world.cluster.stop_controller("disruption")
    await world.apply("percent", value=100)
    await asyncio.sleep(60)
    assert count_evictions(world) == 1  # what the budget allowed when its controller stopped
    await world.cluster.start_controller("disruption")
    await wait_for_split(world, 3, within=300)


@simulated(workload_spec(budget=1), workload_spec(name="w1"))
async def test_row_32_two_budgets_on_one_pod_block_only_its_workload(
    world: World,
) -> None:
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


@simulated(workload_spec(budget=0), workload_spec(name="w1"))
async def test_row_33_a_budget_that_allows_nothing_blocks_only_its_workload(
    world: World,
) -> None:
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


@simulated()
async def test_row_34_a_pod_that_ends_before_its_eviction_arrives_counts_once(
    world: World,
) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=4))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    victim = world.oracle.trace[-1].split()[-1]
    await world.api.delete("pods", "default", victim, user="another-client")
    await wait_for_split(world, 2)


@simulated(workload_spec(kind="StatefulSet", moves=1))
async def test_row_35_a_replaced_pod_with_the_same_name_is_not_evicted(
    world: World,
) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=8))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    await world.api.delete("pods", "default", "w0-4", user="another-client")
    await asyncio.sleep(9)
    assert any("rejects eviction 0 of w0-4: 409" in line for line in world.oracle.trace)
    await wait_for_split(world, 2)


@simulated(workload_spec(percent=60, replicas=5, budget=2))
async def test_row_36_an_outdated_version_costs_no_budget_and_is_not_retried_at_once(
    world: World,
) -> None:
    """Only evictions of pending pods, which no budget counts, have a version precondition."""

    for node in [n for n in world.cluster.fleet.names() if n.startswith("spot")]:
        await world.cluster.fleet.reclaim(node)
    evictions: list[tuple[bool, bool]] = []
    allowed: list[int] = []

    def update_status(request: Request) -> NetworkFault | None:
        """Update the pod's status just before its eviction arrives, five times."""
        if is_eviction(request):
            name = request.path.split("/")[-2]
            pod = world.cluster.store.get("pods", "default", name)
            assert pod is not None
            pending = not pod["spec"].get("nodeName")
            conditions = json.loads(request.body)["deleteOptions"]["preconditions"]
            evictions.append((pending, "resourceVersion" in conditions))
            if len(evictions) <= 5:
                world.cluster.store.put("pods", {**pod, "status": dict(pod["status"])})
            budget = world.cluster.store.get("poddisruptionbudgets", "default", "w0")
            assert budget is not None
            allowed.append(budget["status"]["disruptionsAllowed"])
        return None

    transport_of(world).fault_rule = update_status
    await world.apply("scale", value=7)
    await asyncio.sleep(200)
    rejected = [e for e in world.cluster.audit.find(kind="pods/eviction") if e.code == 409]
    assert (len(rejected), len(evictions) - len(rejected)) == (5, count_evictions(world))
    assert all(pending is versioned for pending, versioned in evictions)
    assert all(pending for pending, _ in evictions[:6])
    assert set(allowed[:6]) == {allowed[0]}


@simulated(workload_spec(moves=4))
async def test_row_37_evictions_by_another_tool_keep_the_floor_within_the_documented_bound(
    world: World,
) -> None:
    await world.apply("percent", value=100)
    for number in range(6):
        await asyncio.sleep(0.7)
        await world.apply("evict-pod", index=number)
    # The oracle checks each eviction against the floor minus the pods that others evicted.
    await wait_for_split(world, count_evictions(world), within=200)


@simulated(workload_spec(moves=1), fault_rates=FaultRates(webhook_down=1.0))
async def test_row_38_after_three_replacements_on_the_type_that_was_left_moves_stop(
    world: World,
) -> None:
    for node in world.cluster.fleet.names():
        if node.startswith("spot"):
            await world.cluster.fleet.taint(node, "another-client", "else")
    await world.apply("percent", value=100)
    await asyncio.sleep(240)
    assert (count_evictions(world), get_reason(world)) == (3, Reason.FUTILE)
    assert len(world.oracle.pods_of("w0")) == 5


@simulated(workload_spec(moves=1))
async def test_row_38_losing_the_webhook_without_spot_capacity_stops_moves_after_three(
    world: World,
) -> None:
    """Without node pools each move is a probe, whose replacement can start on any node."""

    for name in world.cluster.fleet.names():
        if name.startswith("spot"):
            await world.cluster.fleet.taint(name, "another-client", "else")
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
async def test_row_39_without_ready_replacements_moves_stop(world: World) -> None:
    keep_new_pods_unready(world)
    await world.apply("percent", value=100)
    await asyncio.sleep(300)
    assert count_evictions(world) == 2  # max-moves-in-flight


@simulated()
async def test_row_40_lost_spot_falls_back_without_repeated_moves(
    world: World,
) -> None:
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    for node in [n for n in world.cluster.fleet.names() if n.startswith("spot")]:
        await world.cluster.fleet.reclaim(node)
    await asyncio.sleep(60)
    # Three fall back to on-demand; the next probe is due after 5 minutes.
    assert count_evictions(world) == 3 + 3
    await asyncio.sleep(120)
    assert count_evictions(world) == 3 + 3


@simulated()
async def test_row_41_nodes_without_labels_count_as_neither_type(world: World) -> None:
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
@pytest.mark.parametrize("value", ["150", "7O", "-1", ""])
async def test_row_42_an_invalid_policy_leaves_the_workload_unchanged(
    world: World, value: str
) -> None:
    await world.annotate("w0", "spot-percentage", value)
    await asyncio.sleep(40)
    assert (count_evictions(world), get_reason(world)) == (0, Reason.INVALID_POLICY)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_43_a_recreated_workload_inherits_no_intents(world: World) -> None:
    transport_of(world).fault_rule = once(is_eviction, NetworkFault(delay_seconds=30), times=9)
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    assert world.oracle.ledgers
    old = world.workload("w0")
    await world.api.delete("deployments", "default", "w0", user="another-client")
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
    ids=["down", "slow", "intermittent"],
)
def test_rows_44_46_pods_are_created_despite_webhook_faults_and_are_moved_later(
    fault_rates: FaultRates,
) -> None:
    async def script(world: World) -> None:
        await world.apply("scale", value=9)
        await asyncio.sleep(15)
        assert len(world.oracle.pods_of("w0")) == 9
        world.fault_rates = FaultRates()
        await wait_for_split(world, count_evictions(world), within=900)

    simulate(script, history(workload_spec(percent=60), fault_rates=fault_rates))


@simulated()
@pytest.mark.parametrize("number", range(3))
async def test_row_53_a_corrupted_pod_causes_no_extra_eviction(world: World, number: int) -> None:
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
