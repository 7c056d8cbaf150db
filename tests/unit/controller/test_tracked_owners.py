"""The replicas of owners are kept up to date as if they were evaluated for each placement."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from spotalis.controller import tracked_owners
from spotalis.kube.store import EventType
from spotalis.model.objects import Owner
from spotalis.planner.held import HeldReplicas
from spotalis.planner.interruption import NOTICE_TTL
from tests.support.builders import (
    STATEFUL_SET,
    a_pod,
    a_replica,
)
from tests.support.cluster_histories import (
    CONFIGURATION,
    LABELS,
    NEW,
    OTHER,
    SET,
    TAINTS,
    Histories,
)
from tests.support.manual_clock import ManualClock

HISTORIES = settings(max_examples=60, stateful_step_count=40)


class HistoriesOfStatefulSets(Histories):
    """The same for pods that have names at admission."""

    kind = STATEFUL_SET
    owners = (SET, SET, OTHER)


class HistoriesWithFewPlacements(Histories):
    """Several changes are applied at once."""

    places_after_every_step = False


def test_after_any_history_a_placement_is_that_of_the_definition() -> None:
    run_state_machine_as_test(Histories, settings=HISTORIES)


def test_after_any_history_a_pod_of_a_statefulset_is_placed_as_defined() -> None:
    run_state_machine_as_test(HistoriesOfStatefulSets, settings=HISTORIES)


def test_several_changes_between_two_placements_are_applied() -> None:
    run_state_machine_as_test(HistoriesWithFewPlacements, settings=HISTORIES)


def test_owners_that_are_forgotten_are_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked_owners, "MAX_REPLICAS", 2)
    monkeypatch.setattr(tracked_owners, "MAX_CONSTRAINTS", 1)
    run_state_machine_as_test(Histories, settings=HISTORIES)


def test_nothing_is_kept_of_owners_that_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked_owners, "MAX_REPLICAS", 20)
    history = Histories()
    for number in range(50):
        uid = f"owner-{number}"
        owner = Owner(group="apps", kind="ReplicaSet", name=uid, uid=uid)
        for pod in range(3):
            name = f"{uid}-{pod}"
            history.apply_pod(EventType.MODIFIED, a_pod(name, owner=owner))
        placement = history.observer.for_placement(history.workload, CONFIGURATION, uid, "")
        assert placement.pods == 3
        assert 1 <= len(history.cluster.changed_pods) <= 6
    for name in [pod.name for pod in history.cluster.pods]:
        history.apply_pod(EventType.DELETED, history.cluster.pods.by_namespace["shop"][name])
    assert len(history.cluster.changed_pods) == 0


def test_an_owner_for_which_no_placement_is_asked_again_takes_no_memory() -> None:
    """This instance answered a request while the leader did not, and then the leader again."""
    history = Histories()
    owner = Owner(group="apps", kind="ReplicaSet", name="batch", uid="batch-uid")
    history.apply_pod(EventType.MODIFIED, a_pod("batch-0", owner=owner))
    history.observer.for_placement(history.workload, CONFIGURATION, owner.uid, "")
    assert ("shop", owner.uid) in history.cluster.changed_pods
    for number in range(3):
        pod = a_pod(f"batch-{number}", owner=owner)
        history.apply_pod(EventType.DELETED, pod)
        history.apply_pod(EventType.MODIFIED, a_pod(f"batch-{number + 1}", owner=owner))
    assert ("shop", owner.uid) not in history.cluster.changed_pods
    found = history.observer.for_placement(history.workload, CONFIGURATION, owner.uid, "")
    assert found.pods == 1


def test_the_replicas_of_a_node_whose_notice_has_expired_hold_their_slots_again() -> None:
    history = Histories()
    history.apply_pod(EventType.MODIFIED, a_pod("api-9", node="node-1", slot=9))
    history.put_node("node-1", 0, LABELS[0], TAINTS[1])
    count = history.observer.for_placement
    before = count(history.workload, CONFIGURATION, NEW.uid, "").pods
    history.clock.advance(NOTICE_TTL.total_seconds() - 1)
    assert count(history.workload, CONFIGURATION, NEW.uid, "").pods == before
    history.clock.advance(1)
    assert count(history.workload, CONFIGURATION, NEW.uid, "").pods == before + 2


def test_the_newest_pod_is_known_after_a_newer_one_is_gone() -> None:
    held, now = HeldReplicas(), ManualClock().now()
    pods = [a_pod(f"api-{n}", created_at=now + n * timedelta(seconds=1)) for n in range(3)]
    for pod in pods:
        held.put(a_replica(pod))
    assert held.newest == pods[2]
    held.remove(pods[2].uid)
    assert held.newest == pods[1]
    held.put(a_replica(msgspec.structs.replace(pods[1], created_at=now - timedelta(seconds=1))))
    assert held.newest == pods[0]
