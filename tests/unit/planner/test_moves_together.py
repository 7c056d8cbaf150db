"""Moves that need new spot nodes start together, so that an autoscaler adds one node for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.ledger import Ledger
from spotalis.planner.moves import TOGETHER_PATIENCE
from spotalis.planner.observed import Observed
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    a_workload,
    decision_of,
    is_on_demand,
    is_spot,
    with_facts,
    with_replicas,
)
from tests.unit.planner.ledgers import AVAILABLE, an_intent

SECONDS = timedelta(seconds=1)
autoscalers = pytest.mark.parametrize(
    "autoscaler",
    [
        pytest.param({"has_provisioner": True}, id="Karpenter"),
        pytest.param({"spot_view": AVAILABLE}, id="spot is available"),
    ],
)


def to_spot(**facts: Any) -> Observed:
    """A workload of ten replicas on on-demand, seven of which belong on spot; four may move."""
    return with_facts(a_workload(on_demand=10, percent=70, moves=4), **facts)


def half_moved(age: timedelta, **facts: Any) -> Observed:
    """Of four moves that started together two have finished and two replacements are starting."""
    observed = a_workload(spot=4, on_demand=6, percent=70, moves=4)
    starting = [r.pod.uid for r in observed.replicas if is_spot(r)][:2]
    observed = with_replicas(
        observed, lambda r: r.pod.uid in starting, ready=False, phase="Pending", created_at=NOW
    )
    intents = tuple(
        an_intent(uid, created_at=NOW - age) for uid in ("evicted-1-uid", "evicted-2-uid")
    )
    gone = {intent.pod for intent in intents}
    return with_facts(observed, ledger=Ledger(intents=intents), terminated=gone, **facts)


def count(observed: Observed) -> int:
    decision = decision_of(observed, NOW)
    return len(decision.moves) if isinstance(decision, Evict) else 0


@autoscalers
@pytest.mark.parametrize(
    ("free", "moves"),
    [
        pytest.param(0, 4, id="all need new nodes"),
        pytest.param(3, 3, id="present nodes are filled first"),
        pytest.param(4, 4, id="present nodes hold all"),
    ],
)
def test_moves_fill_present_nodes_before_nodes_are_added(
    autoscaler: dict[str, Any], free: int, moves: int
) -> None:
    assert count(to_spot(free=free, **autoscaler)) == moves


@autoscalers
@pytest.mark.parametrize(
    ("free", "age", "moves"),
    [
        pytest.param(0, 10 * SECONDS, 0, id="they wait for the moves in progress"),
        pytest.param(0, TOGETHER_PATIENCE - SECONDS, 0, id="for two minutes"),
        pytest.param(0, TOGETHER_PATIENCE, 2, id="and no longer"),
        pytest.param(1, 10 * SECONDS, 1, id="what fits on present nodes does not wait"),
    ],
)
def test_moves_that_need_new_nodes_wait_for_the_moves_in_progress(
    autoscaler: dict[str, Any], free: int, age: timedelta, moves: int
) -> None:
    assert count(half_moved(age, free=free, **autoscaler)) == moves


def test_moves_that_wait_for_others_are_reported_and_looked_at_when_the_wait_ends() -> None:
    decision = decision_of(half_moved(10 * SECONDS, free=0, has_provisioner=True), NOW)
    assert decision == Defer(
        Reason.MOVES_IN_FLIGHT,
        "3 replicas to move from on-demand to spot; "
        "the next moves need new nodes and start together, after the moves in progress",
        110 * SECONDS,
    )


def test_a_replica_that_is_not_ready_waits_for_no_other_move() -> None:
    observed = half_moved(10 * SECONDS, free=0, has_provisioner=True)
    pending = next(r.pod.uid for r in observed.replicas if is_on_demand(r))
    observed = with_replicas(
        observed, lambda r: r.pod.uid == pending, ready=False, phase="Pending", node=""
    )
    assert count(observed) == 1


def test_moves_to_on_demand_wait_for_no_other_move() -> None:
    observed = a_workload(spot=8, on_demand=2, percent=0, moves=4)
    intent = an_intent("evicted-1-uid", target=ON_DEMAND, created_at=NOW)
    ledger, gone = Ledger(intents=(intent,)), {"evicted-1-uid"}
    starting = next(r.pod.uid for r in observed.replicas if is_on_demand(r))
    observed = with_replicas(observed, lambda r: r.pod.uid == starting, ready=False, created_at=NOW)
    assert count(with_facts(observed, ledger=ledger, terminated=gone)) == 3
