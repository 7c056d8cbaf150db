"""The search sees all states and returns the shortest path to a violation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.explorer import Step, TooManyStatesError, explore


def jugs(state: tuple[int, int], wanted: int = 4) -> Iterator[Step[tuple[int, int]]]:
    """The puzzle of measuring 4 litres with jugs of 3 and 5 litres."""
    small, large = state
    pours, back = min(small, 5 - large), min(large, 3 - small)
    for action, after in (
        ("fill small", (3, large)),
        ("fill large", (small, 5)),
        ("empty small", (0, large)),
        ("empty large", (small, 0)),
        ("pour small", (small - pours, large + pours)),
        ("pour large", (small + back, large - back)),
    ):
        yield Step(action, after, "measured" if wanted in after else "")


def test_the_trace_is_the_shortest_path_to_a_violation() -> None:
    assert explore((0, 0), jugs).trace == (
        "fill large",
        "pour large",
        "empty small",
        "pour large",
        "fill large",
        "pour large: measured",
    )


def test_a_search_without_a_violation_sees_all_states() -> None:
    result = explore((0, 0), lambda state: jugs(state, wanted=6))
    assert result.clean
    assert (result.states, result.steps) == (16, 96)


def test_states_that_differ_only_in_names_count_once_and_keep_their_names_in_the_trace() -> None:
    def take_seat(state: tuple[int, ...]) -> Iterator[Step[tuple[int, ...]]]:
        for seat, taken in enumerate(state):
            if not taken:
                after = (*state[:seat], 1, *state[seat + 1 :])
                yield Step(f"seat {seat}", after, "full" if all(after) else "")

    def sorted_seats(state: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(state))

    empty: tuple[int, ...] = (0, 0, 0)
    result = explore(empty, take_seat, canonical=sorted_seats)
    assert result.states == 3
    assert sorted(result.trace) == ["seat 0", "seat 1", "seat 2: full"]


def test_a_search_beyond_the_limit_of_states_raises() -> None:
    with pytest.raises(TooManyStatesError, match="more than 5 states"):
        explore((0, 0), lambda state: jugs(state, wanted=6), limit=5)
