"""Faults of operator processes (docs/contributing/faults.md: 16, 21 to 28, 54, 55)."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from spotalis.app.operator import Operator
from spotalis.controller import reconcile
from spotalis.controller.queue import MAX_RETRY_SECONDS
from spotalis.embedded.transport import NetworkFault
from spotalis.embedded.virtual_time import VirtualTimeLoop
from spotalis.model.decision import Reason
from spotalis.model.leadership import LeadershipState
from spotalis.model.transport import Request
from spotalis.planner.decide import ReconcilePlan, decide
from spotalis.planner.fallback import WaitingReplicas
from spotalis.planner.observed import Observed
from tests.integration.faults.simulated import (
    count_evictions,
    get_leader,
    get_reason,
    history,
    once,
    respond_with,
    simulate,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.history import FaultRates
from tests.simulation.runner import run_script
from tests.simulation.world import World

LEASE = "/apis/coordination.k8s.io/v1/namespaces/spotalis-system/leases"


def is_authorizing_list(request: Request) -> bool:
    """Whether the request is the list between the ledger write and the eviction."""
    return request.method == "GET" and request.path.endswith("/default/pods")


def count_leaders(world: World) -> int:
    return sum(each.operator.elector.leads for each in world.processes)


async def assert_at_most_one_leader(world: World, seconds: int) -> None:
    for _ in range(seconds):
        await asyncio.sleep(1)
        assert count_leaders(world) <= 1


@simulated(operators=2)
@pytest.mark.parametrize("seconds", [6.0, 20.0])
async def test_row_21_a_leader_stopped_between_list_and_eviction_sends_nothing_after_it_wakes_up(
    world: World,
    seconds: float,
) -> None:
    leader = get_leader(world)
    listed = once(is_authorizing_list, NetworkFault(delay_seconds=seconds))
    wakes_at: list[float] = []

    def stop(request: Request) -> NetworkFault | None:
        now = asyncio.get_running_loop().time()
        if (fault := listed(request)) is not None:
            wakes_at.append(now + seconds)
            return fault
        if wakes_at and now < wakes_at[0]:
            return NetworkFault(delay_seconds=wakes_at[0] - now)
        return None

    leader.transport.fault_rule = stop
    await world.apply("percent", value=100)
    await assert_at_most_one_leader(world, 40)
    await wait_for_split(world, 3)


@simulated(operators=2)
async def test_row_22_a_stopped_instance_does_not_release_anothers_lease(
    world: World,
) -> None:
    first = get_leader(world)
    first.transport.isolated = True
    await asyncio.sleep(20)
    second = get_leader(world)
    assert second is not first
    first.transport.isolated = False
    await first.operator.stop_evictions()
    await first.operator.release()
    for _ in range(20):
        await asyncio.sleep(0.5)
        assert second.operator.elector.leads


@simulated()
@pytest.mark.parametrize("seconds", [3.0, 12.0, 40.0])
async def test_row_23_after_a_blocked_event_loop_no_eviction_uses_an_old_list(
    world: World,
    seconds: float,
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    seen = [0]

    def stall(request: Request) -> NetworkFault | None:
        if is_authorizing_list(request) and not seen[0]:
            seen[0] = 1
            loop.call_soon(loop.jump, seconds)
        return None

    transport_of(world).fault_rule = stall
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@pytest.mark.parametrize(
    "clocks",
    [
        ((3600.0, 1.0), (0.0, 1.0)),
        ((-3600.0, 1.0), (3600.0, 1.0)),
        ((0.0, 0.85), (0.0, 1.2)),
    ],
    ids=["one hour ahead", "two hours apart", "different rates"],
)
def test_row_24_clock_differences_affect_neither_leadership_nor_evictions(
    clocks: tuple[tuple[float, float], ...],
) -> None:
    async def script(world: World) -> None:
        await world.apply("percent", value=100)
        await assert_at_most_one_leader(world, 60)
        await wait_for_split(world, 3)

    simulate(script, history(operators=2, clocks=clocks))


@simulated(operators=2)
@pytest.mark.parametrize("edit", ["delete", "take"])
async def test_row_25_a_deleted_or_edited_lease_is_detected_at_the_next_renewal(
    world: World,
    edit: str,
) -> None:
    if edit == "delete":
        await world.api.delete("leases", "spotalis-system", "spotalis", user="another-client")
    else:
        lease = world.cluster.store.get("leases", "spotalis-system", "spotalis")
        assert lease is not None
        spec = {**lease["spec"], "holderIdentity": "another-client"}
        await world.api.update("leases", {**lease, "spec": spec}, user="another-client")
        await asyncio.sleep(4.5)
        assert count_leaders(world) == 0
    await assert_at_most_one_leader(world, 30)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


def with_identities(*identities: str) -> Callable[[Operator], None]:
    """Give the operators these identities, in order."""
    remaining = list(identities)

    def rename(operator: Operator) -> None:
        operator.elector.state = LeadershipState(identity=remaining.pop(0))

    return rename


def run_two_instances(*identities: str) -> None:
    async def script(world: World) -> None:
        await assert_at_most_one_leader(world, 30)
        first = get_leader(world)
        first.transport.isolated = True
        await assert_at_most_one_leader(world, 30)
        first.transport.clear()
        assert get_leader(world) is not first
        await world.apply("percent", value=100)
        await assert_at_most_one_leader(world, 30)
        await wait_for_split(world, 3)

    simulate(script, history(operators=2), with_identities(*identities))


def test_row_26_two_instances_with_the_same_name_never_lead_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_two_instances("copied_1", "copied_2")
    assert "Lease is held by a process of the same name; waiting for it" in caplog.text


def test_row_26_without_the_nonce_both_instances_lead() -> None:
    """A planted fault: identities without the random part."""
    with pytest.raises(AssertionError, match="<= 1"):
        run_two_instances("copied", "copied")


@simulated(operators=2)
@pytest.mark.parametrize("after", [0.0, 0.3, 1.5])
async def test_row_27_after_a_shutdown_during_moves_the_next_leader_completes_them(
    world: World,
    after: float,
) -> None:
    leader = get_leader(world)
    leader.transport.fault_rates = FaultRates(latency=0.5)
    await world.apply("percent", value=100)
    await asyncio.sleep(after)
    await leader.operator.stop_evictions()
    await leader.operator.release()
    lease = world.cluster.store.get("leases", "spotalis-system", "spotalis")
    assert lease is not None
    assert not lease["spec"]["holderIdentity"]
    await world.kill(int(leader.name[2]))
    await wait_for_split(world, 3)


@simulated(workload_spec(moves=1), operators=2)
async def test_row_28_rapid_changes_of_the_leader_cause_no_extra_eviction(world: World) -> None:
    await world.apply("percent", value=100)
    for number in range(8):
        await asyncio.sleep(1.7)
        await world.kill(number % 2)
    await wait_for_split(world, 3, within=200)


def test_row_54_an_exception_in_one_workload_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_for_w0(observed: Observed, waiting: WaitingReplicas, **options: Any) -> ReconcilePlan:
        if observed.workload.name == "w0":
            raise RuntimeError("planted")
        return decide(observed, waiting, **options)

    monkeypatch.setattr(reconcile, "decide", fail_for_w0)

    async def script(world: World) -> None:
        await world.apply("percent", index=0, value=100)
        await world.apply("percent", index=1, value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 3
        assert get_reason(world, "w1") is Reason.BALANCED

    two = history(workload_spec(), workload_spec(name="w1", kind="StatefulSet"))
    outcome = run_script(two, script)
    assert {text.split(":")[2].strip() for text in outcome.violations} == {
        "RuntimeError('planted')"
    }


def test_row_55_a_ledger_of_another_version_stops_only_its_workload() -> None:
    async def script(world: World) -> None:
        uid = world.workload("w0")["metadata"]["uid"]
        body = {
            "metadata": {
                "name": f"spotalis-ledger-{uid}",
                "namespace": "spotalis-system",
                "labels": {"spotalis.io/ledger": "true"},
            },
            "data": {"ledger": '{"schema":99,"workload":"Deployment/default/w0"}'},
        }
        await world.api.create("configmaps", body)
        await world.apply("percent", index=0, value=100)
        await world.apply("percent", index=1, value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 3
        assert (get_reason(world), get_reason(world, "w1")) == (
            Reason.LEDGER_UNREADABLE,
            Reason.BALANCED,
        )

    simulate(script, history(workload_spec(), workload_spec(name="w1")))


@simulated(operators=2)
@pytest.mark.parametrize("status", [500, 429, 403])
async def test_a_lease_that_cannot_be_written_is_never_shared(
    world: World,
    status: int,
) -> None:
    line = get_leader(world).transport
    writes: Callable[[Request], bool] = lambda r: r.method == "PUT" and LEASE in r.path  # noqa: E731
    line.fault_rule = once(writes, respond_with(status, "no", retry_after="1"), times=4)
    await assert_at_most_one_leader(world, 40)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


def test_row_16_with_two_of_three_requests_rejected_leadership_and_split_are_kept() -> None:
    """429 with Retry-After for all requests but Lease requests, while twelve workloads move."""
    many = tuple(workload_spec(name=f"w{number}", moves=5) for number in range(12))
    responses: Counter[bool] = Counter()
    rng = random.Random(1)

    def reject_most(request: Request) -> NetworkFault | None:
        if LEASE in request.path:
            return None
        rejected = rng.random() < 2 / 3
        responses[rejected] += 1
        return respond_with(429, "too many requests", retry_after="1") if rejected else None

    async def script(world: World) -> None:
        leader = get_leader(world)
        leader.transport.fault_rule = reject_most
        for number in range(len(many)):
            await world.apply("percent", index=number, value=100)
        for _ in range(120):
            await asyncio.sleep(1)
            assert leader.operator.elector.leads
        assert responses[True] > 100
        assert count_evictions(world) > 0  # slow, but moves continue
        leader.transport.fault_rule = lambda request: None
        await wait_for_split(world, 3 * len(many), within=MAX_RETRY_SECONDS)

    simulate(script, history(*many, spot=6, on_demand=6))
