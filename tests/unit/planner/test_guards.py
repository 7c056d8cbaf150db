"""The conditions that stop all moves, and the order of their reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pytest

from spotalis.model.configuration import Problem
from spotalis.model.decision import Defer, Evict, Hold, Reason
from spotalis.model.disruption import DisruptionPolicy, DisruptionWindow
from spotalis.model.policy_values import FOREVER
from spotalis.planner.guards import MOVE_GUARDS, WORKLOAD_GUARDS, to_move
from spotalis.planner.observed import Observed
from spotalis.planner.refusal import Refusal
from tests.support.builders import (
    DEPLOYMENT,
    LONG_AGO,
    NOW,
    STATEFUL_SET,
    a_budget,
    a_workload,
    decision_of,
    with_configuration,
    with_facts,
    with_replicas,
    with_workload,
)

PROBLEM = Problem(key="spot-percentage", value="7O", message="must be", source="annotation")
CLOSED = DisruptionWindow(
    schedule="0 2 * * *", duration=timedelta(hours=1), timezone=ZoneInfo("UTC")
)
OPEN = dataclasses.replace(CLOSED, schedule="30 9 * * *")
MINUTE = timedelta(minutes=1)
REFUSED = Refusal(message="denied", failures=1, retry_at=NOW + MINUTE)

Change: TypeAlias = Callable[[Observed], Observed]


def to_be_moved(**changes: Any) -> Observed:
    """A workload of which 7 of 10 replicas must move to spot; no guard blocks them."""
    return a_workload(**({"on_demand": 10, "moves": 20} | changes))


def changed(**changes: Any) -> Change:
    return lambda observed: with_facts(observed, **changes)


def configured(**changes: Any) -> Change:
    return lambda observed: with_configuration(observed, **changes)


def limited_by(**changes: Any) -> Change:
    def change(observed: Observed) -> Observed:
        policy = dataclasses.replace(observed.configuration.disruption, **changes)
        return with_configuration(observed, disruption=policy)

    return change


def workload_with(**changes: Any) -> Change:
    return lambda observed: with_workload(observed, **changes)


def only_the_floor_is_ready(observed: Observed) -> Observed:
    return with_replicas(observed, range(2, 10), ready=False, protected=True)


IN_ORDER: Mapping[Reason, Change] = {
    Reason.NOT_MANAGED: configured(enabled=False),
    # Before "no policy": an invalid value may have been meant as a policy.
    Reason.INVALID_POLICY: configured(problems=(PROBLEM,)),
    Reason.NO_POLICY: configured(spot_percentage=None, min_on_demand=None),
    Reason.READ_ONLY: changed(read_only=True),
    Reason.PAUSED: limited_by(paused_until=FOREVER),
    Reason.CACHE_NOT_READY: changed(synced=False),
    Reason.IMPLAUSIBLE_VIEW: changed(suspect_list="400 of 500 pods vanished from a list"),
    Reason.ROLLOUT_IN_PROGRESS: workload_with(observed_generation=0),
    Reason.SCALING: workload_with(status_replicas=9, updated_replicas=9),
    Reason.NO_CLASSIFIER: changed(classified=False),
    Reason.STORM_FROZEN: changed(storm_until=NOW + MINUTE),
    Reason.MOVES_IN_FLIGHT: changed(moves_free=0),
    Reason.COOLDOWN: changed(cooldown_until=NOW + MINUTE),
    Reason.OUTSIDE_WINDOW: limited_by(window=CLOSED),
    Reason.EVICTION_REFUSED: lambda observed: with_facts(
        observed, refusals={r.pod.uid: REFUSED for r in observed.replicas}
    ),
    Reason.BLOCKED_BY_PDB: changed(budgets=(a_budget(0),)),
    Reason.FLOOR_UNMET: only_the_floor_is_ready,
    Reason.NO_SPOT_CAPACITY: changed(free=0, probe_free=False),
}


def test_replicas_move_if_no_guard_blocks_them() -> None:
    assert isinstance(decision_of(to_be_moved(), NOW), Evict)


@pytest.mark.parametrize("reason", list(IN_ORDER))
def test_each_guard_stops_moves_with_its_reason(reason: Reason) -> None:
    decision = decision_of(IN_ORDER[reason](to_be_moved()), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is reason
    assert decision.message


@pytest.mark.parametrize(("first", "second"), list(combinations(IN_ORDER, 2)), ids=str)
def test_the_first_of_two_reasons_is_reported(first: Reason, second: Reason) -> None:
    both = IN_ORDER[second](IN_ORDER[first](to_be_moved()))
    decision = decision_of(both, NOW)
    if (first, second) == (Reason.NOT_MANAGED, Reason.INVALID_POLICY):
        first = second  # an invalid ``enabled`` is a problem, not an opt-out
    assert isinstance(decision, Defer)
    assert decision.reason is first


@pytest.mark.parametrize(
    ("reason", "stops"),
    [
        pytest.param(Reason.NOT_MANAGED, True, id="not managed"),
        pytest.param(Reason.INVALID_POLICY, True, id="invalid"),
        pytest.param(Reason.NO_POLICY, True, id="no policy"),
        pytest.param(Reason.READ_ONLY, False, id="read-only"),
        pytest.param(Reason.PAUSED, True, id="paused"),
        pytest.param(Reason.CACHE_NOT_READY, True, id="not synced"),
        pytest.param(Reason.IMPLAUSIBLE_VIEW, True, id="implausible"),
        pytest.param(Reason.ROLLOUT_IN_PROGRESS, True, id="rollout"),
        pytest.param(Reason.SCALING, True, id="scaling"),
        pytest.param(Reason.NO_CLASSIFIER, True, id="no classifier"),
        pytest.param(Reason.STORM_FROZEN, False, id="a storm"),
        pytest.param(Reason.MOVES_IN_FLIGHT, False, id="moves in flight"),
        pytest.param(Reason.COOLDOWN, False, id="cooldown"),
        pytest.param(Reason.OUTSIDE_WINDOW, False, id="window"),
        pytest.param(Reason.BLOCKED_BY_PDB, False, id="budget"),
        pytest.param(Reason.NO_SPOT_CAPACITY, False, id="capacity"),
    ],
)
def test_some_guards_apply_even_if_no_replica_must_move(reason: Reason, stops: bool) -> None:
    decision = decision_of(IN_ORDER[reason](a_workload(spot=7, on_demand=3)), NOW)
    assert isinstance(decision, Defer if stops else Hold)
    assert decision.reason is (reason if stops else Reason.BALANCED)


def test_all_problems_are_in_the_message() -> None:
    two = (PROBLEM, dataclasses.replace(PROBLEM, key="min-on-demand"))
    decision = decision_of(with_configuration(to_be_moved(), enabled=False, problems=two), NOW)
    assert decision.reason is Reason.INVALID_POLICY
    assert "spotalis.io/spot-percentage '7O' must be" in decision.message
    assert "spotalis.io/min-on-demand '7O' must be" in decision.message


@pytest.mark.parametrize(
    ("change", "requeue_after"),
    [
        pytest.param(limited_by(paused_until=NOW + MINUTE), MINUTE, id="a pause ends"),
        pytest.param(limited_by(paused_until=FOREVER), None, id="a pause without an end"),
        pytest.param(changed(cooldown_until=NOW + MINUTE), MINUTE, id="a cooldown ends"),
        pytest.param(limited_by(window=CLOSED), timedelta(hours=16), id="a window opens"),
        pytest.param(changed(storm_until=NOW + MINUTE), MINUTE, id="a storm ends"),
        pytest.param(changed(moves_free=0), None, id="an event follows when a move ends"),
    ],
)
def test_a_decision_that_time_changes_is_requeued(
    change: Change, requeue_after: timedelta | None
) -> None:
    decision = decision_of(change(to_be_moved()), NOW)
    assert isinstance(decision, Defer)
    assert decision.requeue_after == requeue_after


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(limited_by(paused_until=NOW), id="the pause is over"),
        pytest.param(changed(storm_until=NOW), id="the storm is over"),
        pytest.param(changed(cooldown_until=NOW), id="the cooldown is over"),
        pytest.param(limited_by(window=OPEN), id="the window is open"),
    ],
)
def test_expired_limits_do_not_stop_moves(change: Change) -> None:
    assert isinstance(decision_of(change(to_be_moved()), NOW), Evict)


def test_a_storm_does_not_stop_moves_to_on_demand() -> None:
    observed = a_workload(spot=10, moves=20, storm_until=NOW + MINUTE)
    assert isinstance(decision_of(observed, NOW), Evict)


REVISION = "controller-revision-hash"


def two_sets(observed: Observed) -> Observed:
    """Return a copy in which one pod belongs to another ReplicaSet."""
    owner = observed.replicas[0].pod.owner
    assert owner is not None
    other = type(owner)(group="apps", kind="ReplicaSet", name="api-54bd9c", uid="another-uid")
    return with_replicas(observed, 0, owner=other)


def labelled(which: int, revision: str) -> Change:
    return lambda observed: with_replicas(observed, which, labels={REVISION: revision})


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        pytest.param(DEPLOYMENT, workload_with(), None, id="a Deployment at rest"),
        pytest.param(STATEFUL_SET, workload_with(), None, id="a StatefulSet at rest"),
        pytest.param(
            DEPLOYMENT,
            workload_with(generation=2),
            Reason.ROLLOUT_IN_PROGRESS,
            id="the controller has not seen the change",
        ),
        pytest.param(
            STATEFUL_SET,
            workload_with(generation=2),
            Reason.ROLLOUT_IN_PROGRESS,
            id="the controller has not seen the change of a StatefulSet",
        ),
        pytest.param(
            DEPLOYMENT,
            workload_with(updated_replicas=4),
            Reason.ROLLOUT_IN_PROGRESS,
            id="fewer updated replicas than desired",
        ),
        pytest.param(
            DEPLOYMENT,
            workload_with(status_replicas=11),
            Reason.ROLLOUT_IN_PROGRESS,
            id="an old pod besides all new ones",
        ),
        pytest.param(
            DEPLOYMENT,
            two_sets,
            Reason.ROLLOUT_IN_PROGRESS,
            id="a pod of the old ReplicaSet remains",
        ),
        pytest.param(
            DEPLOYMENT,
            lambda o: with_replicas(two_sets(o), 0, deleting_at=LONG_AGO),
            None,
            id="the last old pod is terminating",
        ),
        pytest.param(
            STATEFUL_SET,
            workload_with(update_revision="api-2", updated_replicas=4),
            Reason.ROLLOUT_IN_PROGRESS,
            id="a StatefulSet is being updated",
        ),
        pytest.param(
            STATEFUL_SET,
            workload_with(update_revision="api-2", updated_replicas=4, partition=6),
            None,
            id="the update has reached the partition",
        ),
        pytest.param(
            STATEFUL_SET,
            workload_with(update_revision="api-2", updated_replicas=3, partition=6),
            Reason.ROLLOUT_IN_PROGRESS,
            id="the update has not reached the partition",
        ),
        pytest.param(
            STATEFUL_SET,
            lambda o: workload_with(update_revision="api-2", updated_replicas=9, on_delete=True)(
                labelled(4, "api-1")(o)
            ),
            Reason.ROLLOUT_IN_PROGRESS,
            id="an eviction would update a pod of an OnDelete StatefulSet",
        ),
        pytest.param(
            STATEFUL_SET,
            lambda o: workload_with(update_revision="api-2", updated_replicas=0, on_delete=True)(
                labelled(4, "api-2")(o)
            ),
            None,
            id="every labelled pod of an OnDelete StatefulSet is new, although its status differs",
        ),
        pytest.param(
            STATEFUL_SET,
            lambda o: workload_with(update_revision="api-1", updated_replicas=10, on_delete=True)(
                labelled(4, "api-2")(o)
            ),
            Reason.ROLLOUT_IN_PROGRESS,
            id="after a rollback, a pod of an OnDelete StatefulSet has the withdrawn revision",
        ),
        pytest.param(
            STATEFUL_SET,
            labelled(4, "api-2"),
            Reason.ROLLOUT_IN_PROGRESS,
            id="after a rollback, a pod has the withdrawn revision",
        ),
        pytest.param(
            STATEFUL_SET, labelled(4, "api-1"), None, id="all pods have the current revision"
        ),
        pytest.param(
            STATEFUL_SET,
            lambda o: workload_with(update_revision="api-2", updated_replicas=4, partition=6)(
                labelled(5, "api-1")(o)
            ),
            None,
            id="a pod below the partition may keep its revision",
        ),
        pytest.param(
            STATEFUL_SET,
            lambda o: with_replicas(labelled(4, "api-2")(o), 4, counts_as_gone=True),
            None,
            id="a pod of another revision is being evicted",
        ),
        pytest.param(
            DEPLOYMENT,
            workload_with(status_replicas=9, updated_replicas=9),
            Reason.SCALING,
            id="a Deployment scales up",
        ),
        pytest.param(
            DEPLOYMENT,
            workload_with(status_replicas=11, updated_replicas=11),
            Reason.SCALING,
            id="a Deployment scales down",
        ),
        pytest.param(
            STATEFUL_SET,
            workload_with(status_replicas=9),
            Reason.SCALING,
            id="a StatefulSet scales up",
        ),
    ],
)
def test_rollouts_and_scaling_stop_moves(kind: str, change: Change, reason: Reason | None) -> None:
    decision = decision_of(change(to_be_moved(kind=kind)), NOW)
    if reason is None:
        assert isinstance(decision, Evict)
    else:
        assert isinstance(decision, Defer)
        assert decision.reason is reason


def test_to_move_names_the_replicas_to_move() -> None:
    assert to_move(to_be_moved()) == "7 replicas to move from on-demand to spot"
    assert to_move(a_workload(spot=8, on_demand=2)) == "1 replica to move from spot to on-demand"
    assert to_move(a_workload(spot=7, on_demand=3)) == ""


def test_a_read_only_operator_says_what_it_would_do() -> None:
    decision = decision_of(to_be_moved(read_only=True), NOW)
    assert decision.message == (
        "7 replicas to move from on-demand to spot; the operator is read-only; it would evict "
        "api-9, api-8, api-7, api-5, api-4, api-3, api-2 now"
    )


def test_no_guard_blocks_an_unrestricted_workload() -> None:
    for guard in (*WORKLOAD_GUARDS, *MOVE_GUARDS):
        assert guard(to_be_moved(), NOW) is None


def test_a_pause_is_compared_with_the_given_time() -> None:
    policy = DisruptionPolicy(paused_until=NOW)
    observed = with_configuration(to_be_moved(), disruption=policy)
    earlier: datetime = NOW - MINUTE
    assert isinstance(decision_of(observed, earlier), Defer)
    assert isinstance(decision_of(observed, NOW), Evict)
