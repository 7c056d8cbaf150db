"""Which moves have finished, and what the workload learns from them."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from spotalis.model.ledger import Ledger
from spotalis.planner.observed import Observed
from spotalis.planner.resolution import MoveResolution, record_futile_move, resolve_moves
from spotalis.planner.spot_knowledge import SpotView
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    SPOT,
    a_workload,
    is_spot,
    with_facts,
    with_replicas,
)
from tests.unit.planner.ledgers import AVAILABLE, EXHAUSTED, an_intent

TERMINATED = frozenset({"api-3-uid"})


def resolve(observed: Observed, terminated: frozenset[str] = TERMINATED) -> MoveResolution:
    return resolve_moves(dataclasses.replace(observed, terminated=terminated), NOW)


def with_replacement(**changes: Any) -> Observed:
    """Ten replicas. The pod of the open move to spot is gone, and api-9 is its replacement."""
    observed = with_replicas(a_workload(spot=7, on_demand=3), 9, move="api-3-ui", **changes)
    return with_facts(observed, ledger=Ledger(intents=(an_intent(),)))


def test_a_move_has_finished_when_its_replacement_is_available() -> None:
    resolution = resolve(with_replacement())
    assert [intent.pod for intent in resolution.finished] == ["api-3-uid"]
    assert resolution.ledger == Ledger()


def test_a_move_has_not_finished_while_its_replacement_is_not_ready() -> None:
    observed = with_replacement(ready=False, node_type=SPOT)
    assert resolve(observed).ledger == observed.ledger


def test_a_move_has_not_finished_while_its_pod_is_not_seen_ending() -> None:
    observed = with_replacement()
    assert resolve(observed, frozenset()).ledger == observed.ledger


def test_a_replacement_on_the_type_that_was_left_is_futile() -> None:
    assert resolve(with_replacement(node_type=ON_DEMAND)).ledger == Ledger(futile_moves=1)


def unadmitted_replacement() -> Observed:
    """The replacement is on on-demand, and the webhook has not seen it."""
    return with_replicas(
        with_replacement(), 9, move="", rule="", node_type=ON_DEMAND, created_at=NOW
    )


def test_a_replacement_without_an_admission_request_counts_as_futile() -> None:
    assert resolve(unadmitted_replacement()).ledger == Ledger(futile_moves=1)


def test_a_probe_whose_replacement_was_never_pinned_to_spot_counts_as_futile() -> None:
    """If it did not count, the next probe would follow immediately."""
    ledger = Ledger(intents=(an_intent(probe=True),))
    observed = with_facts(unadmitted_replacement(), ledger=ledger)
    assert resolve(observed).ledger == Ledger(futile_moves=1)


def test_a_replacement_on_the_target_type_resets_the_futile_moves() -> None:
    ledger = Ledger(intents=(an_intent(),), futile_moves=2)
    assert resolve(with_facts(with_replacement(node_type=SPOT), ledger=ledger)).ledger == Ledger()


@pytest.mark.parametrize(
    ("is_probe", "view", "found_spot"),
    [
        pytest.param(True, EXHAUSTED, True, id="probe"),
        pytest.param(False, EXHAUSTED, False, id="room that was there before"),
        pytest.param(False, AVAILABLE, True, id="spot is still available"),
    ],
)
def test_a_replacement_on_spot_may_show_that_spot_is_available(
    is_probe: bool, view: SpotView, found_spot: bool
) -> None:
    observed = with_replicas(a_workload(spot=1, on_demand=9), is_spot, move="api-3-ui")
    ledger = Ledger(intents=(an_intent(probe=is_probe),))
    observed = with_facts(observed, ledger=ledger, spot_view=view)
    assert resolve(observed).found_spot is found_spot


def test_the_third_futile_move_starts_a_backoff_that_doubles() -> None:
    ledger, now, minutes = Ledger(), NOW, []
    for _ in range(11):
        ledger = record_futile_move(ledger, now)
        minutes.append(ledger.futile_until and (ledger.futile_until - now) // timedelta(minutes=1))
        now = ledger.futile_until or now
    assert minutes == [None, None, 5, 10, 20, 40, 80, 160, 320, 360, 360]


def test_moves_that_end_during_the_backoff_do_not_prolong_it() -> None:
    ledger = Ledger()
    for _ in range(7):
        ledger = record_futile_move(ledger, NOW)
    assert (ledger.futile_moves, ledger.futile_until) == (3, NOW + timedelta(minutes=5))
