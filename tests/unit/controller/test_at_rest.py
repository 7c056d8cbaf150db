"""Nothing is recomputed for a workload at rest while the versions of its inputs are the same."""

from __future__ import annotations

import dataclasses

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult, summarize
from spotalis.kube.store import EventType, StoreWriter
from spotalis.model.nodes import NodeType
from spotalis.planner.decide import decide
from spotalis.planner.fallback import waiting_for_spot
from tests.support.builders import STATEFUL_SET, a_configuration, a_pod
from tests.support.cluster_histories import IN_NODE_POOL, NEW, OTHER, POOLS, SET, Histories

KEY = WorkloadKey("Deployment", "shop", "api")
compared = 0
"""How often a workload at rest was compared, in this process."""


class HistoriesAtRest(Histories):
    """The policy is often that for which the present replicas are balanced."""

    owners = (NEW, NEW, OTHER)
    places_after_every_step = False

    def __init__(self) -> None:
        super().__init__()
        self.writers = [StoreWriter(store) for store in self.cluster.stores().values()]
        for writer in self.writers:
            writer.end_relist()
        self.configuration = a_configuration()
        self.at_rest: tuple[int, ReconcileResult] | None = None
        """The last result at rest, and the versions of what it was computed from."""
        self.settle()

    @rule()
    def settle(self) -> None:
        """Pods that may start on either type are deleted; the owner asks for the others."""
        for replica in self.observer.without_ledger(self.workload, self.configuration).active:
            if replica.node_type is NodeType.UNKNOWN and not replica.pod.node:
                self.apply_pod(EventType.DELETED, replica.pod)
        state = self.reconcile().state
        present = state.spot + state.on_demand + state.unknown
        self.configuration = a_configuration(percent=100, floor=state.on_demand)
        self.workload = msgspec.structs.replace(
            self.workload,
            replicas=present,
            status_replicas=present,
            updated_replicas=present,
        )
        self.bump()

    @rule(first=st.integers(0, 1), replicas=st.integers(0, 8))
    def change_workload(self, first: int, replicas: int) -> None:
        super().change_workload(first, replicas)
        self.bump()

    def bump(self) -> None:
        """Let the API server have stored a new version of the workload."""
        self.version += 1
        self.workload = msgspec.structs.replace(self.workload, resource_version=str(self.version))

    @invariant()
    def finds_the_same_at_rest(self) -> None:
        global compared
        for writer in self.writers:
            writer.mark_fresh(self.clock.monotonic())
        versions, result = self.observer.versions(self.workload), self.reconcile()
        if self.at_rest is not None and versions == self.at_rest[0]:
            before = self.at_rest[1]
            compared += 1
            assert result == dataclasses.replace(
                before, at=result.at, spot=result.spot, spot_evidence=result.spot_evidence
            )
        self.at_rest = None
        if versions is not None and result.is_at_rest:
            self.at_rest = versions, result

    def reconcile(self) -> ReconcileResult:
        """What a reconcile would find now."""
        now = self.clock.now()
        observed = self.observer.without_ledger(self.workload, self.configuration)
        waiting = waiting_for_spot(observed, now)
        plan = decide(observed, waiting, now=now, instance="me", can_evict=True)
        return summarize(KEY, now, plan)


class HistoriesOfStatefulSetsAtRest(HistoriesAtRest):
    """The same for a StatefulSet."""

    kind = STATEFUL_SET
    owners = (SET, SET, OTHER)


def test_a_workload_at_rest_stays_balanced_while_the_versions_are_the_same() -> None:
    before = compared
    for histories in (HistoriesAtRest, HistoriesOfStatefulSetsAtRest):
        run_state_machine_as_test(
            histories, settings=settings(max_examples=60, stateful_step_count=40)
        )
    assert compared - before > 100


def test_a_workload_is_not_at_rest_after_the_node_pools_have_changed() -> None:
    """They tell which type a pod without a node can run on."""
    history = HistoriesAtRest()
    history.list_node_pools(POOLS[1])
    pod = a_pod("api-7", node="", phase="Pending", ready=False, shape=IN_NODE_POOL)
    history.apply_pod(EventType.ADDED, pod)
    history.settle()
    history.finds_the_same_at_rest()
    assert history.at_rest is not None
    spot = history.at_rest[1].state.spot
    history.list_node_pools(POOLS[0])
    assert history.reconcile().state.spot == spot - 1
    assert history.observer.versions(history.workload) != history.at_rest[0]
