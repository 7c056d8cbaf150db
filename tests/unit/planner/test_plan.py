"""The whole decision: how many go, which, and why not more (behaviour.md 5, safety.md D.2)."""

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
from spotalis.planner.observed import Confines, Observed
from spotalis.planner.plan import plan
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


# -- at rest -------------------------------------------------------------------------------------


def test_a_right_split_is_held() -> None:
    decision = plan(a_workload(spot=7, on_demand=3), NOW)
    assert decision == Hold(Reason.BALANCED, "3 on-demand and 7 spot replicas, as wanted")


def test_missing_pods_are_waited_for_if_none_is_on_the_wrong_class() -> None:
    decision = plan(with_replicas(a_workload(spot=7, on_demand=3), 0, evicted=True), NOW)
    assert reason_of(decision) is Reason.WAITING_FOR_PODS
    assert "wanted 3 on-demand and 7 spot" in decision.message


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_in_band_the_plan_is_empty(kind: str) -> None:
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
                assert isinstance(plan(observed, NOW), Hold), (replicas, percent, floor)


# -- how many ------------------------------------------------------------------------------------

PENDING = {"ready": False, "phase": "Pending", "node": ""}


@pytest.mark.parametrize(
    ("observed", "count"),
    [
        pytest.param(a_workload(spot=10), 1, id="one at a time"),
        pytest.param(a_workload(spot=10, moves=2), 2, id="two where the owner allows two"),
        pytest.param(a_workload(spot=10, moves=20), 3, id="never more than are wrong"),
        pytest.param(
            with_replicas(a_workload(spot=7, on_demand=3, percent=30, moves=3), 0, ready=False),
            2,
            id="a missing replica is one of them",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [8, 9], evicted=True),
            1,
            id="so are open moves",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [8, 9], deleting_at=LONG_AGO),
            1,
            id="and pods that terminate",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=3, min_ready_seconds=30),
                [8, 9],
                ready_at=NOW - timedelta(seconds=29),
            ),
            1,
            id="and pods that are not yet ready for minReadySeconds",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=3, min_ready_seconds=30),
                [8, 9],
                ready_at=NOW - timedelta(seconds=30),
            ),
            3,
            id="a move is over when its replacement was ready so long",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=1), [0, 1], ready=False),
            2,
            id="unready replicas on the wrong class may always go",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=3), [0], ready=False),
            3,
            id="and cost only what is missing anyway",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=2), [0, 1], ready=False),
            2,
            id="beyond them nobody goes who is ready",
        ),
        pytest.param(
            a_workload(kind=STATEFUL_SET, spot=10, moves=3, ordered=True),
            1,
            id="of an ordered StatefulSet one",
        ),
        pytest.param(
            a_workload(kind=STATEFUL_SET, spot=10, moves=3), 3, id="of a parallel one as allowed"
        ),
        pytest.param(a_workload(spot=10, moves=9, moves_free=2), 2, id="as the cluster has left"),
        pytest.param(
            with_replicas(a_workload(spot=10, moves_free=1), [0, 1], ready=False),
            1,
            id="also of unready ones",
        ),
        pytest.param(
            a_workload(on_demand=10, moves=9, room={SPOT: 3}), 3, id="as there is room on spot"
        ),
        pytest.param(a_workload(on_demand=10, moves=9), 7, id="all where room is not bounded"),
        pytest.param(
            a_workload(spot=10, moves=9, room={SPOT: 0}), 3, id="room on spot bounds no way back"
        ),
        pytest.param(
            a_workload(spot=10, moves=9, budgets=[a_budget(2)]), 2, id="as a budget allows"
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9, budgets=[a_budget(1)]), range(5), labels={}),
            3,
            id="past a budget that does not select them",
        ),
        pytest.param(
            with_replicas(
                a_workload(spot=10, moves=1, budgets=[a_budget(0, healthy=9, desired=9)]),
                0,
                ready=False,
            ),
            1,
            id="past a budget that is met without the unready one",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9), range(8), protected=True),
            2,
            id="not those that ask not to be disrupted",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9), range(8), user_pinned=True),
            2,
            id="nor those that their owner pins",
        ),
        pytest.param(
            with_replicas(a_workload(on_demand=10, moves=9, floor=2), range(2, 10), **PENDING),
            7,
            id="pending ones do not touch the floor",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves=9, floor=6), range(5), evicted=True),
            1,
            id="towards on-demand while the floor is unmet",
        ),
        pytest.param(
            a_workload(spot=9, unknown=1, moves=9), 3, id="of the 9 that are known 3 are wrong"
        ),
    ],
)
def test_so_many_go(observed: Observed, count: int) -> None:
    assert len(moved(plan(observed, NOW))) == count


