"""Sends evictions, as late and with as many conditions as there are (safety.md D.4, design J)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.result import EvictionRecord
from spotalis.controller.terminations import Terminations
from spotalis.kube.client import Client, Conflict, EvictionOutcome
from spotalis.kube.eviction import EvictionResult as Answer
from spotalis.kube.resources import PODS
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Move
from spotalis.model.environment import Clock
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.planner.early_eviction import early_evictions
from spotalis.planner.ledger import authorize, withdraw
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.plan import recheck

logger = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""The list that authorises an eviction is at most so old when that is sent (safety.md D.2, S1)."""


class Evictor:
    """Carries out what a turn has decided; what is sent is noted before, and what ends after."""

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
            cluster, ledgers, terminations, client, clock: what it sees and acts through.
            instance: names this process in ledgers.
            can_evict: whether evictions may be sent at this very moment.
        """
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._client = client
        self._clock = clock
        self._instance = instance
        self._can_evict = can_evict

    async def fall_back(
        self, key: WorkloadKey, observed: Observed, due: Iterable[Replica]
    ) -> list[EvictionRecord]:
        """Evict pods that wait for a node, but none that has just been bound after all."""
        done = []
        for replica in due:
            move = Move(replica.pod, NodeType.ON_DEMAND)
            answer = await self._client.evict(
                replica.pod,
                with_resource_version=True,
                precondition=self._still_wished(key, observed),
            )
            done.append(self._noted(key, move, answer, fallback=True))
        return done

    async def evict_early(
        self, key: WorkloadKey, observed: Observed, now: datetime
    ) -> list[EvictionRecord]:
        """Evict who stands on a spot node that is being taken."""
        done = []
        for replica in early_evictions(observed, now):
            move = Move(replica.pod, replica.node_type)
            answer = await self._client.evict(
                replica.pod, precondition=self._still_wished(key, observed)
            )
            done.append(self._noted(key, move, answer, early=True))
        return done

    async def send(
        self, key: WorkloadKey, observed: Observed, held: LedgerObject
    ) -> list[EvictionRecord]:
        """Send what the ledger as just written and the pods as they are now allow together.

        What was refused, or not sent after all, is taken out of the ledger again.

        Args:
            held: the ledger as it was written.

        Raises:
            ApiError, TransportError: for what is not the answer to an eviction.
        """
        assert held.ledger is not None
        ledger, workload = held.ledger, observed.workload
        asked_at = self._clock.monotonic()
        wishes = self._cluster.find_configuration(key)

        def still() -> bool:
            fresh = self._clock.monotonic() - asked_at < FRESH_SECONDS
            return fresh and self._can_evict() and self._cluster.find_configuration(key) == wishes

        living = await self._living(workload, ledger)
        allowed: tuple[Intent, ...] = ()
        # The ledger may have been long in writing: what the owner says is asked anew.
        if wishes is not None and self._goes_on(key, observed, wishes):
            allowed = authorize(
                ledger,
                living={uid for uid in living if uid not in self._terminations},
                floor_pods=self._floor_pods(observed, living.values()),
                floor=wishes.floor,
            )
        done: list[EvictionRecord] = []
        may_go = _may_go(observed, ledger, living.values())
        for intent in allowed:
            pod = living[intent.pod]
            if pod.ready and may_go <= 0:
                continue  # meant while it did not serve, or while more did
            may_go -= pod.ready
            self._terminations.sent.add(pod.uid)
            answer = await self._client.evict(pod, precondition=still)
            if answer.outcome.is_blocked_by_budget and observed.may_override_budgets:
                answer = await self._client.delete_pod(pod, precondition=still)
            move = Move(pod, intent.target, probe=intent.probe)
            done.append(self._noted(key, move, answer))
            if not answer.outcome.ends_pod and answer.outcome is not EvictionOutcome.UNKNOWN:
                break
        maybe = {one.move.pod.uid for one in done if one.outcome is EvictionOutcome.UNKNOWN}
        refused = {
            intent.pod
            for intent in ledger.intents
            if intent.pod not in self._terminations and intent.pod not in maybe
        }
        rest = withdraw(ledger, instance=self._instance, refused=refused)
        if rest != ledger:
            try:
                await self._ledgers.write(workload, held, rest)
            except Conflict:
                pass  # whoever wrote it has taken them over
        return done

    def _noted(
        self,
        key: WorkloadKey,
        move: Move,
        answer: Answer,
        *,
        fallback: bool = False,
        early: bool = False,
    ) -> EvictionRecord:
        """An eviction that was answered: into the journal if its pod ends, and into the log."""
        if answer.outcome.ends_pod:
            self._terminations.record(move.pod.uid)
        fields = {
            "workload": str(key),
            "pod": move.pod.name,
            "node": move.pod.node,
            "target": str(move.target),
            "outcome": str(answer.outcome),
            "message": answer.message,
        }
        logger.info("fallback" if fallback else "eviction", extra={"fields": fields})
        return EvictionRecord(
            move=move,
            outcome=answer.outcome,
            message=answer.message,
            fallback=fallback,
            early=early,
        )

    def _still_wished(self, key: WorkloadKey, observed: Observed) -> Callable[[], bool]:
        """We lead, and the owner has said nothing new: writing a ledger may have taken long."""
        return lambda: (
            self._can_evict() and self._cluster.find_configuration(key) == observed.configuration
        )

    async def _living(self, workload: Workload, ledger: Ledger) -> dict[str, Pod]:
        """The workload's pods as they are now, by UID, but for those that end."""
        pods = await self._client.list_all(
            PODS, workload.namespace, quorum=True, label_selector=str(workload.selector)
        )
        for pod in pods:
            if pod.deleting_at is not None:
                self._terminations.record(pod.uid)
        shown = {pod.uid for pod in pods}
        for intent in ledger.intents:
            if intent.pod not in shown and intent.pod not in self._terminations:
                # Our view is behind. Unless that is learned, the next turn means it again.
                await self._terminations.verify(workload.namespace, intent)
        return {pod.uid: pod for pod in pods if pod.deleting_at is None}

    def _goes_on(self, key: WorkloadKey, observed: Observed, wishes: WorkloadConfiguration) -> bool:
        """Nothing has come up since ``observed`` that keeps evictions back."""
        workload = self._cluster.find_workload(key)
        if workload is None or workload.uid != observed.workload.uid:
            return False
        latest = dataclasses.replace(
            observed,
            workload=workload,
            configuration=wishes,
            stale_watch=self._cluster.stale_watch(),
            suspect_list=self._cluster.suspect_list(),
        )
        return recheck(latest, self._clock.now()) is None

    def _floor_pods(self, observed: Observed, pods: Iterable[Pod]) -> frozenset[str]:
        """UIDs of the pods that the floor counts: ready, on on-demand, on no leaving node."""
        nodes = self._cluster.nodes
        found = set()
        for pod in _serving(observed, pods):
            if nodes.type_of(pod.node) is NodeType.ON_DEMAND and not nodes.is_terminating(pod.node):
                found.add(pod.uid)
        return frozenset(found)


def _serving(observed: Observed, pods: Iterable[Pod]) -> Iterator[Pod]:
    """The workload's own pods among these that are ready."""
    owners = {r.pod.owner.uid for r in observed.replicas if r.pod.owner is not None}
    for pod in pods:
        if pod.ready and not pod.finished and pod.owner is not None and pod.owner.uid in owners:
            yield pod


def _may_go(observed: Observed, ledger: Ledger, pods: Iterable[Pod]) -> int:
    """Replicas that serve and may go at once, by what the list that authorises shows.

    In flight are the missing ones, and those whose replacement serves and is not yet available
    for as long as the workload asks: their moves are not over. Nor is a move that the ledger still
    names after its pod has gone, whatever its replacement says: it may have come unreviewed.
    """
    living = {pod.uid: pod for pod in pods}
    serving = list(_serving(observed, living.values()))
    missing = max(0, observed.workload.replicas - len(serving))
    moves = {intent.move for intent in ledger.intents}
    young = sum(1 for pod in serving if pod.move in moves)
    gone = sum(1 for intent in ledger.intents if intent.pod not in living)
    return observed.move_limit - max(missing + young, gone)
