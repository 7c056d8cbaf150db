"""Processes that are stopped between a decision and its deed (safety.md B.1: 21, 23)."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.model.transport import Response
from tests.integration.faults.real.stage import (
    ON_DEMAND,
    QUICK_LEASE,
    SPOT,
    Floor,
    Process,
    Stage,
    is_authorising,
)
from tests.integration.faults.stage import is_eviction
from tests.support.fault_proxy import Call, once

pytestmark = pytest.mark.real

STOPPED_SECONDS = 12.0
"""Twice the lease."""


def freezing(process: Process) -> asyncio.Event:
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
    stage: Stage,
) -> None:
    first = await stage.start(*QUICK_LEASE)
    await stage.leads(first)
    second = await stage.start(*QUICK_LEASE)
    await stage.set_up()
    async with Floor(stage) as floor:
        frozen = freezing(first)
        await stage.want(SPOT)
        try:
            async with asyncio.timeout(60):
                await frozen.wait()
            await asyncio.gather(stage.turned(SPOT, 3), asyncio.sleep(STOPPED_SECONDS))
        finally:
            first.thaw()

        async def awake() -> bool:
            return "no longer leading" in first.log.read_text()

        await stage.until(awake, "it has seen that it leads no more", within=60)
        await stage.is_quiet(5)
        assert floor.least == 2
    assert (stage.evicted_by(first), stage.evicted_by(second)) == (0, 3)
    assert not any(is_eviction(request) for request in first.proxy.heard)


async def test_row_23_after_a_stall_of_the_whole_process_nothing_is_sent_on_an_old_list(
    stage: Stage,
) -> None:
    """SIGSTOP stands in for a stall of the event loop: from outside they look the same.

    With 7 s the list is too old and the lead is not; with 12 s both are.
    """
    process = await stage.start()
    await stage.set_up()
    heard = process.proxy.heard
    stalls = [(3.0, SPOT), (7.0, ON_DEMAND), (12.0, SPOT)]
    async with Floor(stage) as floor:
        for count, (seconds, percent) in enumerate(stalls, 1):
            frozen = freezing(process)
            await stage.want(percent)
            try:
                async with asyncio.timeout(60):
                    await frozen.wait()
                stalled_at = len(heard)
                await asyncio.sleep(seconds)
            finally:
                process.thaw()
            await stage.turned(percent, 3 * count)
            since = heard[stalled_at:]
            lists = [n for n, request in enumerate(since) if is_authorising(request)]
            sent = [n for n, request in enumerate(since) if is_eviction(request)]
            assert seconds < 5 or lists[0] < sent[0], "an eviction on a list of before the stall"
        await stage.is_quiet()
        assert floor.least == 2
