"""The arithmetic of a split, and the slots that follow from it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState, desired_spot, nth_slot, slot_type
from tests.support.builders import ON_DEMAND, SPOT, UNKNOWN

REPLICAS = range(61)
PERCENTS = range(101)
FLOORS = range(21)


@pytest.mark.parametrize(
    ("n", "percent", "floor", "on_demand", "on_spot"),
    [
        pytest.param(10, 60, 2, 4, 6, id="10 replicas at 60 % with floor 2 are 4 + 6"),
        pytest.param(3, 60, 2, 2, 1, id="3 replicas at 60 % with floor 2 are 2 + 1"),
        pytest.param(4, 75, 3, 3, 1, id="4 replicas at 75 % with floor 3 are 3 + 1"),
        pytest.param(10, 73, 1, 3, 7, id="10 replicas at 73 % with floor 1 are 3 + 7"),
        pytest.param(10, 90, 4, 4, 6, id="10 replicas at 90 % with floor 4 are 4 + 6"),
        pytest.param(5, 0, 1, 5, 0, id="5 replicas at 0 % with floor 1 are 5 + 0"),
        pytest.param(0, 70, 2, 0, 0, id="no replicas are 0 + 0"),
        pytest.param(10, 100, 0, 0, 10, id="all of them at 100 % without a floor"),
        pytest.param(3, 100, 5, 3, 0, id="none on spot below the floor"),
        pytest.param(9999, 70, 0, 3000, 6999, id="rounded down, never up"),
    ],
)
def test_the_documented_splits(
    n: int, percent: int, floor: int, on_demand: int, on_spot: int
) -> None:
    assert desired_spot(n, percent, floor) == on_spot
    assert n - desired_spot(n, percent, floor) == on_demand


def test_every_split_is_the_formula_and_keeps_the_floor() -> None:
    for n in REPLICAS:
        for percent in PERCENTS:
            for floor in FLOORS:
                on_spot = desired_spot(n, percent, floor)
                assert 100 * on_spot <= n * percent, (n, percent, floor)
                assert n - on_spot >= min(n, floor), (n, percent, floor)
                # No greater number would do: it is the most that both bounds allow.
                assert 100 * (on_spot + 1) > n * percent or n - (on_spot + 1) < floor


def test_one_more_replica_adds_at_most_one_to_spot_and_never_takes_one_away() -> None:
    for percent in PERCENTS:
        for floor in FLOORS:
            counts = [desired_spot(n, percent, floor) for n in REPLICAS]
            steps = {after - before for before, after in pairwise(counts)}
            assert steps <= {0, 1}, (percent, floor)


def test_a_greater_percentage_never_means_fewer_on_spot_nor_a_greater_floor_more() -> None:
    for n in REPLICAS:
        for floor in FLOORS:
            counts = [desired_spot(n, percent, floor) for percent in PERCENTS]
            assert counts == sorted(counts), (n, floor)
        for percent in PERCENTS:
            counts = [desired_spot(n, percent, floor) for floor in FLOORS]
            assert counts == sorted(counts, reverse=True), (n, percent)


def test_every_prefix_of_the_slots_is_split_correctly() -> None:
    for percent in PERCENTS:
        for floor in FLOORS:
            on_spot = 0
            for n in REPLICAS:
                assert on_spot == desired_spot(n, percent, floor), (n, percent, floor)
                on_spot += slot_type(n, percent, floor) is SPOT


@pytest.mark.parametrize("node_type", [SPOT, ON_DEMAND])
def test_the_nth_slot_of_a_type_is_computed(node_type: NodeType) -> None:
    for percent in range(101):
        for floor in (0, 1, 2, 7, 300):
            slots = [k for k in range(500) if slot_type(k, percent, floor) is node_type]
            found = [nth_slot(n, node_type, percent, floor) for n in range(len(slots))]
            assert found == slots, (percent, floor)
            beyond = nth_slot(len(slots), node_type, percent, floor)
            assert beyond is None or beyond >= 500, (percent, floor)


def test_on_demand_comes_first() -> None:
    for percent in range(100):
        assert slot_type(0, percent, 0) is ON_DEMAND
    for floor in range(1, 21):
        assert {slot_type(slot, 100, floor) for slot in range(floor)} == {ON_DEMAND}


def state(*, desired: int = 10, spot: int, on_demand: int, unknown: int = 0) -> ReplicaState:
    return ReplicaState(
        desired=desired, percent=70, floor=2, spot=spot, on_demand=on_demand, unknown=unknown
    )


@pytest.mark.parametrize(
    ("present", "surplus_type", "surplus", "balanced"),
    [
        pytest.param(state(spot=7, on_demand=3), None, 0, True, id="exact"),
        pytest.param(state(spot=10, on_demand=0), SPOT, 3, False, id="all on spot"),
        pytest.param(state(spot=0, on_demand=10), ON_DEMAND, 7, False, id="all on on-demand"),
        pytest.param(state(spot=6, on_demand=3), None, 0, False, id="one is missing"),
        pytest.param(state(spot=8, on_demand=1), SPOT, 1, False, id="one is missing, one wrong"),
        pytest.param(
            state(spot=6, on_demand=3, unknown=1), None, 0, True, id="an unknown one is left out"
        ),
        pytest.param(
            state(spot=7, on_demand=2, unknown=1), SPOT, 1, False, id="it leaves 9 to be split"
        ),
        pytest.param(state(spot=0, on_demand=0, unknown=10), None, 0, True, id="all unknown"),
        pytest.param(
            state(desired=2, spot=0, on_demand=0, unknown=3), None, 0, True, id="more than wanted"
        ),
        pytest.param(state(desired=0, spot=0, on_demand=0), None, 0, True, id="scaled to zero"),
    ],
)
def test_the_surplus_of_a_type_is_what_exceeds_its_share(
    present: ReplicaState, surplus_type: NodeType | None, surplus: int, balanced: bool
) -> None:
    assert present.surplus_type is surplus_type
    assert (present.surplus(surplus_type) if surplus_type else 0) == surplus
    assert present.is_balanced is balanced


def test_no_replica_of_unknown_type_is_desired() -> None:
    present = state(spot=6, on_demand=3, unknown=1)
    assert present.count(UNKNOWN) == 1
    assert present.desired_for(UNKNOWN) == 0
    assert sum(present.desired_for(node_type) for node_type in NodeType) == present.known == 9
