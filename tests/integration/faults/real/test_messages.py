"""Messages that come late, or whose answers do not (safety.md B.1: 18, 19, 20, 29)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Request, Response
from tests.integration.faults.real.cluster import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    FaultTestCluster,
    Floor,
    ProxiedOperator,
    is_lease_write,
)
from tests.integration.faults.simulated import is_eviction, is_ledger_write
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
    cluster: FaultTestCluster,
) -> None:
    """Nor does a watch make good for the answer: it is late, or silent."""
    process = await cluster.start()
    proxy = process.proxy
    await cluster.set_up()
    async with Floor(cluster) as floor:
        proxy.order = once(is_eviction, lose_the_answer, times=2)
        proxy.lag_seconds = 3
        await cluster.want(SPOT)
        await cluster.turned(SPOT, 3)
        assert floor.least == 2
    proxy.mend()

    proxy.order = once(is_ledger_write, lose_the_answer, times=2)
    proxy.silent = lambda request: "/configmaps" in request.path
    await cluster.want(ON_DEMAND)
    await cluster.turned(ON_DEMAND, 6)
    proxy.mend()

    proxy.order = once(is_lease_write, lose_the_answer, times=2)
    before = sum(map(is_lease_write, proxy.heard))
    await cluster.want(SPOT)
    await cluster.turned(SPOT, 9)

    async def renewed() -> bool:
        return sum(map(is_lease_write, proxy.heard)) >= before + 4

    await cluster.wait_until(renewed, "the lease is renewed after lost answers", within=60)
    await cluster.is_quiet()
    log = process.log.read_text()
    assert (log.count('"Became leader"'), log.count("Lost leadership")) == (1, 0)


async def test_row_19_an_eviction_held_beyond_crash_and_takeover_breaks_no_floor_when_it_comes(
    cluster: FaultTestCluster,
) -> None:
    """The owner meanwhile prefers another victim, so that a successor without memory errs."""
    first = await cluster.start(*QUICK_LEASE)
    await cluster.leads(first)
    second = await cluster.start(*QUICK_LEASE)
    await cluster.set_up(replicas=3, moves=1)
    gate = Gate()
    first.proxy.order = always(is_eviction, gate)
    async with Floor(cluster) as floor:
        await cluster.want(SPOT)

        async def held() -> bool:
            return bool(gate.held)

        await cluster.wait_until(held, "an eviction is held")
        await first.kill()
        victim = gate.held[0].path.split("/")[-2]
        await cluster.prefer_others(victim)
        await cluster.leads(second)
        await cluster.wait_for_split("web", 2, 1)
        gate.open()

        async def arrived() -> bool:
            return bool(gate.answers)

        await cluster.wait_until(arrived, "what was held has arrived")
        await cluster.is_quiet()
        assert gate.answers[0].status in (404, 409)
        assert floor.least == 2
    assert cluster.evictions() == [victim]


@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "lost"])
async def test_row_20_a_sigkill_at_any_write_of_a_rebalance_ends_as_without_one(
    cluster: FaultTestCluster, delivered: bool
) -> None:
    """Reviews are answered throughout, by a replica that never leads; else chance places pods."""
    await cluster.start_without_a_chance_to_lead()
    process = await cluster.start()
    await cluster.leads(process)
    await cluster.set_up()
    percent = ON_DEMAND
    for write in range(1, 5):
        percent = SPOT if percent == ON_DEMAND else ON_DEMAND
        killed = killing(process, write, delivered)
        await cluster.want(percent)
        await asyncio.wait_for(killed, 60)
        process = await cluster.succeed()
        await cluster.turned(percent, 3 * write)
    await cluster.is_quiet()


def killing(process: ProxiedOperator, write: int, delivered: bool) -> asyncio.Future[None]:
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
    cluster: FaultTestCluster,
) -> None:
    process = await cluster.start()
    await cluster.set_up()
    async with Floor(cluster) as floor:
        process.proxy.lag_seconds = 10
        await cluster.want(SPOT)
        await cluster.turned(SPOT, 3, within=180)
        await cluster.is_quiet(12)
        assert floor.least == 2
    assert len(cluster.evictions()) == 3
