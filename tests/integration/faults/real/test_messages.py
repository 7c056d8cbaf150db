"""Faults of single messages on the real control plane (docs/contributing/faults.md: 18-20, 29)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Request, Response
from tests.integration.faults.real.cluster import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    FaultTestCluster,
    ProxiedOperator,
    ReadyMinimum,
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


async def test_row_18_lost_responses_cause_no_extra_eviction(
    cluster: FaultTestCluster,
) -> None:
    """The watch is delayed or silent, so it does not replace the lost response."""
    process = await cluster.start()
    proxy = process.proxy
    await cluster.set_up()
    async with ReadyMinimum(cluster) as ready:
        proxy.order = once(is_eviction, lose_the_answer, times=2)
        proxy.lag_seconds = 3
        await cluster.set_spot_percentage(SPOT)
        await cluster.wait_for_moves(SPOT, 3)
        assert ready.minimum == 2
    proxy.mend()

    proxy.order = once(is_ledger_write, lose_the_answer, times=2)
    proxy.silent = lambda request: "/configmaps" in request.path
    await cluster.set_spot_percentage(ON_DEMAND)
    await cluster.wait_for_moves(ON_DEMAND, 6)
    proxy.mend()

    proxy.order = once(is_lease_write, lose_the_answer, times=2)
    before = sum(map(is_lease_write, proxy.heard))
    await cluster.set_spot_percentage(SPOT)
    await cluster.wait_for_moves(SPOT, 9)

    async def renewed() -> bool:
        return sum(map(is_lease_write, proxy.heard)) >= before + 4

    await cluster.wait_until(renewed, "the lease is renewed after lost responses", within=60)
    await cluster.assert_quiet()
    log = process.log.read_text()
    assert (log.count('"Became leader"'), log.count("Lost leadership")) == (1, 0)


async def test_row_19_an_eviction_that_arrives_after_a_crash_and_takeover_keeps_the_floor(
    cluster: FaultTestCluster,
) -> None:
    """Meanwhile another pod is the next candidate; without a ledger it would be evicted."""
    first = await cluster.start(*QUICK_LEASE)
    await cluster.wait_for_leader(first)
    second = await cluster.start(*QUICK_LEASE)
    await cluster.set_up(replicas=3, moves=1)
    gate = Gate()
    first.proxy.order = always(is_eviction, gate)
    async with ReadyMinimum(cluster) as ready:
        await cluster.set_spot_percentage(SPOT)

        async def held() -> bool:
            return bool(gate.held)

        await cluster.wait_until(held, "an eviction is delayed")
        await first.kill()
        victim = gate.held[0].path.split("/")[-2]
        await cluster.swap_slots_with_last(victim)
        await cluster.wait_for_leader(second)
        await cluster.wait_for_split("web", 2, 1)
        gate.open()

        async def arrived() -> bool:
            return bool(gate.answers)

        await cluster.wait_until(arrived, "the delayed eviction has arrived")
        await cluster.assert_quiet()
        assert gate.answers[0].status in (404, 409)
        assert ready.minimum == 2
    assert cluster.evictions() == [victim]


@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "lost"])
async def test_row_20_a_sigkill_at_any_write_causes_no_extra_eviction(
    cluster: FaultTestCluster, delivered: bool
) -> None:
    """A standby serves the webhook throughout; otherwise pods are placed at random."""
    await cluster.start_standby()
    process = await cluster.start()
    await cluster.wait_for_leader(process)
    await cluster.set_up()
    percent = ON_DEMAND
    for write in range(1, 5):
        percent = SPOT if percent == ON_DEMAND else ON_DEMAND
        killed = kill_at_write(process, write, delivered)
        await cluster.set_spot_percentage(percent)
        await asyncio.wait_for(killed, 60)
        process = await cluster.start_successor()
        await cluster.wait_for_moves(percent, 3 * write)
    await cluster.assert_quiet()


def kill_at_write(process: ProxiedOperator, write: int, delivered: bool) -> asyncio.Future[None]:
    """Send SIGKILL at the nth eviction or ledger write. The future is done after that."""
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


async def test_row_29_evictions_not_visible_in_watches_for_10_s_are_not_repeated(
    cluster: FaultTestCluster,
) -> None:
    process = await cluster.start()
    await cluster.set_up()
    async with ReadyMinimum(cluster) as ready:
        process.proxy.lag_seconds = 10
        await cluster.set_spot_percentage(SPOT)
        await cluster.wait_for_moves(SPOT, 3, within=180)
        await cluster.assert_quiet(12)
        assert ready.minimum == 2
    assert len(cluster.evictions()) == 3
