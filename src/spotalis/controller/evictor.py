"""Sends evictions; checks every precondition again immediately before sending."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from spotalis import logs
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.result import EvictionRecord
from spotalis.controller.terminations import Terminations
from spotalis.kube.client import Client, Conflict, EvictionOutcome
from spotalis.kube.eviction import EvictionResult
from spotalis.kube.resources import PODS
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Move
from spotalis.model.environment import Clock
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.planner.decide import ReconcilePlan
from spotalis.planner.ledger import authorize, withdraw
from spotalis.planner.moves import recheck
from spotalis.planner.observed import Observed, Replica

log = logs.get(__name__)

_SAYS_NOTHING_ABOUT_OTHERS = frozenset(
    {
        EvictionOutcome.EVICTED,
        EvictionOutcome.GONE,
        EvictionOutcome.UNKNOWN,
        EvictionOutcome.FORBIDDEN,
    }
)
"""Outcomes after which the evictions of other pods are still sent."""

LIST_VALID_SECONDS = 5.0
"""Maximum age of the list of pods that authorizes an eviction, when the eviction is sent."""


class Evictor:
    """Sends what a plan has decided. Records what may have been sent, and which pods end."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        ledgers: Ledgers,
        terminations: Terminations,
        client: Client,
        clock: Clock,
        instance: str,
        can_evict: Callable[[], bool],
    ) -> None:
        """Nothing is sent before a method is called.

        Args:
            cluster, ledgers, terminations, client, clock: what the evictor works with.
            instance: the name of this instance in ledgers.
            can_evict: whether evictions may be sent at this moment.
        """
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._client = client
        self._clock = clock
        self._instance = instance
        self._can_evict = can_evict

    async def execute(
        self, key: WorkloadKey, plan: ReconcilePlan, stored: LedgerObject | None
    ) -> list[EvictionRecord]:
        """Send the evictions of a plan: fallbacks, early evictions, then moves.

        Args:
            stored: the ledger as it was written.

        Raises:
            ApiError, TransportError: a request other than an eviction failed.
        """
        records = await self._fall_back(key, plan.observed, plan.fallbacks)
        records += await self._evict_early(key, plan.observed, plan.early_evictions)
        if plan.sends_intents and stored is not None:
            records += await self._send_intents(key, plan.observed, stored)
        return records

    async def _fall_back(
        self, key: WorkloadKey, observed: Observed, due: Iterable[Replica]
    ) -> list[EvictionRecord]:
        """Evict pods that wait for a node, unless they were bound in the meantime."""
        records = []
        is_unchanged = self._is_unchanged(key, observed.workload, observed.configuration)
        for replica in due:
            result = await self._client.evict(
                replica.pod, with_resource_version=True, precondition=is_unchanged
            )
            move = Move(replica.pod, NodeType.ON_DEMAND)
            records.append(self._record(key, move, result, fallback=True))
        return records

    async def _evict_early(
        self, key: WorkloadKey, observed: Observed, replicas: Iterable[Replica]
    ) -> list[EvictionRecord]:
        """Evict pods from spot nodes that are being reclaimed."""
        records = []
        is_unchanged = self._is_unchanged(key, observed.workload, observed.configuration)
        for replica in replicas:
            result = await self._client.evict(replica.pod, precondition=is_unchanged)
            move = Move(replica.pod, replica.node_type)
            records.append(self._record(key, move, result, early=True))
        return records

    async def _send_intents(
        self, key: WorkloadKey, observed: Observed, stored: LedgerObject
    ) -> list[EvictionRecord]:
        """Send the evictions that the ledger as written and a new list of pods both allow.

        Intents whose eviction was refused or not sent are removed from the ledger again.
        """
        assert stored.ledger is not None
        ledger = stored.ledger
        listed_at = self._clock.monotonic()
        configuration = self._cluster.find_configuration(key)
        live = await self._list_live_pods(observed.workload, ledger)
        records: list[EvictionRecord] = []
        # Writing the ledger may have taken long, so the policy is read again.
        if configuration is not None and self._is_still_allowed(key, observed, configuration):
            is_unchanged = self._is_unchanged(key, observed.workload, configuration)

            def precondition() -> bool:
                fresh = self._clock.monotonic() - listed_at < LIST_VALID_SECONDS
                return fresh and is_unchanged()

            allowed = authorize(
                ledger,
                live={uid for uid in live if uid not in self._terminations},
                floor_pods=self._floor_pods(observed, live.values()),
                floor=configuration.floor,
            )
            records = await self._send(key, observed, ledger, live, allowed, precondition)
        await self._withdraw_unsent(observed.workload, stored, ledger, records)
        return records

    async def _send(
        self,
        key: WorkloadKey,
        observed: Observed,
        ledger: Ledger,
        live: Mapping[str, Pod],
        allowed: Sequence[Intent],
        precondition: Callable[[], bool],
    ) -> list[EvictionRecord]:
        """Send evictions one after the other, until a refusal that may concern the next pod too."""
        records: list[EvictionRecord] = []
        left = _ready_pods_left(observed, ledger, live.values())
        for intent in allowed:
            pod = live[intent.pod]
            if observed.is_backing_off(pod.uid, self._clock.now()):
                continue
            if pod.ready and left <= 0:
                continue  # The readiness of this or another pod has changed since the decision.
            left -= pod.ready
            self._terminations.sent.add(pod.uid)
            result = await self._client.evict(pod, precondition=precondition)
            if result.outcome.is_blocked_by_budget and observed.moves.may_override_budgets:
                result = await self._client.delete_pod(pod, precondition=precondition)
            move = Move(pod, intent.target, probe=intent.probe)
            records.append(self._record(key, move, result))
            if result.outcome not in _SAYS_NOTHING_ABOUT_OTHERS:
                break
        return records

    async def _withdraw_unsent(
        self,
        workload: Workload,
        stored: LedgerObject,
        ledger: Ledger,
        records: Sequence[EvictionRecord],
    ) -> None:
        """Remove from the ledger what certainly has not been carried out."""
        unknown = {r.move.pod.uid for r in records if r.outcome is EvictionOutcome.UNKNOWN}
        refused = {
            intent.pod
            for intent in ledger.intents
            if intent.pod not in self._terminations and intent.pod not in unknown
        }
        rest = withdraw(ledger, instance=self._instance, refused=refused)
        if rest != ledger:
            try:
                await self._ledgers.write(workload, stored, rest)
            except Conflict:
                pass  # Another instance has taken the intents over.

    def _record(
        self,
        key: WorkloadKey,
        move: Move,
        result: EvictionResult,
        *,
        fallback: bool = False,
        early: bool = False,
    ) -> EvictionRecord:
        """Log the result of an eviction, and record the pod if it ends."""
        pod, outcome = move.pod, result.outcome
        if outcome.ends_pod:
            self._terminations.record(pod.uid)
        self._terminations.refusals.record(pod.uid, result, self._clock.now())
        log.info(
            "Evicted pod" if outcome is EvictionOutcome.EVICTED else "Eviction failed",
            workload=str(key),
            pod=pod.name,
            node=pod.node,
            target=str(move.target),
            kind="fallback" if fallback else "early" if early else "move",
            outcome=str(outcome),
            detail=result.message,
        )
        return EvictionRecord(
            move=move, outcome=outcome, message=result.message, fallback=fallback, early=early
        )

    def _is_unchanged(
        self, key: WorkloadKey, workload: Workload, configuration: WorkloadConfiguration
    ) -> Callable[[], bool]:
        """A check, made when a request is sent: this instance leads, and policy and workload are
        the same.

        A workload that was deleted and created again can have the same pods and the same policy.
        Its own ledger would not name the move.
        """

        def is_unchanged() -> bool:
            found = self._cluster.find_workload(key)
            return (
                self._can_evict()
                and found is not None
                and found.uid == workload.uid
                and self._cluster.find_configuration(key) == configuration
            )

        return is_unchanged

    async def _list_live_pods(self, workload: Workload, ledger: Ledger) -> dict[str, Pod]:
        """The workload's pods as they are now, by UID, without those that terminate."""
        pods = await self._client.list_all(
            PODS, workload.namespace, quorum=True, label_selector=str(workload.selector)
        )
        for pod in pods:
            if pod.deleting_at is not None:
                self._terminations.record(pod.uid)
        shown = {pod.uid for pod in pods}
        for intent in ledger.intents:
            if intent.pod not in shown and intent.pod not in self._terminations:
                # The watch is late. Without this check the next reconcile would choose it again.
                await self._terminations.verify(workload.namespace, intent)
        return {pod.uid: pod for pod in pods if pod.deleting_at is None}

    def _is_still_allowed(
        self, key: WorkloadKey, observed: Observed, configuration: WorkloadConfiguration
    ) -> bool:
        """Whether nothing has happened since ``observed`` that stops moves."""
        workload = self._cluster.find_workload(key)
        if workload is None:
            return False
        workload, _ = self._cluster.with_replica_sets(workload)
        cluster = dataclasses.replace(
            observed.cluster,
            stale_watch=self._cluster.health.stale_watch(key.kind, key.namespace),
            suspect_list=self._cluster.health.suspect_list(key.kind, key.namespace),
        )
        latest = dataclasses.replace(
            observed, workload=workload, configuration=configuration, cluster=cluster
        )
        return recheck(latest, self._clock.now()) is None

    def _floor_pods(self, observed: Observed, pods: Iterable[Pod]) -> frozenset[str]:
        """UIDs of the pods that count toward the minimum."""
        nodes = self._cluster.nodes
        found = set()
        for pod in _ready_pods(observed, pods):
            on_demand = nodes.type_of(pod.node) is NodeType.ON_DEMAND
            if on_demand and not nodes.is_terminating(pod.node):
                found.add(pod.uid)
        return frozenset(found)


def _ready_pods(observed: Observed, pods: Iterable[Pod]) -> Iterator[Pod]:
    """The workload's own ready pods among these."""
    owners = {r.pod.owner.uid for r in observed.replicas if r.pod.owner is not None}
    for pod in pods:
        if pod.ready and not pod.finished and pod.owner is not None and pod.owner.uid in owners:
            yield pod


def _ready_pods_left(observed: Observed, ledger: Ledger, pods: Iterable[Pod]) -> int:
    """How many ready pods may be evicted now, according to the list that authorizes evictions.

    Missing pods count against the limit. So do replacements of open moves: they are ready, but
    not yet available for ``minReadySeconds``. So does a move whose pod is gone as long as the
    ledger names it, because its replacement may have been created without an admission request.
    """
    live = {pod.uid: pod for pod in pods}
    ready = list(_ready_pods(observed, live.values()))
    missing = max(0, observed.workload.replicas - len(ready))
    moves = {intent.move for intent in ledger.intents}
    young = sum(1 for pod in ready if pod.move in moves)
    gone = sum(1 for intent in ledger.intents if intent.pod not in live)
    return observed.move_limit - max(missing + young, gone)