@pytest.mark.parametrize(
    ("ready", "floor", "count"),
    [
        pytest.param(10, 2, 7, id="all 7 while 3 stay ready"),
        pytest.param(5, 2, 5, id="5 unready, and of the 5 ready only what is left of 7"),
        pytest.param(3, 2, 7, id="7 unready ones cost the floor nothing"),
    ],
)
def test_the_floor_counts_ready_replicas(ready: int, floor: int, count: int) -> None:
    observed = a_workload(on_demand=10, moves=9, floor=floor)
    observed = with_replicas(observed, range(ready, 10), ready=False)
    decision = plan(observed, NOW)
    names = moved(decision)
    ready_gone = [name for name in names if int(name.removeprefix("api-")) < ready]
    assert ready - len(ready_gone) >= floor
    assert len(names) >= count


def test_the_floor_ends_a_plan_before_the_surplus_does() -> None:
    # 4 ready on-demand replicas over a floor of 3, and 6 more that may not be touched.
    observed = a_workload(on_demand=10, floor=3, moves=9)
    observed = with_replicas(observed, range(4, 10), ready=False, protected=True)
    assert len(moved(plan(observed, NOW))) == 1
    floor = with_replicas(observed, 3, ready=False, protected=True)
    assert reason_of(plan(floor, NOW)) is Reason.FLOOR_UNMET


def test_as_many_go_as_the_tightest_bound_allows() -> None:
    wrong, bounds = 5, (0, 1, 3, 9)  # all 5 at 100 % without a floor
    for moves, free, space, allowed in product(bounds[1:], bounds, bounds, bounds):
        observed = a_workload(
            on_demand=wrong,
            percent=100,
            floor=0,
            moves=moves,
            moves_free=free,
            room={SPOT: space},
            budgets=[a_budget(allowed)],
        )
        decision = plan(observed, NOW)
        count = len(decision.moves) if isinstance(decision, Evict) else 0
        probed = max(1, space)  # without any room one goes to find out
        assert count == min(wrong, moves, free, probed, allowed), (moves, free, space, allowed)


def test_no_plan_takes_ready_on_demand_replicas_below_the_floor() -> None:
    # Unready ones that may not go hold their class full, and help the floor nothing.
    for floor, ready, unready, stuck in product(range(5), range(7), range(4), range(4)):
        on_demand = ready + unready + stuck
        for percent, spot_too in product((40, 70, 100), (0, 3)):
            observed = a_workload(
                on_demand=on_demand, spot=spot_too, percent=percent, floor=floor, moves=99
            )
            numbers = [i for i, r in enumerate(observed.replicas) if is_on_demand(r)]
            observed = with_replicas(observed, numbers[ready:], ready=False)
            observed = with_replicas(observed, numbers[ready + unready :], protected=True)
            decision = plan(observed, NOW)
            if isinstance(decision, Evict) and observed.state.surplus_type is ON_DEMAND:
                gone = sum(move.pod.ready for move in decision.moves)
                assert gone == 0 or ready - gone >= floor, (floor, ready, unready, stuck, percent)


