"""Operators stopped between a decision and an eviction (docs/contributing/faults.md: 21, 23)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Response
from tests.integration.faults.real.cluster import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    FaultTestCluster,
    ProxiedOperator,
    ReadyMinimum,
    is_authorizing_list,
)
from tests.integration.faults.simulated import is_eviction
from tests.support.fault_proxy import Call, once

pytestmark = pytest.mark.real

STOPPED_SECONDS = 12.0
"""Twice the lease duration."""


def freeze_after_list(process: ProxiedOperator) -> asyncio.Event:
    """Send SIGSTOP after the API server has answered the authorizing list, before it is read."""
    frozen = asyncio.Event()

    async def freeze(call: Call) -> Response:
        answer = await call.forward()
        process.freeze()
        frozen.set()
        return answer

    process.proxy.order = once(is_authorizing_list, freeze)
    return frozen


async def test_row_21_a_leader_stopped_between_list_and_eviction_sends_nothing_after_it_wakes_up(
    cluster: FaultTestCluster,
) -> None:
    first = await cluster.start(*QUICK_LEASE)
    await cluster.wait_for_leader(first)
    second = await cluster.start(*QUICK_LEASE)
    await cluster.set_up()
    async with ReadyMinimum(cluster) as ready:
        frozen = freeze_after_list(first)
        await cluster.set_spot_percentage(SPOT)
        try:
            async with asyncio.timeout(60):
                await frozen.wait()
            await asyncio.gather(cluster.wait_for_moves(SPOT, 3), asyncio.sleep(STOPPED_SECONDS))
        finally:
            first.thaw()

        async def awake() -> bool:
            return "Lost leadership" in first.log.read_text()

        await cluster.wait_until(awake, "the stopped instance has lost leadership", within=60)
        await cluster.assert_quiet(5)
        assert ready.minimum == 2
    assert (cluster.count_evictions_by(first), cluster.count_evictions_by(second)) == (0, 3)
    assert not any(is_eviction(request) for request in first.proxy.heard)


async def test_row_23_after_a_stopped_process_no_eviction_uses_an_old_list(
    cluster: FaultTestCluster,
) -> None:
    """SIGSTOP simulates a blocked event loop: other processes see no difference.

    After 7 s the list has expired and leadership has not; after 12 s both have.
    """
    process = await cluster.start()
    await cluster.set_up()
    heard = process.proxy.heard
    stalls = [(3.0, SPOT), (7.0, ON_DEMAND), (12.0, SPOT)]
    async with ReadyMinimum(cluster) as ready:
        for count, (seconds, percent) in enumerate(stalls, 1):
            frozen = freeze_after_list(process)
            await cluster.set_spot_percentage(percent)
            try:
                async with asyncio.timeout(60):
                    await frozen.wait()
                stalled_at = len(heard)
                await asyncio.sleep(seconds)
            finally:
                process.thaw()
            await cluster.wait_for_moves(percent, 3 * count)
            since = heard[stalled_at:]
            lists = [n for n, request in enumerate(since) if is_authorizing_list(request)]
            sent = [n for n, request in enumerate(since) if is_eviction(request)]
            assert seconds < 5 or lists[0] < sent[0], "an eviction used a list from before the stop"
        await cluster.assert_quiet()
        assert ready.minimum == 2
