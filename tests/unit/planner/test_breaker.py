"""The interruption breaker of a workload."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from spotalis.model.controller_configuration import InterruptionBreaker
from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.ledger import Ledger
from spotalis.planner.breaker import with_breaker
from spotalis.planner.observed import Observed
from spotalis.planner.placement import NewPod, place
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    SPOT,
    a_reservation,
    a_workload,
    decision_of,
    is_spot,
    owner_of,
    reserved,
    with_facts,
    with_replicas,
)
from tests.unit.planner.ledgers import an_intent

MINUTE = timedelta(minutes=1)


def lost(created_at: datetime, ledger: Ledger, **changes: Any) -> Observed:
    """Seven spot replicas on a node that is being reclaimed, all created at this time."""
    observed = a_workload(spot=7, on_demand=3, ledger=ledger, **changes)
    return with_replicas(
        observed,
        is_spot,
        on_terminating_node=True,
        on_reclaimed_node=True,
        node_created_at=created_at,
        created_at=created_at,
    )


def after(minutes: float, observed: Observed) -> Ledger:
    return with_breaker(observed, NOW + minutes * MINUTE).ledger


def test_replicas_that_are_lost_together_are_one_interruption() -> None:
    ledger = after(0, lost(NOW - 9 * MINUTE, Ledger()))
    assert ledger == Ledger(interrupted_at=(NOW,))
    assert after(0.1, lost(NOW - 9 * MINUTE, ledger)) == ledger


def test_old_replicas_that_are_lost_later_are_no_further_interruption() -> None:
    ledger = Ledger(interrupted_at=(NOW,))
    assert after(20, lost(NOW - 90 * MINUTE, ledger)) == ledger


def test_new_replicas_on_an_old_node_are_no_further_interruption() -> None:
    """Nodes that were created together expire, or are reclaimed, one after the other."""
    ledger = Ledger(interrupted_at=(NOW,))
    hopped = with_replicas(lost(NOW - 90 * MINUTE, ledger), is_spot, created_at=NOW + MINUTE)
    assert after(20, hopped) == ledger


def test_nodes_that_an_autoscaler_removes_do_not_count() -> None:
    for ledger in (Ledger(), Ledger(interrupted_at=(NOW,)), OPEN):
        removed = with_replicas(lost(NOW + MINUTE, ledger), is_spot, on_reclaimed_node=False)
        assert after(3, removed) == ledger


def test_a_replacement_that_is_lost_too_opens_the_breaker_for_an_hour() -> None:
    ledger = after(3, lost(NOW + MINUTE, Ledger(interrupted_at=(NOW,))))
    assert ledger == Ledger(unstable_until=NOW + 63 * MINUTE)


def test_interruptions_that_are_half_an_hour_apart_do_not_count_together() -> None:
    ledger = after(30, lost(NOW + MINUTE, Ledger(interrupted_at=(NOW,))))
    assert ledger == Ledger(interrupted_at=(NOW + 30 * MINUTE,))


def test_lost_on_demand_replicas_do_not_count() -> None:
    observed = with_replicas(lost(NOW, Ledger()), is_spot, node_type=ON_DEMAND)
    assert after(1, observed) == Ledger()


OPEN = Ledger(unstable_until=NOW)
"""Half open from now on."""


def test_the_loss_of_the_replica_that_tries_opens_the_breaker_again() -> None:
    assert after(3, lost(NOW + MINUTE, OPEN)).unstable_until == NOW + 63 * MINUTE
    assert after(3, lost(NOW - MINUTE, OPEN)) == OPEN


def test_the_breaker_closes_half_an_hour_after_the_first_try_was_allowed() -> None:
    rest = a_workload(spot=7, on_demand=3, ledger=OPEN)
    assert after(29, rest) == OPEN
    assert after(30, rest) == Ledger()


def test_zero_interruptions_turn_the_breaker_off() -> None:
    off = InterruptionBreaker(interruptions=0)
    ledger = Ledger(interrupted_at=(NOW,), unstable_until=NOW + 9 * MINUTE)
    observed = lost(NOW, ledger, breaker=off)
    assert after(1, observed) == Ledger()
    assert with_breaker(observed, NOW).spot_starts_left is None


@pytest.mark.parametrize(
    ("minutes", "trying", "admitted", "moving", "left"),
    [
        pytest.param(-1, 0, 0, 0, 0, id="open"),
        pytest.param(0, 0, 0, 0, 1, id="half open"),
        pytest.param(9, 1, 0, 0, 0, id="one tries"),
        pytest.param(9, 0, 1, 0, 0, id="one is admitted"),
        pytest.param(9, 0, 0, 1, 0, id="one moves"),
        pytest.param(30, 1, 0, 0, None, id="closed"),
    ],
)
def test_at_most_one_replica_tries(
    minutes: int, trying: int, admitted: int, moving: int, left: int | None
) -> None:
    old = a_workload(spot=3, on_demand=3)
    new = with_replicas(a_workload(spot=trying), is_spot, created_at=NOW + MINUTE)
    observed = with_facts(
        old,
        ledger=msgspec.structs.replace(OPEN, intents=(an_intent(),) * moving),
        replicas=(*old.replicas, *new.replicas),
        reservations=reserved(*[a_reservation(9, SPOT)] * admitted),
    )
    found = with_breaker(observed, NOW + minutes * MINUTE).spot_starts_left
    assert found == left


def test_while_the_breaker_is_open_replicas_of_spot_slots_start_on_on_demand() -> None:
    pod = NewPod(owner=owner_of("Deployment").uid)
    observed = a_workload(on_demand=3, replicas=10)
    found = place(with_facts(observed, spot_starts_left=0), pod)
    assert (found.node_type, found.rule) == (ON_DEMAND, "unstable")
    for left in (1, None):
        assert place(with_facts(observed, spot_starts_left=left), pod).node_type is SPOT


def test_no_replica_returns_while_the_breaker_is_open_and_one_when_it_is_half_open() -> None:
    observed = a_workload(on_demand=10, moves=9, free=9)
    ledger = Ledger(unstable_until=NOW + 9 * MINUTE)
    decision = decision_of(with_facts(observed, ledger=ledger))
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.SPOT_UNSTABLE
    assert decision.requeue_after == 9 * MINUTE
    decision = decision_of(with_facts(observed, ledger=OPEN))
    assert isinstance(decision, Evict)
    assert len(decision.moves) == 1


def test_the_breaker_does_not_stop_moves_to_on_demand() -> None:
    ledger = Ledger(unstable_until=NOW + 9 * MINUTE)
    decision = decision_of(a_workload(spot=10, moves=9, ledger=ledger))
    assert isinstance(decision, Evict)
