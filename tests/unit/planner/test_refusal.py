"""Backoff per pod after refused evictions, and what the planner makes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.ledger import Intent, Ledger
from spotalis.planner.decide import decide
from spotalis.planner.fallback import WaitingReplicas
from spotalis.planner.refusal import Refusal, next_refusal, next_retry_in
from tests.support.builders import NOW, SPOT, a_workload, decision_of, with_facts


def a_refusal(seconds: float = 10, *, failures: int = 1, is_certain: bool = True) -> Refusal:
    retry_at = NOW + timedelta(seconds=seconds)
    return Refusal(message="no", failures=failures, retry_at=retry_at, is_certain=is_certain)


@pytest.mark.parametrize(
    ("is_certain", "delays"),
    [
        pytest.param(True, [10, 20, 40, 80, 160, 300, 300], id="refused"),
        pytest.param(False, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300], id="outcome unknown"),
    ],
)
def test_the_delay_doubles_up_to_five_minutes(is_certain: bool, delays: list[int]) -> None:
    refusal, found = None, []
    for _ in delays:
        refusal = next_refusal(refusal, "no", is_certain=is_certain, now=NOW)
        found.append((refusal.retry_at - NOW).total_seconds())
    assert found == delays


def test_the_delay_of_a_pod_that_is_refused_for_days_stays_at_the_maximum() -> None:
    refusal = next_refusal(a_refusal(failures=10_000), "no", is_certain=True, now=NOW)
    assert refusal.retry_at - NOW == timedelta(minutes=5)


def test_the_first_retry_is_the_next_one_that_is_not_due_yet() -> None:
    assert next_retry_in([a_refusal(-1), a_refusal(30), a_refusal(20)], NOW) == timedelta(
        seconds=20
    )
    assert next_retry_in([a_refusal(0)], NOW) is None


def test_a_candidate_that_backs_off_is_skipped() -> None:
    observed = a_workload(on_demand=10, moves=2)
    chosen = decision_of(observed, NOW)
    assert isinstance(chosen, Evict)
    first, second = (move.pod for move in chosen.moves)
    decision = decision_of(with_facts(observed, refusals={first.uid: a_refusal()}), NOW)
    assert isinstance(decision, Evict)
    assert decision.moves[0].pod == second
    assert first not in [move.pod for move in decision.moves]
    again = decision_of(with_facts(observed, refusals={first.uid: a_refusal(0)}), NOW)
    assert again == chosen


def test_if_every_candidate_backs_off_the_refusal_is_named() -> None:
    observed = a_workload(on_demand=10, moves=2)
    refusals = {r.pod.uid: a_refusal() for r in observed.replicas}
    decision = decision_of(with_facts(observed, refusals=refusals), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.EVICTION_REFUSED
    assert decision.message.endswith("was refused: no; next try in 10 s")
    assert decision.requeue_after == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("refusal", "reason", "sends"),
    [
        pytest.param(None, Reason.MOVES_IN_FLIGHT, True, id="sent once"),
        pytest.param(
            a_refusal(is_certain=False),
            Reason.MOVES_IN_FLIGHT,
            False,
            id="one response was lost",
        ),
        pytest.param(
            a_refusal(failures=2, is_certain=False),
            Reason.EVICTION_REFUSED,
            False,
            id="two responses were lost",
        ),
        pytest.param(
            a_refusal(0, failures=2, is_certain=False),
            Reason.EVICTION_REFUSED,
            True,
            id="the backoff has ended",
        ),
    ],
)
def test_an_open_move_backs_off_and_is_named_if_its_eviction_fails_again_and_again(
    refusal: Refusal | None, reason: Reason, sends: bool
) -> None:
    observed = a_workload(on_demand=10, moves=1)
    pod = observed.replicas[9].pod
    intent = Intent(pod=pod.uid, name=pod.name, target=SPOT, instance="me", attempts=2)
    replicas = observed.replicas[:9]
    observed = with_facts(
        observed,
        replicas=replicas,
        ledger=Ledger(intents=(intent,)),
        refusals={pod.uid: refusal} if refusal else {},
    )
    plan = decide(observed, WaitingReplicas(), now=NOW, instance="me", can_evict=True)
    assert (plan.decision.reason, plan.sends_intents) == (reason, sends)
