"""Faults of single messages (docs/contributing/faults.md: 17 to 20, 29)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.transport import DROP, LOSE_RESPONSE, REFUSE, NetworkFault
from spotalis.model.transport import Request
from tests.integration.faults.simulated import (
    Matches,
    always,
    count_evictions,
    get_leader,
    is_eviction,
    is_ledger_write,
    is_list,
    once,
    respond_with,
    simulated,
    transport_of,
    wait_for_split,
    workload_spec,
)
from tests.simulation.world import World


@simulated()
@pytest.mark.parametrize("what", [is_eviction, is_ledger_write], ids=["eviction", "ledger"])
@pytest.mark.parametrize(
    "fault", [LOSE_RESPONSE, DROP, REFUSE], ids=["response lost", "request lost", "refused"]
)
async def test_row_18_a_write_of_unknown_outcome_causes_no_extra_eviction(
    world: World, what: Matches, fault: NetworkFault
) -> None:
    transport_of(world).fault_rule = once(what, fault, times=2)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated(workload_spec(moves=4), operators=2)
@pytest.mark.parametrize("hold", [20.0, 90.0])
async def test_row_19_an_eviction_that_arrives_after_a_crash_and_takeover_keeps_the_floor(
    world: World,
    hold: float,
) -> None:
    first = get_leader(world)
    first.transport.fault_rule = always(is_eviction, NetworkFault(delay_seconds=hold))
    await world.apply("percent", value=100)
    await asyncio.sleep(1)
    await world.kill(int(first.name[2]))
    await wait_for_split(world, 3, within=200)
    await asyncio.sleep(hold)  # the delayed evictions have arrived, but their pods were gone
    assert count_evictions(world) == 3


@simulated()
@pytest.mark.parametrize("write", range(1, 6))
@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "lost"])
async def test_row_20_a_crash_at_any_write_causes_no_extra_eviction(
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
        process.transport._crash("at the chosen write")
        return NetworkFault(delay_seconds=0.01, lost=not delivered)

    process.transport.fault_rule = crash
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
    assert world.crashes == 1


@simulated()
async def test_row_29_an_eviction_not_yet_visible_in_watches_is_not_repeated(
    world: World,
) -> None:
    transport_of(world).lag_seconds = 10
    await world.apply("percent", value=100)
    await wait_for_split(world, 3, within=200)


@simulated()
@pytest.mark.parametrize("status", [500, 503, 504, 429])
@pytest.mark.parametrize("what", [is_eviction, is_ledger_write], ids=["eviction", "ledger"])
async def test_row_17_a_failed_write_is_repeated(world: World, what: Matches, status: int) -> None:
    transport_of(world).fault_rule = once(what, respond_with(status, "no", retry_after="1"))
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


@simulated()
async def test_row_17_a_failed_authorizing_list_is_repeated(world: World) -> None:
    is_authorizing_list = lambda r: is_list(r, "pods") and "default" in r.path  # noqa: E731
    transport_of(world).fault_rule = once(is_authorizing_list, respond_with(500, "no"), times=6)
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)


# Changes of the policy during a slow ledger write apply to the evictions that follow.


@simulated(workload_spec(floor=1, moves=4))
async def test_a_floor_raised_during_a_ledger_write_is_kept(world: World) -> None:
    transport_of(world).fault_rule = once(is_ledger_write, NetworkFault(delay_seconds=5))
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    await world.apply("floor", value=4)
    await wait_for_split(world, 1)


@simulated()
async def test_a_pause_during_a_ledger_write_prevents_the_evictions(world: World) -> None:
    transport_of(world).fault_rule = once(is_ledger_write, NetworkFault(delay_seconds=5))
    await world.apply("percent", value=100)
    await asyncio.sleep(2)
    await world.apply("pause", value=60)
    await asyncio.sleep(30)
    assert count_evictions(world) == 0
    await asyncio.sleep(30)
    await wait_for_split(world, 3)
