"""How many replicas move, which ones, and why not more."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.decision import Decision, Defer, Evict, Hold, Reason
from spotalis.model.ledger import Ledger, SpotAvailability
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms, Requirement
from spotalis.model.replicas import desired_spot
from spotalis.planner.observed import Observed, VolumeCapacity
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
    is_on_demand,
    is_spot,
    owner_of,
    with_replicas,
    with_workload,
)
from tests.support.histories import History

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
            with_replicas(a_workload(spot=10, moves_free=1), [0, 1], ready=False),
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
            a_workload(spot=10, moves_free=0),
            Reason.MOVES_IN_FLIGHT,
            "maxMovesInFlight is reached in the cluster",
            id="the cluster limit is reached",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves_free=0), 0, ready=False),
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
            "every spot replica asks not to be disrupted",
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


def in_zone(zone: str) -> NodeTerms:
    return ((Requirement("topology.kubernetes.io/zone", "In", (zone,)),),)


FITS_ONE = VolumeCapacity(where="in a", free=1)
FITS_NONE = VolumeCapacity(where="in a")
NOWHERE = VolumeCapacity(where="in b", node_types={ON_DEMAND})


@pytest.mark.parametrize(
    ("in_zone_a", "spot_availability", "others", "moved_ordinals"),
    [
        pytest.param(FITS_ONE, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="one of them fits"),
        pytest.param(FITS_NONE, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="none fits: one probe"),
        pytest.param(
            NOWHERE, SpotAvailability.UNKNOWN, 2, [1, 0], id="no node can attach the volume"
        ),
        pytest.param(
            NOWHERE,
            SpotAvailability.UNKNOWN,
            0,
            [1],
            id="no node can attach the volume, not even for a probe",
        ),
        pytest.param(
            NOWHERE, SpotAvailability.AVAILABLE, 0, [1, 0], id="spot is available elsewhere only"
        ),
        pytest.param(
            VolumeCapacity(where="in a", has_provisioner=True),
            SpotAvailability.UNKNOWN,
            2,
            [3, 2, 1, 0],
            id="Karpenter adds nodes there",
        ),
    ],
)
def test_replicas_move_only_where_their_volumes_can_be_attached(
    in_zone_a: VolumeCapacity,
    spot_availability: SpotAvailability,
    others: int,
    moved_ordinals: list[int],
) -> None:
    """The volumes of api-2 and api-3 are in zone a. Outside it, ``others`` replicas fit."""
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=4,
        percent=100,
        floor=0,
        moves=4,
        free=others,
        by_volume={in_zone("a"): in_zone_a},
        ledger=Ledger(spot_availability=spot_availability),
    )
    decision = decision_of(with_replicas(observed, (2, 3), volume_affinity=in_zone("a")), NOW)
    assert moved(decision) == [f"api-{number}" for number in moved_ordinals]


def test_only_one_of_two_zones_is_probed_at_a_time() -> None:
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=2,
        percent=100,
        floor=0,
        moves=2,
        free=0,
        by_volume={in_zone("a"): FITS_NONE, in_zone("b"): VolumeCapacity(where="in b")},
    )
    observed = with_replicas(observed, 0, volume_affinity=in_zone("a"))
    decision = decision_of(with_replicas(observed, 1, volume_affinity=in_zone("b")), NOW)
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [True]


@pytest.mark.parametrize("target", [SPOT, ON_DEMAND])
def test_the_decision_says_that_no_node_can_attach_the_volume(target: NodeType) -> None:
    counts = {"spot" if target is ON_DEMAND else "on_demand": 2}
    observed = a_workload(
        **counts,  # type: ignore[arg-type]
        percent=100 if target is SPOT else 0,
        floor=0,
        free=9,
        by_volume={in_zone("b"): VolumeCapacity(where="in b", node_types={target.other}, free=9)},
    )
    decision = decision_of(with_replicas(observed, (0, 1), volume_affinity=in_zone("b")), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.NO_SPOT_CAPACITY
    assert decision.message.endswith(f"; no {target} node in b could hold the pod")


def test_the_message_of_a_move_names_all_replicas_to_move() -> None:
    decision = decision_of(a_workload(spot=10), NOW)
    assert isinstance(decision, Evict)
    assert decision.reason is Reason.REBALANCING
    assert decision.message == "3 replicas to move from spot to on-demand"
    assert [move.target for move in decision.moves] == [ON_DEMAND]


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
    assert len(going) <= observed.moves.free
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
