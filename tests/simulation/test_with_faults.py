"""Thousands of histories under seeds, with faults: messages, crashes, clocks, nodes, owners.

In a file of its own, so that it runs beside the others where there are two cores.
"""

from __future__ import annotations

import pytest

from tests.simulation.search import unbroken
from tests.simulation.story import chaos, taken

WITH_FAULTS = 5000
WITH_SPOT_TAKEN = 1000
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_delayed_lost_or_killed_the_floor_holds_and_the_split_comes(part: int) -> None:
    size = WITH_FAULTS // PARTS
    tally = unbroken(chaos, range(part * size, (part + 1) * size))
    # The runs are worth something only if the floor was pressed and processes died.
    assert tally.pressed > size / 4
    assert tally.crashes > size / 4
    assert tally.held < size / 20


@pytest.mark.parametrize("part", range(PARTS))
def test_spot_that_goes_and_comes_back_costs_no_floor_and_nobody_who_serves(part: int) -> None:
    size = WITH_SPOT_TAKEN // PARTS
    tally = unbroken(taken, range(part * size, (part + 1) * size))
    assert tally.evicted["fallback"] > size
    assert tally.crashes > size
