"""Processes that stop, stall, flap or meet each other (safety.md B.1: 21 to 28, 54, 55)."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from spotalis.app.operator import Operator
from spotalis.controller.queue import MAX_RETRY_SECONDS
from spotalis.embedded.transport import NetworkFault
from spotalis.embedded.virtual_time import VirtualTimeLoop
from spotalis.model.decision import Reason
from spotalis.model.leadership import LeadershipState
from spotalis.model.transport import Request
from tests.integration.faults.simulated import (
    answered,
    count_evictions,
    get_leader,
    get_reason,
    history,
    once,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.history import History
from tests.simulation.runner import run_script
from tests.simulation.world import World

LEASE = "/apis/coordination.k8s.io/v1/namespaces/spotalis-system/leases"


def is_authorising(request: Request) -> bool:
    """The list that comes between ledger and eviction."""
    return request.method == "GET" and request.path.endswith("/default/pods")


def leading(world: World) -> int:
    return sum(one.operator.elector.leads for one in world.processes)


async def never_two(world: World, seconds: int) -> None:
    for _ in range(seconds):
        await asyncio.sleep(1)
        assert leading(world) <= 1


@simulated(operators=2)
@pytest.mark.parametrize("seconds", [6.0, 20.0])
async def test_row_21_a_leader_stopped_between_list_and_eviction_sends_nothing_when_it_wakes(
    world: World,
    seconds: float,
) -> None:
    leader = get_leader(world)
    listed = once(is_authorising, NetworkFault(delay_seconds=seconds))
    asleep: list[float] = []

    def stopped(request: Request) -> NetworkFault | None:
        now = asyncio.get_running_loop().time()
        if (fault := listed(request)) is not None:
            asleep.append(now + seconds)
            return fault
        if asleep and now < asleep[0]:
            return NetworkFault(delay_seconds=asleep[0] - now)
        return None

    leader.transport.fault_rule = stopped
    await world.apply("percent", value=100)
    await never_two(world, 40)
    await wait_for_split(world, 3)


@simulated(operators=2)
async def test_row_22_who_was_stopped_gives_no_lease_back_that_another_holds(world: World) -> None:
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
async def test_row_23_whatever_stalls_the_event_loop_nothing_is_sent_on_an_old_list(
    world: World,
    seconds: float,
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    seen = [0]

    def stall(request: Request) -> NetworkFault | None:
        if is_authorising(request) and not seen[0]:
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
    ids=["an hour ahead", "hours apart", "at different rates"],
)
def test_row_24_clocks_that_differ_change_neither_lead_nor_cost(
    clocks: tuple[tuple[float, float], ...],
) -> None:
    async def script(world: World) -> None:
        await world.apply("percent", value=100)
        await never_two(world, 60)
        await wait_for_split(world, 3)

    outcome = run_script(replace(history(2), clocks=clocks), script)
    assert not outcome.violations, outcome.violations


@simulated(operators=2)
@pytest.mark.parametrize("edit", ["delete", "take"])
async def test_row_25_a_lease_that_somebody_deletes_or_takes_is_noticed_at_the_next_turn(
    world: World,
    edit: str,
) -> None:
    if edit == "delete":
        await world.api.delete("leases", "spotalis-system", "spotalis", user="somebody")
    else:
        lease = world.cluster.store.get("leases", "spotalis-system", "spotalis")
        assert lease is not None
        spec = {**lease["spec"], "holderIdentity": "somebody"}
        await world.api.update("leases", {**lease, "spec": spec}, user="somebody")
        await asyncio.sleep(4.5)
        assert leading(world) == 0
    await never_two(world, 30)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


def named(*identities: str) -> Callable[[Operator], None]:
    """Who the operators say that they are, one after the other."""
    left = list(identities)

    def rename(operator: Operator) -> None:
        operator.elector.state = LeadershipState(identity=left.pop(0))

    return rename


def two_of_one_name(*identities: str) -> None:
    async def script(world: World) -> None:
        await never_two(world, 30)
        first = get_leader(world)
        first.transport.isolated = True
        await never_two(world, 30)
        first.transport.clear()
        assert get_leader(world) is not first
        await world.apply("percent", value=100)
        await never_two(world, 30)
        await wait_for_split(world, 3)

    outcome = run_script(history(2), script, named(*identities))
    assert not outcome.violations, outcome.violations


def test_row_26_two_replicas_of_one_name_are_two_and_never_lead_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    two_of_one_name("copied_1", "copied_2")
    assert "Lease is held by a process of the same name; waiting for it" in caplog.text


def test_row_26_without_the_nonce_they_would_both_lead() -> None:
    """The planted fault: what the nonce is there for."""
    with pytest.raises(AssertionError, match="<= 1"):
        two_of_one_name("copied", "copied")


@simulated(operators=2)
@pytest.mark.parametrize("after", [0.0, 0.3, 1.5])
async def test_row_27_who_is_told_to_end_in_the_middle_of_moves_leaves_them_to_the_next(
    world: World,
    after: float,
) -> None:
    leader = get_leader(world)
    leader.transport.fault_rates = leader.transport.fault_rates.__class__(latency=0.5)
    await world.apply("percent", value=100)
    await asyncio.sleep(after)
    await leader.operator.stop_evictions()
    await leader.operator.release()
    lease = world.cluster.store.get("leases", "spotalis-system", "spotalis")
    assert lease is not None
    assert not lease["spec"]["holderIdentity"]
    await world.kill(int(leader.name[2]))
    await wait_for_split(world, 3)


@simulated(operators=2, moves=1)
async def test_row_28_leaders_that_change_every_few_seconds_cost_no_eviction(world: World) -> None:
    await world.apply("percent", value=100)
    for number in range(8):
        await asyncio.sleep(1.7)
        await world.kill(number % 2)
    await wait_for_split(world, 3, within=200)


def test_row_54_what_fails_for_one_workload_fails_for_that_one_alone() -> None:
    two = History(
        seed=1,
        spot=2,
        on_demand=2,
        workloads=(workload_spec(), workload_spec(name="w1", kind="StatefulSet")),
    )

    def break_w0(operator: Operator) -> None:
        observe = operator.reconcile_loop.reconciler._observer.for_reconcile

        def failing(workload, *rest):  # type: ignore[no-untyped-def]
            if workload.name == "w0":
                raise RuntimeError("planted")
            return observe(workload, *rest)

        operator.reconcile_loop.reconciler._observer.for_reconcile = failing  # type: ignore[method-assign]

    async def script(world: World) -> None:
        await world.apply("percent", index=0, value=100)
        await world.apply("percent", index=1, value=100)
        await asyncio.sleep(60)
        assert count_evictions(world) == 3
        assert get_reason(world, "w1") is Reason.BALANCED

    outcome = run_script(two, script, break_w0)
    assert {words.split(":")[2].strip() for words in outcome.violations} == {
        "RuntimeError('planted')"
    }


def test_row_55_a_ledger_of_another_build_stops_its_workload_and_no_other() -> None:
    two = History(
        seed=1, spot=2, on_demand=2, workloads=(workload_spec(), workload_spec(name="w1"))
    )

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

    outcome = run_script(two, script)
    assert not outcome.violations, outcome.violations


@simulated(operators=2)
@pytest.mark.parametrize("status", [500, 429, 403])
async def test_a_lease_that_cannot_be_written_for_a_while_is_kept_or_given_up_never_shared(
    world: World,
    status: int,
) -> None:
    line = get_leader(world).transport
    writes: Callable[[Request], bool] = lambda r: r.method == "PUT" and LEASE in r.path  # noqa: E731
    line.fault_rule = once(writes, answered(status, "no", retry_after="1"), times=4)
    await never_two(world, 40)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


def test_row_16_a_server_that_refuses_two_requests_of_three_costs_neither_lead_nor_split() -> None:
    """429 with Retry-After to whatever is no Lease, while twelve workloads have moves to make."""
    many = tuple(workload_spec(name=f"w{number}", moves=5) for number in range(12))
    asked: Counter[bool] = Counter()
    rng = random.Random(1)

    def flooded(request: Request) -> NetworkFault | None:
        if LEASE in request.path:
            return None
        refused = rng.random() < 2 / 3
        asked[refused] += 1
        return answered(429, "too many requests", retry_after="1") if refused else None

    async def script(world: World) -> None:
        leader = get_leader(world)
        leader.transport.fault_rule = flooded
        for number in range(len(many)):
            await world.apply("percent", index=number, value=100)
        for _ in range(120):
            await asyncio.sleep(1)
            assert leader.operator.elector.leads
        assert asked[True] > 100
        assert count_evictions(world) > 0  # slowly, but it goes on
        leader.transport.fault_rule = lambda request: None
        await wait_for_split(world, 3 * len(many), within=MAX_RETRY_SECONDS)

    outcome = run_script(History(seed=1, spot=6, on_demand=6, workloads=many, operators=1), script)
    assert not outcome.violations, outcome.violations
