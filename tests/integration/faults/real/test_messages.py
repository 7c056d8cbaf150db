"""Messages that come late, or whose answers do not (safety.md B.1: 18, 19, 20, 29)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Request, Response
from tests.integration.faults.real.stage import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    Floor,
    Process,
    Stage,
    is_lease_write,
)
from tests.integration.faults.stage import is_eviction, is_ledger_write
from tests.support.fault_proxy import (
    Call,
    Fate,
    Gate,
    HangUp,
    always,
    lose_the_answer,
    once,
)

pytestmark = pytest.mark.real


async def test_row_18_evictions_ledgers_and_leases_whose_answers_are_lost_cost_no_eviction(
    stage: Stage,
) -> None:
    """Nor does a watch make good for the answer: it is late, or silent."""
    process = await stage.start()
    proxy = process.proxy
    await stage.set_up()
    async with Floor(stage) as floor:
        proxy.order = once(is_eviction, lose_the_answer, times=2)
        proxy.lag_seconds = 3
        await stage.want(SPOT)
        await stage.turned(SPOT, 3)
        assert floor.least == 2
    proxy.mend()

    proxy.order = once(is_ledger_write, lose_the_answer, times=2)
    proxy.silent = lambda request: "/configmaps" in request.path
    await stage.want(ON_DEMAND)
    await stage.turned(ON_DEMAND, 6)
    proxy.mend()

    proxy.order = once(is_lease_write, lose_the_answer, times=2)
    before = sum(map(is_lease_write, proxy.heard))
    await stage.want(SPOT)
    await stage.turned(SPOT, 9)

    async def renewed() -> bool:
        return sum(map(is_lease_write, proxy.heard)) >= before + 4

    await stage.until(renewed, "the lease is renewed after lost answers", within=60)
    await stage.is_quiet()
    log = process.log.read_text()
    assert (log.count('"leading"'), log.count("no longer leading")) == (1, 0)


async def test_row_19_an_eviction_held_beyond_crash_and_takeover_breaks_no_floor_when_it_comes(
    stage: Stage,
) -> None:
    """The owner meanwhile prefers another victim, so that a successor without memory errs."""
    first = await stage.start(*QUICK_LEASE)
    await stage.leads(first)
    second = await stage.start(*QUICK_LEASE)
    await stage.set_up(replicas=3, moves=1)
    gate = Gate()
    first.proxy.order = always(is_eviction, gate)
    async with Floor(stage) as floor:
        await stage.want(SPOT)

        async def held() -> bool:
            return bool(gate.held)

        await stage.until(held, "an eviction is held")
        await first.kill()
        victim = gate.held[0].path.split("/")[-2]
        await stage.prefer_others(victim)
        await stage.leads(second)
        await stage.settled("web", 2, 1)
        gate.open()

        async def arrived() -> bool:
            return bool(gate.answers)

        await stage.until(arrived, "what was held has arrived")
        await stage.is_quiet()
        assert gate.answers[0].status in (404, 409)
        assert floor.least == 2
    assert stage.evictions() == [victim]


@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "lost"])
async def test_row_20_a_sigkill_at_any_write_of_a_rebalance_ends_as_without_one(
    stage: Stage, delivered: bool
) -> None:
    """Reviews are answered throughout, by a replica that never leads; else chance places pods."""
    await stage.start_without_a_chance_to_lead()
    process = await stage.start()
    await stage.leads(process)
    await stage.set_up()
    percent = ON_DEMAND
    for write in range(1, 5):
        percent = SPOT if percent == ON_DEMAND else ON_DEMAND
        killed = killing(process, write, delivered)
        await stage.want(percent)
        await asyncio.wait_for(killed, 60)
        process = await stage.succeed()
        await stage.turned(percent, 3 * write)
    await stage.is_quiet()


def killing(process: Process, write: int, delivered: bool) -> asyncio.Future[None]:
    """SIGKILL the moment its so-many-th eviction or ledger write comes; done once it has gone."""
    killed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen = [0]

    async def crash(call: Call) -> Response:
        await process.kill()
        try:
            return await call.forward()
        finally:
            killed.set_result(None)

    async def crash_first(call: Call) -> Response:
        await process.kill()
        killed.set_result(None)
        raise HangUp

    def order(request: Request) -> Fate | None:
        seen[0] += is_eviction(request) or is_ledger_write(request)
        if (is_eviction(request) or is_ledger_write(request)) and seen[0] == write:
            return crash if delivered else crash_first
        return None

    process.proxy.order = order
    return killed


async def test_row_29_evictions_that_no_watch_shows_for_10_s_are_not_made_good_by_others(
    stage: Stage,
) -> None:
    process = await stage.start()
    await stage.set_up()
    async with Floor(stage) as floor:
        process.proxy.lag_seconds = 10
        await stage.want(SPOT)
        await stage.turned(SPOT, 3, within=180)
        await stage.is_quiet(12)
        assert floor.least == 2
    assert len(stage.evictions()) == 3
