"""T013: scaling by any amount keeps the split with no eviction."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds


@on_both_beds
@pytest.mark.parametrize(
    ("percent", "floor", "at_6", "at_2", "at_12"),
    [
        pytest.param(70, 1, (2, 4), (1, 1), (4, 8), id="70 % floor 1"),
        pytest.param(50, 0, (3, 3), (1, 1), (6, 6), id="50 %"),
    ],
)
def test_6_to_2_to_12_needs_no_eviction(
    play: Play,
    percent: int,
    floor: int,
    at_6: tuple[int, int],
    at_2: tuple[int, int],
    at_12: tuple[int, int],
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(percent, floor))
            await bed.settled("web", *at_6)
            await bed.scale("Deployment", "web", 2)
            await bed.settled("web", *at_2)
            await bed.scale("Deployment", "web", 12)
            await bed.settled("web", *at_12)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_stateful_set_scaled_from_6_to_2_to_12_needs_no_eviction(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.stateful_set("db", 6, Wishes(70, 1))
            await bed.settled("db", 2, 4)
            await bed.scale("StatefulSet", "db", 2)
            await bed.settled("db", 1, 1)
            await bed.scale("StatefulSet", "db", 12)
            await bed.settled("db", 4, 8)
            await bed.stands_still("db")
        assert bed.evictions() == []

    play(scenario)
