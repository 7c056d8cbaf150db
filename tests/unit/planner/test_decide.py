"""The whole decision of one reconcile."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.ledger import Intent, Ledger
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.decide import ANNOUNCED_RETRY, ReconcilePlan, decide
from spotalis.planner.fallback import waiting_for_spot
from spotalis.planner.observed import Observed
from tests.support.builders import (
    BOTH_KINDS,
    NOW,
    SPOT,
    a_workload,
    is_spot,
    plan_of,
    with_configuration,
    with_facts,
    with_replicas,
)
from tests.unit.planner.ledgers import EXHAUSTED, an_intent

COOLDOWN = timedelta(minutes=3)


def to_spot(**facts: Any) -> Observed:
    """Ten replicas on on-demand, seven of which are to move, two at a time."""
    return a_workload(on_demand=10, moves=2, **facts)


def waiting(**facts: Any) -> Observed:
    """Two replicas that have waited too long for a spot node."""
    return with_replicas(
        a_workload(spot=2, on_demand=2, percent=50, **facts),
        is_spot,
        node="",
        phase="Pending",
        ready=False,
        unschedulable=True,
        unschedulable_since=NOW - timedelta(minutes=5),
    )


def replaced(**facts: Any) -> Observed:
    """One move has finished: its pod is gone, and the replacement is available."""
    observed = with_replicas(a_workload(spot=7, on_demand=3), 9, move="api-3-ui")
    ledger = Ledger(intents=(an_intent(),))
    return with_facts(observed, ledger=ledger, terminated={"api-3-uid"}, **facts)


@pytest.mark.parametrize(("holders", "moves"), [({"api-3-uid"}, 1), (set(), 0)])
def test_a_finished_move_frees_the_place_that_it_holds(holders: set[str], moves: int) -> None:
    observed = a_workload(spot=7, on_demand=3, percent=90, moves_free=0, holders=holders)
    observed = with_replicas(observed, 9, move="api-3-ui")
    ledger = Ledger(intents=(an_intent(),))
    decision = plan_of(with_facts(observed, ledger=ledger, terminated={"api-3-uid"})).decision
    assert (len(decision.moves) if isinstance(decision, Evict) else 0) == moves


def test_moves_are_written_into_the_ledger_before_they_are_sent() -> None:
    plan = plan_of(to_spot())
    assert isinstance(plan.decision, Evict)
    assert plan.sends_intents
    assert plan.ledger.intents == tuple(
        Intent(pod=move.pod.uid, name=move.pod.name, target=SPOT, instance="me", created_at=NOW)
        for move in plan.decision.moves
    )


def test_an_instance_that_may_not_evict_writes_no_intents() -> None:
    observed = to_spot()
    plan = decide(
        observed, waiting_for_spot(observed, NOW), now=NOW, instance="me", can_evict=False
    )
    assert (plan.sends_intents, plan.ledger) == (False, Ledger())


def test_intents_of_another_instance_are_taken_over_and_sent_again() -> None:
    ledger = Ledger(intents=(an_intent("api-0-uid", instance="other"),))
    plan = plan_of(with_replicas(to_spot(ledger=ledger), 0, counts_as_gone=True))
    assert plan.sends_intents
    first, *_ = plan.ledger.intents
    assert (first.instance, first.taken_over, first.attempts) == ("me", True, 2)


def test_a_paused_workload_sends_nothing_again() -> None:
    ledger = Ledger(intents=(an_intent("api-0-uid"),))
    observed = with_replicas(to_spot(ledger=ledger), 0, counts_as_gone=True)
    policy = a_workload(paused_until=NOW + timedelta(hours=1)).configuration.disruption
    plan = plan_of(with_configuration(observed, disruption=policy))
    assert (plan.sends_intents, plan.ledger) == (False, ledger)


def test_a_finished_move_is_removed_and_frees_its_place() -> None:
    plan = plan_of(replaced(moves_free=3, holders={"api-3-uid"}, cooldown=COOLDOWN))
    assert [intent.pod for intent in plan.finished] == ["api-3-uid"]
    assert plan.ledger == Ledger()
    assert plan.observed.moves.free == 4
    assert plan.observed.moves.cooldown_until == NOW + COOLDOWN


def test_a_finished_probe_frees_the_next_one_and_is_remembered() -> None:
    observed = replaced(probe_free=False)
    observed = with_replicas(observed, 9, node_type=SPOT)
    ledger = Ledger(intents=(an_intent(probe=True),))
    plan = plan_of(with_facts(observed, ledger=ledger, spot_view=EXHAUSTED))
    assert plan.observed.moves.probe_free
    assert plan.observed.spot_view.availability is SpotAvailability.AVAILABLE
    assert [(record.found, record.at) for record in plan.learned] == [(True, NOW)]


def test_the_cooldown_starts_with_the_last_move_that_finishes() -> None:
    observed = replaced(cooldown=COOLDOWN)
    ledger = Ledger(intents=(an_intent(), an_intent("api-4-uid")))
    observed = with_facts(observed, ledger=ledger)
    plan = plan_of(with_replicas(observed, 4, counts_as_gone=True))
    assert len(plan.finished) == 1
    assert plan.observed.moves.cooldown_until is None


def test_replicas_that_waited_too_long_fall_back_and_nothing_else_moves() -> None:
    plan = plan_of(waiting())
    assert len(plan.fallbacks) == 2
    assert plan.ledger == Ledger()
    assert [(record.found, record.at) for record in plan.learned] == [(False, NOW)]
    assert isinstance(plan.decision, Defer)
    assert plan.decision.message == (
        "no spot node for 2 replicas within spot-fallback; starting on on-demand"
    )
    assert not plan.sends_intents


def test_a_replica_with_an_announced_node_stays_and_is_looked_at_again() -> None:
    observed = waiting()
    found = waiting_for_spot(observed, NOW)
    found = found.with_autoscaler({replica.pod.uid for replica in found.due})
    plan = decide(observed, found, now=NOW, instance="me", can_evict=True)
    assert plan.fallbacks == ()
    assert plan.requeue_after == ANNOUNCED_RETRY


def test_early_evictions_need_the_setting() -> None:
    observed = with_replicas(
        a_workload(spot=7, on_demand=3), 9, on_terminating_node=True, on_reclaimed_node=True
    )
    observed = with_replicas(observed, 9, node_type=SPOT)
    assert plan_of(observed).early_evictions == ()
    (replica,) = plan_of(with_facts(observed, evict_early=True)).early_evictions
    assert replica.pod.name == "api-9"


def test_a_read_only_operator_decides_and_does_nothing() -> None:
    observed = to_spot(read_only=True, ledger=Ledger(intents=(an_intent("gone"),)))
    plan = plan_of(observed)
    assert plan.decision.reason is Reason.READ_ONLY
    assert plan == ReconcilePlan(decision=plan.decision, observed=observed, ledger=observed.ledger)


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_a_plan_takes_the_same_memory_for_any_number_of_desired_replicas(kind: str) -> None:
    def peak_bytes(replicas: int) -> int:
        observed = a_workload(kind=kind, replicas=replicas, on_demand=10, moves=2)
        tracemalloc.start()
        try:
            plan_of(observed)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(10)
    assert peak_bytes(2**31 - 1) < peak_bytes(10) + 4096