# -- why nobody goes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "reason", "says"),
    [
        pytest.param(
            with_replicas(a_workload(spot=7, on_demand=3, percent=30), is_on_demand, ready=False),
            Reason.MOVES_IN_FLIGHT,
            "as many replicas are missing as may be",
            id="as many are missing as may be",
        ),
        pytest.param(
            a_workload(spot=10, moves_free=0),
            Reason.MOVES_IN_FLIGHT,
            "the whole cluster's moves",
            id="the cluster has no moves left",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10, moves_free=0), 0, ready=False),
            Reason.MOVES_IN_FLIGHT,
            "the whole cluster's moves",
            id="not even for an unready one",
        ),
        pytest.param(
            with_replicas(
                a_workload(kind=STATEFUL_SET, spot=10, moves=9, ordered=True), 9, evicted=True
            ),
            Reason.MOVES_IN_FLIGHT,
            "as many replicas are missing",
            id="an ordered StatefulSet has one in flight",
        ),
        pytest.param(
            a_workload(spot=10, budgets=[a_budget(0)]),
            Reason.BLOCKED_BY_PDB,
            "pdb/api allows 0 disruptions; 3 replicas to move from spot to on-demand",
            id="a budget allows none",
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
            id="an unready one blocked, and no ready one may go in its place",
        ),
        pytest.param(
            a_workload(on_demand=10, room={SPOT: 0}, probe_free=False),
            Reason.NO_SPOT_CAPACITY,
            "no Ready spot node has room",
            id="no room on spot",
        ),
        pytest.param(
            with_replicas(
                a_workload(on_demand=10, room={SPOT: 0}, probe_free=False), 0, ready=False
            ),
            Reason.NO_SPOT_CAPACITY,
            "no Ready spot node has room",
            id="nor for an unready one",
        ),
        pytest.param(
            a_workload(on_demand=10, room={SPOT: 0}, room_known=False, probe_free=False),
            Reason.NO_SPOT_CAPACITY,
            "whether spot nodes have room is not known where not all pods are watched",
            id="room on spot is unknown",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10), is_spot, user_pinned=True),
            Reason.PINNED,
            "the template pins its pods to spot",
            id="the template pins them",
        ),
        pytest.param(
            with_replicas(a_workload(spot=10), is_spot, protected=True),
            Reason.NO_CANDIDATE,
            "every spot replica asks not to be disrupted",
            id="they ask not to be disrupted",
        ),
    ],
)
def test_nobody_goes_and_it_is_said_why(observed: Observed, reason: Reason, says: str) -> None:
    decision = plan(observed, NOW)
    assert reason_of(decision) is reason
    assert says in decision.message


def in_zone(zone: str) -> NodeTerms:
    return ((Requirement("topology.kubernetes.io/zone", "In", (zone,)),),)


ROOM_FOR_ONE = Confines(where="in a", room=1)
NO_ROOM = Confines(where="in a")
NOWHERE = Confines(where="in b", classes={ON_DEMAND})


@pytest.mark.parametrize(
    ("confines", "spot_availability", "others", "who"),
    [
        pytest.param(
            ROOM_FOR_ONE, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="room for one of them"
        ),
        pytest.param(NO_ROOM, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="no room: one finds out"),
        pytest.param(NOWHERE, SpotAvailability.UNKNOWN, 2, [1, 0], id="no node: nobody goes"),
        pytest.param(NOWHERE, SpotAvailability.UNKNOWN, 0, [1], id="and nobody finds out"),
        pytest.param(NOWHERE, SpotAvailability.AVAILABLE, 0, [1, 0], id="be spot open elsewhere"),
        pytest.param(
            Confines(where="in a", provisioned=True),
            SpotAvailability.UNKNOWN,
            2,
            [3, 2, 1, 0],
            id="nodes are added there",
        ),
    ],
)
def test_replicas_go_where_their_volumes_can_follow(
    confines: Confines, spot_availability: SpotAvailability, others: int, who: list[int]
) -> None:
    """api-3 and api-2 have theirs in a zone; there is room for ``others`` outside of it."""
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=4,
        percent=100,
        floor=0,
        moves=4,
        room={SPOT: others},
        confines={in_zone("a"): confines},
        ledger=Ledger(spot_availability=spot_availability),
    )
    decision = plan(with_replicas(observed, (2, 3), reach=in_zone("a")), NOW)
    assert moved(decision) == [f"api-{number}" for number in who]


def test_two_zones_without_evidence_are_not_tried_at_once() -> None:
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=2,
        percent=100,
        floor=0,
        moves=2,
        room={SPOT: 0},
        confines={in_zone("a"): NO_ROOM, in_zone("b"): Confines(where="in b")},
    )
    observed = with_replicas(observed, 0, reach=in_zone("a"))
    decision = plan(with_replicas(observed, 1, reach=in_zone("b")), NOW)
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [True]


