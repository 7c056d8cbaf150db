"""What an owner is told: what is new, once."""

from __future__ import annotations

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


def turn(reason: Reason, **leaving: int) -> Turn:
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
            (Reason.STORM_FROZEN, Reason.STORM_FROZEN, Reason.REBALANCING),
            ["SpotStorm", "SpotStormOver"],
            id="a storm, and its end",
        ),
        pytest.param(
            (Reason.STORM_FROZEN, Reason.NO_CAPACITY),
            ["SpotStorm", "SpotStormOver", "SpotCapacityMissing"],
            id="over, but no room",
        ),
        pytest.param(
            (Reason.STORM_FROZEN, Reason.PAUSED),
            ["SpotStorm", "RebalancingPaused"],
            id="a pause does not end a storm",
        ),
        pytest.param(
            (Reason.STORM_FROZEN, Reason.BALANCED),
            ["SpotStorm", "SplitReached"],
            id="nor does it that nothing is left to move",
        ),
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
