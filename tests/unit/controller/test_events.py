"""Events about workloads: one per change, and none for what has not changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.events import EventMessage, Progress, event_messages, next_progress
from spotalis.controller.result import EvictionRecord, ReconcileResult
from spotalis.kube.client import EvictionOutcome
from spotalis.model.decision import Decision, Defer, Evict, Hold, Move, Reason
from spotalis.model.replicas import ReplicaState
from tests.support.builders import NOW, ON_DEMAND, SPOT, a_configuration, a_pod, a_workload

KEY = WorkloadKey("Deployment", "shop", "api")
BALANCED = Hold(Reason.BALANCED, "3 on-demand and 7 spot replicas, as desired")


def a_result(
    decision: Decision = BALANCED,
    evictions: Sequence[EvictionRecord] = (),
    spot: int = 7,
    on_demand: int = 3,
    percent: int = 70,
    **changes: object,
) -> ReconcileResult:
    state = a_workload(spot=spot, on_demand=on_demand, percent=percent).state
    result = ReconcileResult(
        key=KEY, at=NOW, decision=decision, state=state, evictions=tuple(evictions)
    )
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]


def an_eviction(
    outcome: EvictionOutcome = EvictionOutcome.EVICTED,
    *,
    probe: bool = False,
    fallback: bool = False,
) -> EvictionRecord:
    return EvictionRecord(move=Move(a_pod(), SPOT, probe=probe), outcome=outcome, fallback=fallback)


def messages_of(
    result: ReconcileResult,
    previous: ReconcileResult | None = None,
    before: object = None,
    after: object = None,
    progress: Progress | None = None,
) -> list[EventMessage]:
    policy = a_configuration()
    return list(
        event_messages(previous or a_result(), result, before or policy, after or policy, progress)  # type: ignore[arg-type]
    )


def test_an_unchanged_workload_emits_no_event() -> None:
    assert messages_of(a_result()) == []


def test_a_workload_created_balanced_emits_no_event() -> None:
    assert list(event_messages(None, a_result(), None, a_configuration())) == []


def test_a_move_names_the_remaining_surplus() -> None:
    moving = a_result(
        Evict((Move(a_pod(), SPOT),), Reason.REBALANCING, ""), [an_eviction()], spot=5, on_demand=5
    )
    (message,) = messages_of(moving)
    assert (message.type, message.reason, message.action) == ("Normal", "ReplicaMoved", "Evict")
    assert message.note == "Evicted api-0 from on-demand node node-of-api-0; 1 more to move"
    assert message.related == a_pod()


def test_a_probe_is_announced_as_one() -> None:
    (message,) = messages_of(a_result(evictions=[an_eviction(probe=True)]))
    assert "probing spot capacity" in message.note


def test_a_refused_eviction_emits_no_event() -> None:
    assert messages_of(a_result(evictions=[an_eviction(EvictionOutcome.BLOCKED)])) == []


def test_fallbacks_are_reported_in_one_event() -> None:
    (message,) = messages_of(a_result(evictions=[an_eviction(fallback=True)] * 4))
    assert (message.type, message.reason) == ("Warning", "SpotCapacityMissing")
    assert message.note == (
        "No spot node for 4 replicas within spot-fallback (2m); starting them on on-demand"
    )


def test_a_reached_split_reports_moves_and_duration() -> None:
    progress = Progress(moves=2, since=NOW - timedelta(seconds=124))
    moving = a_result(Evict((), Reason.REBALANCING, ""))
    (message,) = messages_of(a_result(), moving, progress=progress)
    assert (message.reason, message.note) == ("SplitReached", "Balanced after 2 moves in 2m4s")


def test_progress_counts_moves_but_neither_fallbacks_nor_refusals() -> None:
    assert next_progress(None, a_result(evictions=[an_eviction(fallback=True)])) is None
    begun = next_progress(
        None, a_result(evictions=[an_eviction(), an_eviction(EvictionOutcome.BLOCKED)])
    )
    assert begun == Progress(moves=1, since=NOW)
    later = a_result(evictions=[an_eviction()] * 2, at=NOW + timedelta(minutes=1))
    assert next_progress(begun, later) == Progress(moves=3, since=NOW)


def test_a_new_percentage_is_reported_with_the_new_target() -> None:
    (message,) = messages_of(
        a_result(percent=30, spot=7, on_demand=3),
        before=a_configuration(percent=70),
        after=a_configuration(percent=30),
    )
    assert message.reason == "SplitTargetChanged"
    assert message.note == (
        "Target is now 7 on-demand + 3 spot (was 3 + 7): spot-percentage 70 -> 30"
    )


def test_the_first_policy_names_a_target_and_no_earlier_one() -> None:
    before = a_configuration(percent=None, floor=None)
    (message,) = messages_of(a_result(), before=before, after=a_configuration(percent=70, floor=2))
    assert message.note == (
        "Target is now 3 on-demand + 7 spot: spot-percentage none -> 70, min-on-demand none -> 2"
    )


def test_a_removed_policy_names_no_target() -> None:
    after = a_configuration(percent=None, floor=2)
    assert messages_of(a_result(), before=a_configuration(percent=70), after=after) == []


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        (Reason.BLOCKED_BY_PDB, "MoveBlocked"),
        (Reason.NO_SPOT_CAPACITY, "SpotCapacityMissing"),
        (Reason.FLOOR_UNMET, "OnDemandFloorUnmet"),
        (Reason.PINNED, "SplitUnreachable"),
        (Reason.FUTILE, "MovesFutile"),
        (Reason.WEBHOOK_NEVER_CALLED, "AdmissionBypassed"),
        (Reason.LEDGER_UNREADABLE, "LedgerUnreadable"),
        (Reason.NO_CLASSIFIER, "NodesUnknown"),
    ],
)
def test_reasons_that_owners_can_act_on_are_warned_of_once(reason: Reason, event: str) -> None:
    stopped = a_result(Defer(reason, "why"), spot=5, on_demand=5)
    (message,) = messages_of(stopped)
    assert (message.type, message.reason, message.note) == ("Warning", event, "why")
    assert messages_of(stopped, previous=stopped) == []


def test_moves_to_on_demand_name_the_spot_node() -> None:
    eviction = EvictionRecord(move=Move(a_pod(), ON_DEMAND), outcome=EvictionOutcome.EVICTED)
    (message,) = messages_of(a_result(evictions=[eviction]))
    assert message.note.startswith("Evicted api-0 from spot node")


STATE = ReplicaState(desired=4, percent=50, floor=0, spot=0, on_demand=4)


def a_result_with(reason: Reason, *, storm: bool = False, **leaving: int) -> ReconcileResult:
    decision: Decision = Defer(reason, "why")
    if reason is Reason.BALANCED:
        decision = Hold(reason, "why")
    elif reason is Reason.REBALANCING:
        decision = Evict((), reason, "why")
    return ReconcileResult(
        key=WorkloadKey("Deployment", "shop", "api"),
        at=NOW,
        decision=decision,
        state=STATE,
        reclaimed_nodes=leaving,
        storm=storm,
    )


def events_of(reasons: Sequence[Reason]) -> list[str]:
    """The reasons of the Events of consecutive reconciles."""
    policy = a_configuration()
    said: list[str] = []
    previous = None
    for reason in reasons:
        now = a_result_with(reason)
        said += [n.reason for n in event_messages(previous, now, policy, policy)]
        previous = now
    return said


@pytest.mark.parametrize(
    ("reasons", "events"),
    [
        pytest.param(
            (Reason.BALANCED, Reason.PAUSED, Reason.REBALANCING),
            ["RebalancingPaused", "RebalancingResumed"],
            id="a pause, and its end",
        ),
        pytest.param(
            (Reason.BALANCED, Reason.PINNED, Reason.PINNED),
            ["SplitUnreachable"],
            id="pins are reported once",
        ),
    ],
)
def test_each_change_emits_one_event(reasons: tuple[Reason, ...], events: list[str]) -> None:
    assert events_of(reasons) == events


def test_each_reclaimed_spot_node_emits_one_event() -> None:
    policy = a_configuration()
    turns = [
        a_result_with(Reason.BALANCED),
        a_result_with(Reason.BALANCED, one=2),
        a_result_with(Reason.BALANCED, one=1, two=1),
    ]
    said = [
        [message.note for message in event_messages(before, now, policy, policy)]
        for before, now in pairwise(turns)
    ]
    assert said == [
        ["The provider is reclaiming spot node one; 2 replicas affected"],
        ["The provider is reclaiming spot node two; 1 replica affected"],
    ]


def test_a_storm_emits_an_event_at_its_start_and_at_its_end() -> None:
    policy = a_configuration()
    turns = [
        a_result_with(Reason.BALANCED),
        a_result_with(Reason.STORM_FROZEN, storm=True),
        # Its last spot node is lost, too: the reason changes, the storm does not end.
        a_result_with(Reason.NO_SPOT_CAPACITY, storm=True),
        a_result_with(Reason.PAUSED, storm=True),
        a_result_with(Reason.REBALANCING),
        a_result_with(Reason.REBALANCING),
    ]
    said = [
        [message.reason for message in event_messages(before, now, policy, policy)]
        for before, now in pairwise(turns)
    ]
    assert said == [
        ["SpotStorm"],
        ["SpotCapacityMissing"],
        ["RebalancingPaused"],
        ["SpotStormOver", "RebalancingResumed"],
        [],
    ]


def test_the_end_of_a_storm_emits_no_event_without_a_move_to_spot() -> None:
    policy = a_configuration()
    before = a_result_with(Reason.BALANCED, storm=True)
    at_rest = ReplicaState(desired=4, percent=50, floor=0, spot=2, on_demand=2)
    now = dataclasses.replace(a_result_with(Reason.BALANCED), state=at_rest)
    assert list(event_messages(before, now, policy, policy)) == []