@pytest.mark.parametrize("target", [SPOT, ON_DEMAND])
def test_that_no_node_reaches_a_volume_is_said(target: NodeType) -> None:
    counts = {"spot" if target is ON_DEMAND else "on_demand": 2}
    observed = a_workload(
        **counts,  # type: ignore[arg-type]
        percent=100 if target is SPOT else 0,
        floor=0,
        room={SPOT: 9},
        confines={in_zone("b"): Confines(where="in b", classes={target.other}, room=9)},
    )
    decision = plan(with_replicas(observed, (0, 1), reach=in_zone("b")), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.NO_SPOT_CAPACITY
    assert decision.message.endswith(f"; no {target} node could hold it in b")


def test_the_message_of_a_move_is_what_is_to_be_done_in_all() -> None:
    decision = plan(a_workload(spot=10), NOW)
    assert isinstance(decision, Evict)
    assert decision.reason is Reason.REBALANCING
    assert decision.message == "3 replicas to move from spot to on-demand"
    assert [move.target for move in decision.moves] == [ON_DEMAND]


# -- promises, whatever is seen ------------------------------------------------------------------

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
        {"evicted": True},
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
    classes = st.sampled_from((*[mostly] * 6, mostly.other, UNKNOWN))
    size = draw(st.sampled_from((1, 4, 8, 12)))
    one_of_them = st.tuples(classes, REPLICA, CONDITION)
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
            room=draw(st.sampled_from(({}, {}, {SPOT: 0}, {SPOT: 2}, {SPOT: 9}))),
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
def test_the_order_of_what_is_seen_changes_nothing(observed: Observed, data: st.DataObject) -> None:
    shuffled = dataclasses.replace(
        observed,
        replicas=tuple(data.draw(st.permutations(observed.replicas))),
        budgets=tuple(data.draw(st.permutations(observed.budgets))),
    )
    assert plan(shuffled, NOW) == plan(observed, NOW)


@given(observed=anything())
def test_no_plan_breaks_a_bound(observed: Observed) -> None:
    decision = plan(observed, NOW)
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
    assert len(going) <= observed.moves_free
    if any(move.probe for move in decision.moves):
        assert observed.room[surplus_type.other] == 0
        assert len(going) == 1
    else:
        assert len(going) <= observed.room.get(surplus_type.other, len(going))
    assert not ready or len(ready) <= observed.moves_left(NOW)
    if surplus_type is ON_DEMAND and ready:
        assert observed.ready_on_demand - len(ready) >= observed.configuration.floor
    if len(observed.budgets) == 1:
        (budget,) = observed.budgets
        under_it = [r for r in ready if r.pod.labels and r.pod.phase == "Running"]
        assert len(under_it) <= budget.disruptions_allowed
    if len(observed.budgets) == 2:
        assert not any(r.pod.labels and r.pod.phase == "Running" for r in going)
    # Nobody ready goes while an unready one of the same class could have gone instead.
    if ready and not observed.budgets:
        unready = [
            r
            for r in observed.active
            if r.node_type is surplus_type and not (r.pod.ready or r.user_pinned or r.pod.protected)
        ]
        assert all(replica in going for replica in unready)


@given(observed=anything())
def test_whoever_waits_is_told_why(observed: Observed) -> None:
    decision = plan(observed, NOW)
    assert decision.message
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        assert not isinstance(decision, Evict)
        assert (decision.reason is Reason.BALANCED) == observed.state.is_balanced
    else:
        assert decision.reason not in (Reason.BALANCED, Reason.WAITING_FOR_PODS)


# -- it comes to an end --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("moves", [1, 3])
def test_every_move_brings_the_split_one_nearer_and_none_is_ever_taken_back(
    kind: str, moves: int
) -> None:
    for replicas in (1, 2, 3, 5, 8, 10, 12):
        for percent in PERCENTS:
            for floor in (0, 1, 2, 5):
                for on_spot in range(replicas + 1):
                    adopted = [SPOT] * on_spot + [ON_DEMAND] * (replicas - on_spot)
                    history = History(
                        kind=kind, adopted=adopted, percent=percent, floor=floor, moves=moves
                    )
                    assert_one_turn_is_a_step_forward(history, replicas, moves)


def assert_one_turn_is_a_step_forward(history: History, replicas: int, moves: int) -> None:
    far = distance(history)
    before = history.evict()
    assert isinstance(before, Evict) == (far > 0)
    if not isinstance(before, Evict):
        return
    assert len(before.moves) == min(far, moves)
    while len(history.living) < replicas:
        history.create()
        history.see(1)
        history.make_ready(replicas)
    assert distance(history) == far - len(before.moves)
    after = history.decide()
    if isinstance(after, Evict):
        assert {move.target for move in after.moves} == {move.target for move in before.moves}


def distance(history: History) -> int:
    observed = history.observed
    surplus_type = observed.state.surplus_type
    return observed.state.surplus(surplus_type) if surplus_type else 0
