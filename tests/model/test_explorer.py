"""The search itself: it sees everything, and tells the shortest way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.explorer import Step, TooManyStatesError, explore


def jugs(state: tuple[int, int], wanted: int = 4) -> Iterator[Step[tuple[int, int]]]:
    """A jug of 3 and one of 5: measure out 4."""
    small, large = state
    pours, back = min(small, 5 - large), min(large, 3 - small)
    for says, after in (
        ("fill small", (3, large)),
        ("fill large", (small, 5)),
        ("empty small", (0, large)),
        ("empty large", (small, 0)),
        ("pour small", (small - pours, large + pours)),
        ("pour large", (small + back, large - back)),
    ):
        yield Step(says, after, "measured" if wanted in after else "")


def test_the_shortest_way_is_told_step_by_step() -> None:
    assert explore((0, 0), jugs).trace == (
        "fill large",
        "pour large",
        "empty small",
        "pour large",
        "fill large",
        "pour large: measured",
    )


def test_what_cannot_be_reached_is_shown_by_having_seen_all() -> None:
    explored = explore((0, 0), lambda state: jugs(state, wanted=6))
    assert explored.clean
    assert (explored.states, explored.steps) == (16, 96)


def test_states_that_differ_by_names_only_are_seen_once_and_told_with_their_own_names() -> None:
    def sits_down(state: tuple[int, ...]) -> Iterator[Step[tuple[int, ...]]]:
        for seat, taken in enumerate(state):
            if not taken:
                after = (*state[:seat], 1, *state[seat + 1 :])
                yield Step(f"seat {seat}", after, "full" if all(after) else "")

    def sorted_seats(state: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(state))

    nobody: tuple[int, ...] = (0, 0, 0)
    explored = explore(nobody, sits_down, canonical=sorted_seats)
    assert explored.states == 3
    assert sorted(explored.trace) == ["seat 0", "seat 1", "seat 2: full"]


def test_a_world_that_is_too_large_shows_nothing() -> None:
    with pytest.raises(TooManyStatesError, match="more than 5 states"):
        explore((0, 0), lambda state: jugs(state, wanted=6), limit=5)
