"""Rollouts of Argo Rollouts move only at rest and in long pauses, each ReplicaSet by itself."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from spotalis.model.decision import Evict, Reason
from spotalis.model.disruption import MoveLimit
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Owner
from spotalis.model.rollouts import RolloutProgress, RolloutState
from spotalis.planner.observed import Observed, Replica
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    SPOT,
    a_configuration,
    a_replica,
    decision_of,
    with_facts,
    workload_named_api,
)

AT_REST, PAUSED, IN_PROGRESS = RolloutProgress


def replicas_of(name: str, *, on_demand: int, spot: int) -> list[Replica]:
    owner = Owner(group="apps", kind="ReplicaSet", name=name, uid=name)
    types = [ON_DEMAND] * on_demand + [SPOT] * spot
    return [
        a_replica(name=f"{name}-{number}", node_type=node_type, owner=owner)
        for number, node_type in enumerate(types)
    ]


def a_rollout(
    stable: tuple[int, int], canary: tuple[int, int] = (0, 0), *, state: RolloutState
) -> Observed:
    """A Rollout with these (on-demand, spot) replicas of each ReplicaSet, at 50 %."""
    both = {"stable": stable, "canary": canary}
    sizes = {name: sum(present) for name, present in both.items() if sum(present)}
    count = sum(sizes.values())
    observed = Observed(
        workload=workload_named_api(kind="Rollout", replicas=count, rollout=state),
        configuration=a_configuration(percent=50, floor=0, moves=MoveLimit(count=10)),
        replicas=tuple(
            replica
            for name, (on_demand, spot) in both.items()
            for replica in replicas_of(name, on_demand=on_demand, spot=spot)
        ),
        replica_sets=sizes if len(sizes) > 1 else {},
    )
    return with_facts(observed, free=20)


@pytest.mark.parametrize(
    ("state", "moves"),
    [
        (RolloutState(progress=AT_REST), True),
        (RolloutState(progress=IN_PROGRESS), False),
        (RolloutState(progress=PAUSED), True),
        (RolloutState(progress=PAUSED, pause_ends_at=NOW + timedelta(seconds=30)), False),
        (RolloutState(progress=PAUSED, pause_ends_at=NOW + timedelta(seconds=31)), True),
    ],
    ids=["at rest", "step", "paused by a human", "short pause", "long pause"],
)
def test_replicas_move_at_rest_and_in_pauses_longer_than_the_resync(
    state: RolloutState, moves: bool
) -> None:
    decision = decision_of(a_rollout((4, 0), state=state))
    if moves:
        assert isinstance(decision, Evict)
        assert len(decision.moves) == 2
    else:
        assert decision.reason is Reason.ROLLOUT_IN_PROGRESS


def test_a_rollout_at_rest_waits_for_the_end_of_the_pods_of_its_earlier_replica_set() -> None:
    observed = a_rollout((4, 0), (2, 0), state=RolloutState(progress=AT_REST))
    assert decision_of(observed).reason is Reason.ROLLOUT_IN_PROGRESS


@pytest.mark.parametrize(
    ("stable", "canary", "moved"),
    [
        ((4, 4), (1, 1), {}),
        ((4, 4), (2, 0), {"canary": 1}),
        ((8, 0), (2, 0), {"stable": 4, "canary": 1}),
        ((5, 3), (0, 2), {"canary": 1}),
        ((5, 3), (1, 1), {"stable": 1}),
    ],
    ids=["exact", "canary only", "both", "errors that add up to zero", "stable only"],
)
def test_each_replica_set_of_a_paused_rollout_is_split_by_itself(
    stable: tuple[int, int], canary: tuple[int, int], moved: dict[str, int]
) -> None:
    decision = decision_of(a_rollout(stable, canary, state=RolloutState(progress=PAUSED)))
    found: dict[str, int] = {}
    for move in decision.moves if isinstance(decision, Evict) else ():
        assert move.pod.owner is not None
        found[move.pod.owner.uid] = found.get(move.pod.owner.uid, 0) + 1
    assert found == moved
    if not moved:
        assert decision.reason is Reason.BALANCED


def test_odd_numbers_are_rounded_for_each_replica_set() -> None:
    """5 + 3 replicas at 50 %: 2 + 1 belong on spot, although 4 of 8 would."""
    observed = a_rollout((3, 2), (2, 1), state=RolloutState(progress=PAUSED))
    assert observed.state.desired_spot == 3
    assert observed.state.desired_on_demand == 5
    assert observed.state.is_balanced
    as_one = dataclasses.replace(observed, replica_sets={})
    assert as_one.state.surplus(NodeType.ON_DEMAND) == 1
