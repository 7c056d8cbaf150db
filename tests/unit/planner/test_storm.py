"""When lost spot nodes start a storm, and when it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.controller_configuration import StormBreaker
from spotalis.planner.storm import StormState, evaluate, record_loss
from tests.support.builders import NOW

BREAKER = StormBreaker()
MINUTE = timedelta(minutes=1)


def after(*minutes: float, of: int, breaker: StormBreaker = BREAKER) -> StormState:
    """The state after losses at these minutes among ``of`` spot nodes."""
    state = StormState()
    for count, minute in enumerate(minutes, 1):
        state = record_loss(state, NOW + minute * MINUTE, breaker)
        state = evaluate(state, of - count, breaker)
    return state


@pytest.mark.parametrize(
    ("minutes", "of", "storm"),
    [
        pytest.param((0, 0, 0), 9, True, id="3 of 9 at once"),
        pytest.param((0, 0, 0), 10, False, id="3 of 10 are not more than 30 %"),
        pytest.param((0, 0, 0, 0), 10, True, id="4 of 10"),
        pytest.param((0, 0), 2, False, id="both of two are fewer than 3"),
        pytest.param((0, 0, 0), 3, True, id="all three"),
        pytest.param((0, 2, 4.9), 9, True, id="3 of 9 within 5 min"),
        pytest.param((0, 2, 5), 9, False, id="3 of 9 within exactly 5 min"),
        pytest.param((0, 4, 8, 12, 16), 9, False, id="one by one"),
        pytest.param((0,) * 31, 100, True, id="31 of 100"),
        pytest.param((0,) * 30, 100, False, id="30 of 100"),
    ],
)
def test_more_than_30_percent_and_at_least_3_within_5_minutes_are_a_storm(
    minutes: tuple[float, ...], of: int, storm: bool
) -> None:
    state = after(*minutes, of=of)
    assert (state.frozen_until is not None) is storm
    assert state.is_active(NOW + minutes[-1] * MINUTE) is storm


def test_a_storm_ends_10_minutes_after_the_last_loss() -> None:
    state = after(0, 0, 0, of=3)
    assert state.frozen_until == NOW + 10 * MINUTE
    assert state.is_active(NOW + 10 * MINUTE - timedelta(seconds=1))
    assert not state.is_active(NOW + 10 * MINUTE)


def test_a_single_loss_prolongs_a_storm_only_while_it_lasts() -> None:
    assert after(0, 0, 0, 9, of=9).frozen_until == NOW + 19 * MINUTE
    assert after(0, 0, 0, 10, of=9).frozen_until == NOW + 10 * MINUTE


def test_new_nodes_do_not_end_a_storm_that_has_begun() -> None:
    state = after(0, 0, 0, of=3)
    assert evaluate(state, 1000, BREAKER) == state


def test_evaluate_is_idempotent() -> None:
    state = after(0, 0, 0, of=9)
    assert evaluate(evaluate(state, 6, BREAKER), 6, BREAKER) == state


def test_losses_out_of_order_count_by_their_time() -> None:
    """A list after a restart shows nodes in the order of their names."""
    state = StormState()
    for minute in (3, 0, 2):
        state = record_loss(state, NOW + minute * MINUTE, BREAKER)
    assert evaluate(state, 0, BREAKER).frozen_until == NOW + 13 * MINUTE


@pytest.mark.parametrize(
    ("breaker", "storm"),
    [
        pytest.param(StormBreaker(threshold_percent=50), False, id="a higher threshold"),
        pytest.param(StormBreaker(min_nodes=4), False, id="a larger minimum of nodes"),
        pytest.param(StormBreaker(window=timedelta(seconds=30)), False, id="a shorter window"),
        pytest.param(StormBreaker(cooldown=MINUTE), True, id="a shorter cooldown"),
    ],
)
def test_each_setting_has_an_effect(breaker: StormBreaker, storm: bool) -> None:
    assert after(0, 1, 2, of=8).frozen_until == NOW + 12 * MINUTE
    until = after(0, 1, 2, of=8, breaker=breaker).frozen_until
    assert until == (NOW + 2 * MINUTE + breaker.cooldown if storm else None)


@given(st.lists(st.integers(min_value=0, max_value=60), min_size=1), st.integers(0, 40))
def test_losses_outside_the_window_are_dropped(minutes: list[int], left: int) -> None:
    state = after(*sorted(minutes), of=len(minutes) + left)
    assert all(state.losses[-1] - loss < BREAKER.window for loss in state.losses)
