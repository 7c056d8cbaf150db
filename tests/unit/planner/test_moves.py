"""How many replicas move, which ones, and why not more."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from spotalis.model.decision import Decision, Defer, Evict, Hold, Reason
from spotalis.model.replicas import desired_spot
from spotalis.planner.observed import Observed
from spotalis.planner.refusal import Refusal
from tests.support.builders import (
    BOTH_KINDS,
    LONG_AGO,
    NOW,
    ON_DEMAND,
    STATEFUL_SET,
    a_budget,
    a_workload,
    decision_of,
    is_on_demand,
    is_spot,
    with_facts,
    with_replicas,
)

PERCENTS = (0, 1, 10, 25, 33, 50, 60, 67, 70, 73, 75, 90, 99, 100)


def moved(decision: Decision) -> list[str]:
    assert isinstance(decision, Evict), decision
    return [move.pod.name for move in decision.moves]


def reason_of(decision: Decision) -> Reason:
    assert isinstance(decision, Defer), decision
    return decision.reason


def test_a_correct_split_is_kept() -> None:
    decision = decision_of(a_workload(spot=7, on_demand=3), NOW)
    assert decision == Hold(Reason.BALANCED, "3 on-demand and 7 spot replicas, as desired")


def test_a_workload_with_missing_pods_waits_if_no_pod_is_on_the_wrong_type() -> None:
    decision = decision_of(
        with_replicas(a_workload(spot=7, on_demand=3), 0, counts_as_gone=True), NOW
    )
    assert reason_of(decision) is Reason.WAITING_FOR_PODS
    assert "desired 3 on-demand and 7 spot" in decision.message


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_every_correct_split_needs_no_move(kind: str) -> None:
    for replicas in range(13):
        for percent in PERCENTS:
            for floor in (0, 1, 2, 5, 12):
                on_spot = desired_spot(replicas, percent, floor)
                observed = a_workload(
                    kind=kind,
                    spot=on_spot,
                    on_demand=replicas - on_spot,
                    percent=percent,
                    floor=floor,
                )
                assert isinstance(decision_of(observed, NOW), Hold), (replicas, percent, floor)


PENDING = {"ready": False, "phase": "Pending", "node": ""}


@pytest.mark.parametrize(
    ("observed", "count"),
    [
        pytest.param(a_workload(spot=10), 1, id="one by default"),
        pytest.param(a_workload(spot=10, moves=2), 2, id="two if the policy allows two"),
        pytest.param(a_workload(spot=10, moves=20), 3, id="never more than the surplus"),
        pytest.param(
            with_replicas(a_workload(spot=7, on_demand=3, percent=30, moves=3), 0, ready=False),
            2,
            id="a missing replica counts",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [8, 9], counts_as_gone=True),
            1,
            id="open moves count",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [8, 9], deleting_at=LONG_AGO),
            1,
            id="terminating pods count",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=3, min_ready_seconds=30),
                [8, 9],
                ready_at=NOW - timedelta(seconds=29),
            ),
            1,
            id="pods not ready for minReadySeconds count",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=3, min_ready_seconds=30),
                [8, 9],
                ready_at=NOW - timedelta(seconds=30),
            ),
            3,
            id="pods ready for minReadySeconds do not count",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=1), [0, 1], ready=False),
            2,
            id="unready replicas may always move",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [0], ready=False),
            3,
            id="unready replicas count as missing once",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=2), [0, 1], ready=False),
            2,
            id="no ready replica moves beyond the limit",
        ),
        pytest.param(
            a_workload(kind=STATEFUL_SET, spot=10, moves=3, ordered=True),
            1,
            id="one of an ordered StatefulSet",
        ),
        pytest.param(
            a_workload(kind=STATEFUL_SET, spot=10, moves=3),
            3,
            id="as allowed of a parallel StatefulSet",
        ),
        pytest.param(
            a_workload(spot=10, moves=9, moves_free=2), 2, id="as many as the cluster allows"
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, floor=0, moves_free=1), [0, 1], ready=False),
            1,
            id="the cluster limit holds for unready replicas",
        ),
        pytest.param(a_workload(on_demand=10, moves=9, free=3), 3, id="as many as fit on spot"),
        pytest.param(a_workload(on_demand=10, moves=9), 7, id="all if spot capacity is unlimited"),
        pytest.param(
            a_workload(spot=10, moves=9, free=0),
            3,
            id="spot capacity does not limit moves to on-demand",
        ),
        pytest.param(
            a_workload(spot=10, moves=9, budgets=[a_budget(2)]), 2, id="as many as a budget allows"
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9, budgets=[a_budget(1)]), range(5), labels={}),
            3,
            id="a budget that selects other pods is ignored",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=1, budgets=[a_budget(0, healthy=9, desired=9)]),
                0,
                ready=False,
            ),
            1,
            id="a budget that is met without the unready pod is ignored",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9), range(8), protected=True),
            2,
            id="pods that ask not to be disrupted stay",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9), range(8), user_pinned=True),
            2,
            id="pods pinned by the template stay",
        ),
        pytest.param(
            with_replicas(a_workload(on_demand=10, moves=9, floor=2), range(2, 10), **PENDING),
            7,
            id="Pending pods do not count toward the minimum",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9, floor=6), range(5), counts_as_gone=True),
            1,
            id="moves to on-demand do not need the minimum",
        ),
        pytest.param(
            a_workload(spot=9, unknown=1, moves=9), 3, id="pods of unknown type are subtracted"
        ),
    ],
)
def test_the_number_of_moves(observed: Observed, count: int) -> None:
    assert len(moved(decision_of(observed, NOW))) == count


@pytest.mark.parametrize(
    ("ready", "floor", "count"),
    [
        pytest.param(10, 2, 7, id="all 7, because 3 stay ready"),
        pytest.param(5, 2, 5, id="5 unready replicas, and at most 2 of 5 ready ones"),
        pytest.param(3, 2, 7, id="unready replicas do not count for the floor"),
    ],
)
def test_the_floor_counts_ready_replicas(ready: int, floor: int, count: int) -> None:
    observed = a_workload(on_demand=10, moves=9, floor=floor)
    observed = with_replicas(observed, range(ready, 10), ready=False)
    decision = decision_of(observed, NOW)
    names = moved(decision)
    ready_gone = [name for name in names if int(name.removeprefix("api-")) < ready]
    assert ready - len(ready_gone) >= floor
    assert len(names) >= count


def test_the_floor_can_limit_moves_before_the_surplus_does() -> None:
    # 4 ready on-demand replicas with a floor of 3, and 6 protected ones.
    observed = a_workload(on_demand=10, floor=3, moves=9)
    observed = with_replicas(observed, range(4, 10), ready=False, protected=True)
    assert len(moved(decision_of(observed, NOW))) == 1
    floor = with_replicas(observed, 3, ready=False, protected=True)
    assert reason_of(decision_of(floor, NOW)) is Reason.FLOOR_UNMET


def test_replicas_on_nodes_that_are_being_reclaimed_do_not_count_toward_the_minimum() -> None:
    """Four on-demand replicas: two are ready, one stays and is not ready, one is about to go."""
    observed = with_replicas(
        a_workload(on_demand=4, percent=100, floor=2, moves=9), 2, ready=False, protected=True
    )
    assert len(moved(decision_of(observed, NOW))) == 1
    reclaimed = with_replicas(observed, 3, on_terminating_node=True)
    assert reason_of(decision_of(reclaimed, NOW)) is Reason.FLOOR_UNMET


def test_the_tightest_limit_decides_the_number_of_moves() -> None:
    wrong, bounds = 5, (0, 1, 3, 9)  # all 5 at 100 % without a floor
    for moves, free, space, allowed in product(bounds[1:], bounds, bounds, bounds):
        observed = a_workload(
            on_demand=wrong,
            percent=100,
            floor=0,
            moves=moves,
            moves_free=free,
            free=space,
            budgets=[a_budget(allowed)],
        )
        decision = decision_of(observed, NOW)
        count = len(decision.moves) if isinstance(decision, Evict) else 0
        probed = max(1, space)  # without free resources, one replica is a probe
        assert count == min(wrong, moves, free, probed, allowed), (moves, free, space, allowed)


def test_no_plan_takes_ready_on_demand_replicas_below_the_floor() -> None:
    # Protected unready replicas count for their type, but not for the floor.
    for floor, ready, unready, stuck in product(range(5), range(7), range(4), range(4)):
        on_demand = ready + unready + stuck
        for percent, spot_too in product((40, 70, 100), (0, 3)):
            observed = a_workload(
                on_demand=on_demand, spot=spot_too, percent=percent, floor=floor, moves=99
            )
            numbers = [i for i, r in enumerate(observed.replicas) if is_on_demand(r)]
            observed = with_replicas(observed, numbers[ready:], ready=False)
            observed = with_replicas(observed, numbers[ready + unready :], protected=True)
            decision = decision_of(observed, NOW)
            if isinstance(decision, Evict) and observed.state.surplus_type is ON_DEMAND:
                gone = sum(move.pod.ready for move in decision.moves)
                assert gone == 0 or ready - gone >= floor, (floor, ready, unready, stuck, percent)


@pytest.mark.parametrize(
    ("observed", "reason", "says"),
    [
        pytest.param(
            with_replicas(a_workload(spot=7, on_demand=3, percent=30), is_on_demand, ready=False),
            Reason.MOVES_IN_FLIGHT,
            "max-moves-in-flight is reached",
            id="too many replicas are missing",
        ),
        pytest.param(
            a_workload(spot=10, floor=0, moves_free=0),
            Reason.MOVES_IN_FLIGHT,
            "maxMovesInFlight is reached in the cluster",
            id="the cluster limit is reached",
        ),
        pytest.param(
            a_workload(spot=10, floor=0, moves_free=0, is_share=True),
            Reason.MOVES_IN_FLIGHT,
            "maxMovesInFlight is reached by the namespace's share",
            id="the namespace has its share of the cluster limit",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, floor=0, moves_free=0), 0, ready=False),
            Reason.MOVES_IN_FLIGHT,
            "maxMovesInFlight is reached in the cluster",
            id="the cluster limit is reached with an unready pod",
        ),
        pytest.param(
            with_replicas(
                a_workload(kind=STATEFUL_SET, spot=10, moves=9, ordered=True),
                9,
                counts_as_gone=True,
            ),
            Reason.MOVES_IN_FLIGHT,
            "max-moves-in-flight is reached",
            id="a move of an ordered StatefulSet is open",
        ),
        pytest.param(
            a_workload(spot=10, budgets=[a_budget(0)]),
            Reason.BLOCKED_BY_PDB,
            "pdb/api allows 0 disruptions; 3 replicas to move from spot to on-demand",
            id="a budget allows no disruption",
        ),
        pytest.param(
            a_workload(spot=10, budgets=[a_budget(9), a_budget(9, name="b")]),
            Reason.BLOCKED_BY_PDB,
            "more than one PodDisruptionBudget: api, b",
            id="two budgets",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, budgets=[a_budget(0, healthy=8, desired=9)]), 0, ready=False
            ),
            Reason.BLOCKED_BY_PDB,
            "pdb/api allows 0 disruptions",
            id="an unready pod is blocked and no ready pod replaces it",
        ),
        pytest.param(
            a_workload(on_demand=10, free=0, probe_free=False),
            Reason.NO_SPOT_CAPACITY,
            "no Ready spot node has free resources for it",
            id="no spot node has free resources",
        ),
        pytest.param(
            with_replicas(a_workload(on_demand=10, free=0, probe_free=False), 0, ready=False),
            Reason.NO_SPOT_CAPACITY,
            "no Ready spot node has free resources for it",
            id="no spot node has free resources for an unready pod",
        ),
        pytest.param(
            a_workload(on_demand=10, free=0, is_known=False, probe_free=False),
            Reason.NO_SPOT_CAPACITY,
            "free resources of spot nodes are not known with watchNamespaces",
            id="spot capacity is unknown",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10), is_spot, user_pinned=True),
            Reason.PINNED,
            "the pod template selects spot",
            id="the template pins the pods",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10), is_spot, protected=True),
            Reason.NO_CANDIDATE,
            "from spot to on-demand, but of the 10 spot replicas 10 ask not to be disrupted",
            id="the pods ask not to be disrupted",
        ),
    ],
)
def test_without_a_move_the_decision_names_the_reason(
    observed: Observed, reason: Reason, says: str
) -> None:
    decision = decision_of(observed, NOW)
    assert reason_of(decision) is reason
    assert says in decision.message


def test_the_message_of_a_move_names_all_replicas_to_move() -> None:
    decision = decision_of(a_workload(spot=10), NOW)
    assert isinstance(decision, Evict)
    assert decision.reason is Reason.REBALANCING
    assert decision.message == "3 replicas to move from spot to on-demand"
    assert [move.target for move in decision.moves] == [ON_DEMAND]


def test_no_ready_replica_moves_in_the_place_of_a_waiting_one_that_may_not_be_evicted_now() -> None:
    observed = a_workload(spot=6, on_demand=4, percent=70, moves=5)
    waiting = next(r for r in observed.replicas if r.node_type is ON_DEMAND)
    observed = with_replicas(
        observed,
        lambda replica: replica.pod.uid == waiting.pod.uid,
        node="",
        phase="Pending",
        ready=False,
    )
    assert moved(decision_of(observed)) == [waiting.pod.name]
    refusal = Refusal(message="denied", failures=1, retry_at=NOW + timedelta(minutes=1))
    decision = decision_of(with_facts(observed, refusals={waiting.pod.uid: refusal}))
    assert reason_of(decision) is Reason.EVICTION_REFUSED
