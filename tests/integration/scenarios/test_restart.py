"""Restart: a crash in the middle of a rebalance changes neither its end nor its cost."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded: when the crash comes

import pytest

from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, Scenario, only_embedded, only_real


def crash_after(seconds: float) -> Scenario:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 10, Wishes(0, other={"max-moves-in-flight": "2"}))
            await bed.settled("web", 10, 0)
            await bed.annotate("Deployment", "web", {"spot-percentage": "70"})
            await asyncio.sleep(seconds)
            await bed.kill_operator()
        async with bed.operator():
            await bed.settled("web", 3, 7, within=180)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 7

    return scenario


@only_embedded
@pytest.mark.parametrize("seed", range(20))
def test_a_crash_at_any_moment_of_a_rebalance_costs_no_extra_eviction(
    play: Play, seed: int
) -> None:
    play(crash_after(random.Random(seed).uniform(0.0, 12.0)))


@only_real
@pytest.mark.parametrize("seconds", [0.3, 1.1, 2.7, 5.2])
def test_a_sigkill_in_the_middle_of_a_rebalance_costs_no_extra_eviction(
    play: Play, seconds: float
) -> None:
    play(crash_after(seconds))
