"""What an owner is told: what is new, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import pytest

from spotalis.model.decision import Decision, Defer, Evict, Hold, Reason
from spotalis.model.replicas import ReplicaState
from spotalis.operator.cluster import WorkloadKey
from spotalis.operator.events import notices
from spotalis.operator.reconcile import Turn
from tests.support.builders import NOW, a_configuration

STATE = ReplicaState(desired=4, percent=50, floor=0, spot=0, on_demand=4)


def turn(reason: Reason, *, storm: bool = False, **leaving: int) -> Turn:
    decision: Decision = Defer(reason, "why")
    if reason is Reason.BALANCED:
        decision = Hold(reason, "why")
    elif reason is Reason.REBALANCING:
        decision = Evict((), reason, "why")
    return Turn(
        key=WorkloadKey("Deployment", "shop", "api"),
        at=NOW,
        decision=decision,
        state=STATE,
        leaving=leaving,
        storm=storm,
    )


def told(reasons: Sequence[Reason]) -> list[str]:
    """The reasons of the Events of so many turns, one after the other."""
    wishes = a_configuration()
    said: list[str] = []
    previous = None
    for reason in reasons:
        now = turn(reason)
        said += [n.reason for n in notices(previous, now, wishes, wishes)]
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
            id="pins are said once",
        ),
    ],
)
def test_what_is_new_is_said_once(reasons: tuple[Reason, ...], events: list[str]) -> None:
    assert told(reasons) == events


def test_each_spot_node_that_is_being_taken_is_said_once() -> None:
    wishes = a_configuration()
    turns = [
        turn(Reason.BALANCED),
        turn(Reason.BALANCED, one=2),
        turn(Reason.BALANCED, one=1, two=1),
    ]
    said = [
        [notice.note for notice in notices(before, now, wishes, wishes)]
        for before, now in pairwise(turns)
    ]
    assert said == [
        ["Spot node one is being taken; 2 replicas affected"],
        ["Spot node two is being taken; 1 replica affected"],
    ]


def test_a_storm_is_told_when_it_stops_a_workload_and_when_it_is_over() -> None:
    wishes = a_configuration()
    turns = [
        turn(Reason.BALANCED),
        turn(Reason.STORM_FROZEN, storm=True),
        # Its last spot node goes too: the reason changes, the storm does not end.
        turn(Reason.NO_CAPACITY, storm=True),
        turn(Reason.PAUSED, storm=True),
        turn(Reason.REBALANCING),
        turn(Reason.REBALANCING),
    ]
    said = [
        [notice.reason for notice in notices(before, now, wishes, wishes)]
        for before, now in pairwise(turns)
    ]
    assert said == [
        ["SpotStorm"],
        ["SpotCapacityMissing"],
        ["RebalancingPaused"],
        ["SpotStormOver", "RebalancingResumed"],
        [],
    ]


def test_the_end_of_a_storm_is_no_news_to_who_has_nothing_to_move_to_spot() -> None:
    wishes = a_configuration()
    before = turn(Reason.BALANCED, storm=True)
    at_rest = ReplicaState(desired=4, percent=50, floor=0, spot=2, on_demand=2)
    now = dataclasses.replace(turn(Reason.BALANCED), state=at_rest)
    assert list(notices(before, now, wishes, wishes)) == []
