"""Messages that come late, double, or never, and answers that do (safety.md B.1: 17 to 20, 29)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.transport import DROP, LOSE_RESPONSE, REFUSE, NetworkFault
from spotalis.model.transport import Request
from tests.integration.faults.simulated import (
    Applies,
    always,
    answered,
    count_evictions,
    get_leader,
    is_eviction,
    is_ledger_write,
    is_list,
    once,
    simulated,
    transport_of,
    wait_for_split,
)
from tests.simulation.world import World


@simulated()
@pytest.mark.parametrize("what", [is_eviction, is_ledger_write], ids=["eviction", "ledger"])
@pytest.mark.parametrize(
    "fault", [LOSE_RESPONSE, DROP, REFUSE], ids=["unanswered", "lost", "refused"]
)
async def test_row_18_a_write_of_unknown_outcome_costs_no_eviction(
    world: World, what: Applies, fault: NetworkFault
) -> None:
    transport_of(world).fault_rule = once(what, fault, times=2)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated(operators=2, moves=4)
@pytest.mark.parametrize("hold", [20.0, 90.0])
async def test_row_19_an_eviction_that_comes_after_crash_and_takeover_keeps_the_floor(
    world: World,
    hold: float,
) -> None:
    first = get_leader(world)
    first.transport.fault_rule = always(is_eviction, NetworkFault(delay_seconds=hold))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    await world.kill(int(first.name[2]))
    await wait_for_split(world, 3, within=200)
    await asyncio.sleep(hold)  # what was held has arrived: its pods were gone
    assert count_evictions(world) == 3


@simulated()
@pytest.mark.parametrize("write", range(1, 6))
@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "lost"])
async def test_row_20_a_crash_at_any_write_ends_as_without_one(
    world: World, write: int, delivered: bool
) -> None:
    process = get_leader(world)
    seen = [0]

    def crash(request: Request) -> NetworkFault | None:
        if not (is_eviction(request) or is_ledger_write(request)):
            return None
        seen[0] += 1
        if seen[0] != write:
            return None
        process.transport._crash("at the write that was named")
        return NetworkFault(delay_seconds=0.01, lost=not delivered)

    process.transport.fault_rule = crash
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    assert world.crashes == 1


@simulated()
async def test_row_29_an_eviction_that_no_watch_has_shown_yet_is_not_made_good_by_another(
    world: World,
) -> None:
    transport_of(world).lag_seconds = 10
    await world.apply("percent", value=100)
    await wait_for_split(world, 3, within=200)


@simulated()
@pytest.mark.parametrize("status", [500, 503, 504, 429])
@pytest.mark.parametrize("what", [is_eviction, is_ledger_write], ids=["eviction", "ledger"])
async def test_row_17_any_single_write_may_fail(world: World, what: Applies, status: int) -> None:
    transport_of(world).fault_rule = once(what, answered(status, "no", retry_after="1"))
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_17_the_list_that_authorises_may_fail(world: World) -> None:
    authorising = lambda r: is_list(r, "pods") and "default" in r.path  # noqa: E731
    transport_of(world).fault_rule = once(authorising, answered(500, "no"), times=6)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


# What the owner says while a ledger is long in writing counts when that is done.


@simulated(floor=1, moves=4)
async def test_a_floor_raised_while_the_ledger_is_written_is_kept(world: World) -> None:
    transport_of(world).fault_rule = once(is_ledger_write, NetworkFault(delay_seconds=5))
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    await world.apply("floor", value=4)
    await wait_for_split(world, 1)


@simulated()
async def test_who_pauses_while_the_ledger_is_written_sees_no_eviction(world: World) -> None:
    transport_of(world).fault_rule = once(is_ledger_write, NetworkFault(delay_seconds=5))
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    await world.apply("pause", value=60)
    await asyncio.sleep(30)
    assert count_evictions(world) == 0
    await asyncio.sleep(30)
    await wait_for_split(world, 3)
