"""Properties of every decision: limits, reasons, independence of order, and progress."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.decision import Evict, Reason
from spotalis.planner.observed import Observed
from tests.support.builders import (
    BOTH_KINDS,
    LONG_AGO,
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    UNKNOWN,
    a_budget,
    a_replica,
    a_workload,
    decision_of,
    owner_of,
    with_workload,
)
from tests.support.histories import History

PERCENTS = (0, 1, 10, 25, 33, 50, 60, 67, 70, 73, 75, 90, 99, 100)


REPLICA = st.fixed_dictionaries(
    {
        "slot": st.none() | st.integers(0, 12),
        "node": st.sampled_from(("one", "two", "three")),
        "other_pods": st.integers(0, 2),
        "labels": st.sampled_from(({"app": "api"}, {"app": "api"}, {})),
    }
)
WELL: dict[str, Any] = {}
CONDITION = st.sampled_from(
    (
        *[WELL] * 40,
        {"ready": False, "protected": True},
        {"ready": False, "protected": True},
        {"ready": False},
        {"ready": False, "phase": "Pending", "node": ""},
        {"ready": False, "phase": "Failed"},
        {"ready_at": NOW},
        {"on_terminating_node": True},
        {"counts_as_gone": True},
        {"deleting_at": LONG_AGO},
        {"user_pinned": True},
        {"protected": True},
    )
)
BUDGETS = st.lists(
    st.builds(
        a_budget,
        st.integers(0, 2),
        name=st.sampled_from(("a", "b")),
        healthy=st.integers(7, 10),
        always_allow_unhealthy=st.booleans(),
    ),
    max_size=2,
)


@st.composite
def anything(draw: st.DrawFn) -> Observed:
    kind = draw(st.sampled_from(BOTH_KINDS))
    mostly = draw(st.sampled_from((SPOT, ON_DEMAND)))
    node_types = st.sampled_from((*[mostly] * 6, mostly.other, UNKNOWN))
    size = draw(st.sampled_from((1, 4, 8, 12)))
    one_of_them = st.tuples(node_types, REPLICA, CONDITION)
    fields = draw(st.lists(one_of_them, min_size=size, max_size=size))
    replicas = tuple(
        a_replica(
            name=f"api-{number}", node_type=node_type, owner=owner_of(kind), **(one | condition)
        )
        for number, (node_type, one, condition) in enumerate(fields)
    )
    return dataclasses.replace(
        a_workload(
            kind=kind,
            replicas=len(replicas),
            percent=draw(st.sampled_from((0, 0, 30, 70, 100, 100))),
            floor=draw(st.integers(0, 6)),
            moves=draw(st.sampled_from((1, 2, 5, 12, 12))),
            ordered=kind == STATEFUL_SET and draw(st.booleans()),
            min_ready_seconds=draw(st.sampled_from((0, 30))),
            budgets=draw(BUDGETS),
            free=draw(st.sampled_from((None, None, 0, 2, 9))),
            moves_free=draw(st.sampled_from((0, 1, 3, 12, 12, 12))),
        ),
        workload=with_workload(
            a_workload(kind=kind, replicas=len(replicas)),
            status_replicas=len(replicas),
            updated_replicas=len(replicas),
        ).workload,
        replicas=replicas,
    )


@given(observed=anything(), data=st.data())
def test_the_decision_does_not_depend_on_the_order_of_its_input(
    observed: Observed, data: st.DataObject
) -> None:
    shuffled = dataclasses.replace(
        observed,
        replicas=tuple(data.draw(st.permutations(observed.replicas))),
        budgets=tuple(data.draw(st.permutations(observed.budgets))),
    )
    assert decision_of(shuffled, NOW) == decision_of(observed, NOW)


@given(observed=anything())
def test_no_plan_exceeds_a_limit(observed: Observed) -> None:
    decision = decision_of(observed, NOW)
    if not isinstance(decision, Evict):
        return
    surplus_type = observed.state.surplus_type
    assert surplus_type is not None
    by_uid = {replica.pod.uid: replica for replica in observed.replicas}
    going = [by_uid[move.pod.uid] for move in decision.moves]
    ready = [replica for replica in going if replica.is_ready]
    assert len({replica.pod.uid for replica in going}) == len(going)
    assert {move.target for move in decision.moves} == {surplus_type.other}
    for replica in going:
        assert replica.node_type is surplus_type
        assert replica.is_active
        assert not replica.user_pinned
        assert not replica.pod.protected
    assert len(going) <= observed.state.surplus(surplus_type)
    assert len(going) <= observed.free_in_cluster
    if any(move.probe for move in decision.moves):
        assert observed.spot.free == 0
        assert len(going) == 1
    elif surplus_type is ON_DEMAND and observed.spot.free is not None:
        assert len(going) <= observed.spot.free
    assert not ready or len(ready) <= observed.moves_left(NOW)
    if surplus_type is ON_DEMAND and ready:
        assert observed.ready_on_demand - len(ready) >= observed.configuration.floor
    if len(observed.budgets) == 1:
        (budget,) = observed.budgets
        under_it = [r for r in ready if r.pod.labels and r.pod.phase == "Running"]
        assert len(under_it) <= budget.disruptions_allowed
    if len(observed.budgets) == 2:
        assert not any(r.pod.labels and r.pod.phase == "Running" for r in going)
    # A ready replica moves only if no unready replica of its type can move instead.
    if ready and not observed.budgets:
        unready = [
            r
            for r in observed.active
            if r.node_type is surplus_type and not (r.pod.ready or r.user_pinned or r.pod.protected)
        ]
        assert all(replica in going for replica in unready)


@given(observed=anything())
def test_every_decision_has_a_message_and_a_fitting_reason(observed: Observed) -> None:
    decision = decision_of(observed, NOW)
    assert decision.message
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        assert not isinstance(decision, Evict)
        assert (decision.reason is Reason.BALANCED) == observed.state.is_balanced
    else:
        assert decision.reason not in (Reason.BALANCED, Reason.WAITING_FOR_PODS)


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("moves", [1, 3])
def test_every_move_reduces_the_distance_and_none_is_reversed(kind: str, moves: int) -> None:
    for replicas in (1, 2, 3, 5, 8, 10, 12):
        for percent in PERCENTS:
            for floor in (0, 1, 2, 5):
                for on_spot in range(replicas + 1):
                    adopted = [SPOT] * on_spot + [ON_DEMAND] * (replicas - on_spot)
                    history = History(
                        kind=kind, adopted=adopted, percent=percent, floor=floor, moves=moves
                    )
                    assert_one_reconcile_reduces_the_distance(history, replicas, moves)


def assert_one_reconcile_reduces_the_distance(history: History, replicas: int, moves: int) -> None:
    before_it = distance(history)
    before = history.evict()
    assert isinstance(before, Evict) == (before_it > 0)
    if not isinstance(before, Evict):
        return
    assert len(before.moves) == min(before_it, moves)
    while len(history.living) < replicas:
        history.create()
        history.see(1)
        history.make_ready(replicas)
    assert distance(history) == before_it - len(before.moves)
    after = history.decide()
    if isinstance(after, Evict):
        assert {move.target for move in after.moves} == {move.target for move in before.moves}


def distance(history: History) -> int:
    observed = history.observed
    surplus_type = observed.state.surplus_type
    return observed.state.surplus(surplus_type) if surplus_type else 0
