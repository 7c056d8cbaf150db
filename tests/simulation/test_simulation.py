"""Thousands of histories under seeds: undisturbed, with faults around us, with faults in us."""

from __future__ import annotations

import pytest

from tests.simulation.planted import PLANTED, Planted
from tests.simulation.search import Tally, report, search, shrunk, unbroken
from tests.simulation.story import calm, chaos, taken
from tests.simulation.world import play

WITHOUT_FAULTS = 2000
WITH_FAULTS = 5000
"""Of messages, crashes, clocks, nodes and owners."""
WITH_SPOT_TAKEN = 1000
PARTS = 10
"""The first part runs in ``make test``, the others in ``make test-all``."""
ENOUGH = 400
"""Histories within which every planted fault must show."""

each_part = pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, PARTS))]
)


@each_part
def test_undisturbed_every_eviction_brings_the_split_nearer(part: int) -> None:
    size = WITHOUT_FAULTS // PARTS
    tally = unbroken(calm, range(part * size, (part + 1) * size))
    assert tally.evicted["useless"] == 0
    assert tally.evicted["move"] > size / 2


@each_part
def test_whatever_is_delayed_lost_or_killed_the_floor_holds_and_the_split_comes(part: int) -> None:
    size = WITH_FAULTS // PARTS
    tally = unbroken(chaos, range(part * size, (part + 1) * size))
    # The runs are worth something only if the floor was pressed and processes died.
    assert tally.pressed > size / 4
    assert tally.crashes > size / 4
    assert tally.held < size / 20


@each_part
def test_spot_that_goes_and_comes_back_costs_no_floor_and_nobody_who_serves(part: int) -> None:
    size = WITH_SPOT_TAKEN // PARTS
    tally = unbroken(taken, range(part * size, (part + 1) * size))
    assert tally.evicted["fallback"] > size
    assert tally.crashes > size


@pytest.mark.long
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_fault_is_found(planted: Planted) -> None:
    with planted.grown():
        for seed in range(planted.first_seed, planted.first_seed + ENOUGH):
            outcome = play(planted.tell(seed), planted.operator)
            if any(words.startswith(planted.accused) for words in outcome.broken):
                return
    pytest.fail(f"{planted.name}: not found in {ENOUGH} histories")


def test_every_planted_fault_is_looked_for_where_production_is() -> None:
    for planted in PLANTED:
        size = WITH_FAULTS if planted.tell is chaos else WITH_SPOT_TAKEN
        assert planted.first_seed + ENOUGH <= size


def test_a_seed_decides_everything() -> None:
    assert play(chaos(4)).trace == play(chaos(4)).trace


@pytest.mark.long
def test_a_failure_is_made_smaller_and_stays_the_same_failure() -> None:
    planted = next(one for one in PLANTED if one.functions)
    with planted.grown():
        tally, failed = search(chaos, range(ENOUGH), planted.operator)
        assert failed is not None
        less = shrunk(failed, planted.operator)
    assert less.broken[0].split(":")[0] == failed.broken[0].split(":")[0]
    assert len(str(less.story)) < len(str(failed.story))
    assert isinstance(tally, Tally)


@pytest.mark.parametrize("seed", [1934, 4161])
def test_a_seed_that_broke_something_once_does_not_break_it_again(seed: int) -> None:
    """docs/contributing/track-record.md says what; as long as the generator stays as it is."""
    outcome = play(chaos(seed))
    assert not outcome.broken, report(outcome)
