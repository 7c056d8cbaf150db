"""Processes that are stopped between a decision and its deed (safety.md B.1: 21, 23)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Response
from tests.integration.faults.real.cluster import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    FaultTestCluster,
    Floor,
    ProxiedOperator,
    is_authorising,
)
from tests.integration.faults.simulated import is_eviction
from tests.support.fault_proxy import Call, once

pytestmark = pytest.mark.real

STOPPED_SECONDS = 12.0
"""Twice the lease."""


def freezing(process: ProxiedOperator) -> asyncio.Event:
    """Stop it (SIGSTOP) when the list that authorises has been answered, before it hears so."""
    frozen = asyncio.Event()

    async def freeze(call: Call) -> Response:
        answer = await call.forward()
        process.freeze()
        frozen.set()
        return answer

    process.proxy.order = once(is_authorising, freeze)
    return frozen


async def test_row_21_a_leader_stopped_between_list_and_eviction_sends_nothing_when_it_wakes(
    cluster: FaultTestCluster,
) -> None:
    first = await cluster.start(*QUICK_LEASE)
    await cluster.leads(first)
    second = await cluster.start(*QUICK_LEASE)
    await cluster.set_up()
    async with Floor(cluster) as floor:
        frozen = freezing(first)
        await cluster.want(SPOT)
        try:
            async with asyncio.timeout(60):
                await frozen.wait()
            await asyncio.gather(cluster.turned(SPOT, 3), asyncio.sleep(STOPPED_SECONDS))
        finally:
            first.thaw()

        async def awake() -> bool:
            return "Lost leadership" in first.log.read_text()

        await cluster.wait_until(awake, "it has seen that it leads no more", within=60)
        await cluster.is_quiet(5)
        assert floor.least == 2
    assert (cluster.evicted_by(first), cluster.evicted_by(second)) == (0, 3)
    assert not any(is_eviction(request) for request in first.proxy.heard)


async def test_row_23_after_a_stall_of_the_whole_process_nothing_is_sent_on_an_old_list(
    cluster: FaultTestCluster,
) -> None:
    """SIGSTOP stands in for a stall of the event loop: from outside they look the same.

    With 7 s the list is too old and the lead is not; with 12 s both are.
    """
    process = await cluster.start()
    await cluster.set_up()
    heard = process.proxy.heard
    stalls = [(3.0, SPOT), (7.0, ON_DEMAND), (12.0, SPOT)]
    async with Floor(cluster) as floor:
        for count, (seconds, percent) in enumerate(stalls, 1):
            frozen = freezing(process)
            await cluster.want(percent)
            try:
                async with asyncio.timeout(60):
                    await frozen.wait()
                stalled_at = len(heard)
                await asyncio.sleep(seconds)
            finally:
                process.thaw()
            await cluster.turned(percent, 3 * count)
            since = heard[stalled_at:]
            lists = [n for n, request in enumerate(since) if is_authorising(request)]
            sent = [n for n, request in enumerate(since) if is_eviction(request)]
            assert seconds < 5 or lists[0] < sent[0], "an eviction on a list of before the stall"
        await cluster.is_quiet()
        assert floor.least == 2
