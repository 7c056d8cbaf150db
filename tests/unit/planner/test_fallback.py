"""Who waits for spot in vain, and what becomes known by it."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

import msgspec
import pytest

from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.ledger import Intent, Ledger, SpotAvailability
from spotalis.model.nodes import Pin
from spotalis.model.objects import Requirement, Taint
from spotalis.planner.fallback import (
    could_hold,
    is_arriving,
    probe_backoff,
    record_fallback,
    waiting_for_spot,
)
from spotalis.planner.observed import Confines, Observed
from spotalis.planner.placement import NewPod, place
from spotalis.planner.plan import plan
from spotalis.planner.resolution import record_futile_move, resolve_moves
from tests.support.builders import (
    BOTH_KINDS,
    LONG_AGO,
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_node,
    a_shape,
    a_workload,
    is_on_demand,
    is_spot,
    owner_of,
    with_configuration,
    with_replicas,
)

AGO = timedelta(seconds=121)
"""A second longer than the built-in patience."""


def waits(observed: Observed, since: datetime | None = NOW - AGO) -> Observed:
    """The same with every spot replica waiting for a node."""
    return with_replicas(
        observed,
        is_spot,
        node="",
        phase="Pending",
        ready=False,
        unschedulable=True,
        unschedulable_since=since,
    )


def short(**changes: object) -> Ledger:
    return msgspec.structs.replace(Ledger(spot_availability=SpotAvailability.EXHAUSTED), **changes)


def an_intent(pod: str = "api-3-uid", **changes: object) -> Intent:
    intent = Intent(pod=pod, name="api-3", target=SPOT, instance="me", created_at=LONG_AGO)
    return msgspec.structs.replace(intent, **changes)


# -- whose time is up ----------------------------------------------------------------------------


def test_who_has_waited_longer_than_the_patience_is_due() -> None:
    found = waiting_for_spot(waits(a_workload(spot=7, on_demand=3)), NOW)
    assert len(found.due) == len(found.replicas) == 7


def test_who_has_not_is_due_when_the_rest_of_it_is_over() -> None:
    found = waiting_for_spot(
        waits(a_workload(spot=7, on_demand=3), NOW - timedelta(seconds=100)), NOW
    )
    assert (len(found.due), found.due_in) == (0, timedelta(seconds=20))


def test_without_a_transition_time_the_wait_counts_from_first_sight() -> None:
    observed = waits(a_workload(spot=1, on_demand=1), None)
    (replica,) = waiting_for_spot(observed, NOW).replicas
    assert waiting_for_spot(observed, NOW).due == ()
    seen = dataclasses.replace(observed, first_unschedulable={replica.pod.uid: NOW - AGO})
    assert waiting_for_spot(seen, NOW).due == (replica,)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"arriving": True}, "a spot node is on its way", id="a node comes"),
        pytest.param(
            {"on_demand_helps": False}, "no on-demand node could ever", id="too large for both"
        ),
        pytest.param({"read_only": True}, "nothing may be changed", id="read-only"),
        pytest.param({"suspect_list": "half a list"}, "nothing may be changed", id="blind"),
        pytest.param({"synced": False}, "nothing may be changed", id="not synced"),
    ],
)
def test_no_clock_runs(change: dict[str, object], why: str) -> None:
    observed = dataclasses.replace(waits(a_workload(spot=7, on_demand=3)), **change)  # type: ignore[arg-type]
    found = waiting_for_spot(observed, NOW)
    assert (found.due, found.due_in) == ((), None)
    assert why in found.why


IN_B = ((Requirement("topology.kubernetes.io/zone", "In", ("b",)),),)


@pytest.mark.parametrize(
    ("confines", "due", "why"),
    [
        pytest.param(Confines(where="in b"), 7, "", id="on-demand can hold it"),
        pytest.param(
            Confines(where="in b", classes={SPOT}),
            5,
            "no on-demand node could ever hold it either in b",
            id="on-demand has no node there",
        ),
        pytest.param(
            Confines(where="in b", arriving=True), 5, "a spot node is on its way in b", id="coming"
        ),
    ],
)
def test_whose_volume_is_elsewhere_waits_by_what_is_there(
    confines: Confines, due: int, why: str
) -> None:
    observed = waits(a_workload(spot=7, on_demand=3, confines={IN_B: confines}))
    there = [i for i, r in enumerate(observed.replicas) if r.node_type is SPOT][:2]
    found = waiting_for_spot(with_replicas(observed, there, reach=IN_B), NOW)
    assert (len(found.replicas), len(found.due), found.why) == (7, due, why)


def test_who_can_start_there_does_where_the_rest_of_the_workload_is_too_large_for_on_demand() -> (
    None
):
    observed = waits(
        a_workload(
            spot=1, on_demand=1, on_demand_helps=False, confines={IN_B: Confines(where="in b")}
        )
    )
    assert waiting_for_spot(observed, NOW).due == ()
    assert len(waiting_for_spot(with_replicas(observed, is_spot, reach=IN_B), NOW).due) == 1


def test_never_means_never() -> None:
    observed = with_configuration(
        waits(a_workload(spot=7, on_demand=3)), spot_fallback=timedelta.max
    )
    assert waiting_for_spot(observed, NOW).due == ()


def test_a_rollout_does_not_keep_a_replica_from_falling_back() -> None:
    observed = waits(a_workload(spot=7, on_demand=3))
    workload = msgspec.structs.replace(observed.workload, updated_replicas=1, generation=9)
    assert len(waiting_for_spot(dataclasses.replace(observed, workload=workload), NOW).due) == 7


def test_who_is_pinned_by_its_owner_could_not_go_elsewhere() -> None:
    observed = with_replicas(waits(a_workload(spot=2, on_demand=1)), is_spot, user_pinned=True)
    assert waiting_for_spot(observed, NOW).replicas == ()


def test_the_state_of_a_workload_that_waits_is_not_balanced() -> None:
    decision = plan(waits(a_workload(spot=7, on_demand=3), NOW - timedelta(seconds=100)), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.NO_SPOT_CAPACITY
    assert (
        decision.message == "7 spot replicas wait for a node; the next starts on on-demand in 20 s"
    )
    assert decision.requeue_after == timedelta(seconds=20)


# -- what becomes of the ledger ------------------------------------------------------------------


def test_a_replica_that_falls_back_makes_spot_short() -> None:
    found = waiting_for_spot(waits(a_workload(spot=7, on_demand=3)), NOW)
    assert record_fallback(Ledger(), found.due, NOW) == short()


def test_a_probe_that_falls_back_doubles_the_wait_for_the_next() -> None:
    ledger = short(intents=(an_intent(probe=True),), failed_probes=1)
    observed = with_replicas(waits(a_workload(spot=1)), is_spot, move="api-3-ui")
    after = record_fallback(ledger, waiting_for_spot(observed, NOW).due, NOW)
    assert after == short(failed_probes=2, next_probe_at=NOW + timedelta(minutes=10))


def test_a_move_with_evidence_that_falls_back_was_futile() -> None:
    observed = with_replicas(waits(a_workload(spot=1)), is_spot, move="api-3-ui")
    after = record_fallback(short(intents=(an_intent(),)), waiting_for_spot(observed, NOW).due, NOW)
    assert after == short(futile_moves=1)


@pytest.mark.parametrize(
    ("failed", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60)]
)
def test_the_wait_between_probes(failed: int, minutes: int) -> None:
    assert probe_backoff(failed) == timedelta(minutes=minutes)


def test_three_futile_moves_rest_and_each_further_attempt_doubles_it() -> None:
    ledger, now, rests = Ledger(), NOW, []
    for _ in range(11):
        ledger = record_futile_move(ledger, now)
        rests.append(ledger.futile_until and (ledger.futile_until - now) // timedelta(minutes=1))
        now = ledger.futile_until or now
    assert rests == [None, None, 5, 10, 20, 40, 80, 160, 320, 360, 360]


def test_moves_that_were_under_way_when_the_rest_began_make_it_no_longer() -> None:
    ledger = Ledger()
    for _ in range(7):
        ledger = record_futile_move(ledger, NOW)
    assert (ledger.futile_moves, ledger.futile_until) == (3, NOW + timedelta(minutes=5))


# -- where new replicas go -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_while_spot_is_short_a_spot_slot_starts_on_on_demand_and_keeps_its_slot(kind: str) -> None:
    observed = a_workload(kind=kind, on_demand=3, replicas=10)
    pod = NewPod(owner=owner_of(kind).uid, name="api-4" if kind == STATEFUL_SET else "")
    there = place(observed, pod)
    fallen = place(dataclasses.replace(observed, ledger=short()), pod)
    assert (there.node_type, fallen.node_type) == (SPOT, ON_DEMAND)
    assert fallen.rule == "fallback"
    assert fallen.slot == there.slot


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_the_replacement_of_a_move_tries_spot_although_it_is_short_and_no_other_does(
    kind: str,
) -> None:
    # Ten on on-demand, the fourth of which has been evicted to find out.
    observed = a_workload(kind=kind, on_demand=10)
    observed = with_replicas(observed, 3, evicted=True)
    observed = dataclasses.replace(observed, ledger=short(intents=(an_intent(probe=True),)))
    pod = NewPod(owner=owner_of(kind).uid, name="api-3" if kind == STATEFUL_SET else "")
    first = place(observed, pod)
    assert (first.node_type, first.move) == (SPOT, "api-3-ui")
    come = with_replicas(observed, 9, node_type=SPOT, move="api-3-ui")
    assert place(come, pod).node_type is ON_DEMAND


def test_a_move_whose_pod_still_lives_waits_for_no_replacement() -> None:
    observed = a_workload(on_demand=10, replicas=12)
    observed = dataclasses.replace(observed, ledger=short(intents=(an_intent(),)))
    assert place(observed, NewPod(owner=owner_of("Deployment").uid)).rule == "fallback"


# -- going back ----------------------------------------------------------------------------------


def fallback_replicas(room: int, **changes: object) -> Observed:
    """Ten on on-demand, seven of them since spot was short."""
    observed = with_replicas(
        a_workload(on_demand=10, moves=9, room={SPOT: room}), range(3, 10), rule="fallback"
    )
    return dataclasses.replace(observed, ledger=short(), **changes)  # type: ignore[arg-type]


def test_on_evidence_as_many_return_as_there_is_room_for() -> None:
    decision = plan(fallback_replicas(room=4), NOW)
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [False] * 4


def test_without_evidence_one_goes_to_find_out() -> None:
    decision = plan(fallback_replicas(room=0), NOW)
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [True]


def test_but_only_one_in_the_cluster() -> None:
    decision = plan(fallback_replicas(room=0, probe_free=False), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is Reason.NO_SPOT_CAPACITY


def test_and_not_before_its_time() -> None:
    observed = fallback_replicas(room=0)
    ledger = short(failed_probes=1, next_probe_at=NOW + timedelta(minutes=4))
    decision = plan(dataclasses.replace(observed, ledger=ledger), NOW)
    assert isinstance(decision, Defer)
    assert decision.requeue_after == timedelta(minutes=4)
    # A landing anywhere since it failed ends the wait.
    landed = dataclasses.replace(observed, ledger=ledger, landed_at=NOW)
    assert isinstance(plan(landed, NOW), Evict)


def test_once_a_probe_has_landed_all_may_go() -> None:
    observed = dataclasses.replace(
        fallback_replicas(room=0), ledger=Ledger(spot_availability=SpotAvailability.AVAILABLE)
    )
    decision = plan(observed, NOW)
    assert isinstance(decision, Evict)
    assert len(decision.moves) == 7


def test_a_node_pool_is_evidence_until_spot_is_short() -> None:
    observed = fallback_replicas(room=0, provisioned=True)
    untried = dataclasses.replace(observed, ledger=Ledger())
    decision = plan(untried, NOW)
    assert isinstance(decision, Evict)
    assert len(decision.moves) == 7
    decision = plan(observed, NOW)
    assert isinstance(decision, Evict)
    assert len(decision.moves) == 1


def test_one_that_waits_for_an_on_demand_node_is_no_candidate() -> None:
    observed = with_replicas(
        fallback_replicas(room=9), range(3, 10), node="", phase="Pending", ready=False
    )
    decision = plan(observed, NOW)
    assert isinstance(decision, Evict)
    assert [move.pod.ready for move in decision.moves] == [True]


# -- what became of moves ------------------------------------------------------------------------


def moving(**changes: object) -> Observed:
    """Ten replicas, one of which replaced an evicted one that went to spot."""
    observed = a_workload(spot=7, on_demand=3)
    observed = with_replicas(observed, 9, move="api-3-ui", **changes)
    return dataclasses.replace(observed, ledger=Ledger(intents=(an_intent(),)))


ENDED = frozenset({"api-3-uid"})


def test_a_move_is_over_when_its_replacement_serves() -> None:
    done = resolve_moves(moving(), ENDED, NOW)
    assert [intent.pod for intent in done.over] == ["api-3-uid"]
    assert done.ledger == Ledger()


def test_and_not_before() -> None:
    observed = moving(ready=False, node_type=SPOT)
    assert resolve_moves(observed, ENDED, NOW).ledger == observed.ledger


def test_nor_while_its_pod_has_not_been_seen_ending() -> None:
    observed = moving()
    assert resolve_moves(observed, frozenset(), NOW).ledger == observed.ledger


def test_a_replacement_on_the_class_just_left_is_futile() -> None:
    observed = moving(node_type=ON_DEMAND)
    assert resolve_moves(observed, ENDED, NOW).ledger == Ledger(futile_moves=1)


def test_one_that_no_webhook_saw_counts_too() -> None:
    observed = with_replicas(moving(), 9, move="", rule="", node_type=ON_DEMAND, created_at=NOW)
    assert resolve_moves(observed, ENDED, NOW).ledger == Ledger(futile_moves=1)


def test_a_probe_whose_replacement_serves_on_the_class_just_left_was_futile() -> None:
    """No webhook saw it, so it never tried spot; uncounted, the next one would follow at once."""
    observed = with_replicas(moving(), 9, move="", rule="", node_type=ON_DEMAND, created_at=NOW)
    observed = dataclasses.replace(observed, ledger=Ledger(intents=(an_intent(probe=True),)))
    assert resolve_moves(observed, ENDED, NOW).ledger == Ledger(futile_moves=1)


def test_a_landing_where_it_was_meant_to_forgets_the_futile_ones() -> None:
    observed = moving(node_type=SPOT)
    ledger = Ledger(intents=(an_intent(),), futile_moves=2)
    assert (
        resolve_moves(dataclasses.replace(observed, ledger=ledger), ENDED, NOW).ledger == Ledger()
    )


def test_a_probe_that_lands_opens_spot() -> None:
    observed = with_replicas(a_workload(spot=1, on_demand=9), is_spot, move="api-3-ui")
    observed = dataclasses.replace(observed, ledger=short(intents=(an_intent(probe=True),)))
    done = resolve_moves(observed, ENDED, NOW)
    assert done.landed
    assert done.ledger.spot_availability is SpotAvailability.AVAILABLE


def test_enough_room_for_all_that_fell_back_ends_the_shortage() -> None:
    assert (
        resolve_moves(fallback_replicas(room=6), frozenset(), NOW).ledger.spot_availability
        is SpotAvailability.EXHAUSTED
    )
    assert resolve_moves(fallback_replicas(room=7), frozenset(), NOW).ledger == Ledger()


def test_nothing_left_to_remember_is_nothing_to_write() -> None:
    balanced = dataclasses.replace(a_workload(spot=7, on_demand=3), ledger=short())
    assert resolve_moves(balanced, frozenset(), NOW).ledger.empty


# -- nodes ---------------------------------------------------------------------------------------

YOUNG = NOW - timedelta(minutes=2)


@pytest.mark.parametrize(
    ("node", "comes"),
    [
        pytest.param(a_node(ready=False, created_at=YOUNG), True, id="registered, not Ready"),
        pytest.param(a_node(ready=False, created_at=LONG_AGO), False, id="broken for an hour"),
        pytest.param(a_node(created_at=YOUNG), False, id="Ready already"),
        pytest.param(a_node(ready=False, created_at=YOUNG, cpu_millis=100), False, id="too small"),
        pytest.param(a_node(ready=False, created_at=YOUNG, cordoned=True), False, id="cordoned"),
        pytest.param(
            a_node(ready=False, created_at=YOUNG, cpu_millis=0, memory_bytes=0),
            True,
            id="no size yet",
        ),
    ],
)
def test_whether_a_node_is_on_its_way(node: object, comes: bool) -> None:
    assert is_arriving([node], a_shape(), Pin(), NOW) is comes  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("nodes", "could"),
    [
        pytest.param([], True, id="no node says otherwise"),
        pytest.param([a_node(ready=False, cordoned=True)], True, id="not now, but some day"),
        pytest.param([a_node(cpu_millis=400)], False, id="too small"),
        pytest.param([a_node(taints=[Taint("gpu", "", "NoSchedule")])], False, id="tainted"),
        pytest.param(
            [a_node(taints=[Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")])],
            True,
            id="cordoned",
        ),
    ],
)
def test_whether_a_class_could_ever_hold_a_replica(nodes: list[object], could: bool) -> None:
    assert could_hold(nodes, a_shape(), Pin()) is could  # type: ignore[arg-type]


def test_the_order_of_on_demand_replicas_that_return_begins_with_spot_slots() -> None:
    decision = plan(fallback_replicas(room=2), NOW)
    assert isinstance(decision, Evict)
    assert all(is_on_demand(r) for r in fallback_replicas(room=2).replicas)
    assert [move.pod.name for move in decision.moves] == ["api-9", "api-8"]


@pytest.mark.parametrize("zone", ["a", "b"])
def test_a_node_of_another_zone_than_the_pod_asks_for_neither_comes_for_it_nor_could_hold_it(
    zone: str,
) -> None:
    labels = {"topology.kubernetes.io/zone": zone}
    coming = a_node(ready=False, created_at=YOUNG, labels=labels)
    shape = a_shape(node_terms=IN_B)
    assert is_arriving([coming], shape, Pin(), NOW) is (zone == "b")
    assert could_hold([a_node(labels=labels)], shape, Pin()) is (zone == "b")
