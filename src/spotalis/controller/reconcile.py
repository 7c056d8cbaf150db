"""One turn of one workload: observe, plan, carry out, say when to look again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from spotalis.controller.autoscaler import pods_with_announced_node
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.evictor import Evictor
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.result import EvictionRecord, ReconcileResult, record
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes, held_by_volumes
from spotalis.kube.client import ApiError, Client, Conflict, EvictionOutcome
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Decision, Defer, Evict, Reason
from spotalis.model.environment import Clock
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Workload
from spotalis.model.transport import TransportError
from spotalis.planner.fallback import record_fallback, waiting_for_spot
from spotalis.planner.ledger import drop_unsent, prepare
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.plan import plan, recheck
from spotalis.planner.resolution import MoveResolution, resolve_moves

logger = logging.getLogger(__name__)

BLOCKED_RETRY = timedelta(seconds=10)
"""After a refusal by a PodDisruptionBudget; its status change wakes the workload before that."""
UNSURE_RETRY = timedelta(seconds=2)
"""After an eviction whose answer was lost, or a ledger that another wrote first."""
PROMISE_RETRY = timedelta(seconds=15)
"""While an autoscaler has said that it is making room."""


class Reconciler:
    """Brings workloads to their split, one turn at a time; may act only while it leads."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        observer: Observer,
        ledgers: Ledgers,
        terminations: Terminations,
        volumes: Volumes,
        evictor: Evictor,
        client: Client,
        clock: Clock,
        instance: str,
        can_evict: Callable[[], bool],
        on_move_finished: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is done before :meth:`reconcile`.

        Args:
            cluster, observer, ledgers, terminations, volumes, evictor, client, clock: what it
                sees and acts through.
            instance: names this process in ledgers; never that of another, nor of an earlier one.
            can_evict: whether evictions may be sent at this very moment.
            on_move_finished: called when a move or a probe ended that other workloads may have
                been waiting for.
        """
        self._cluster = cluster
        self._observer = observer
        self._ledgers = ledgers
        self._terminations = terminations
        self._volumes = volumes
        self._evictor = evictor
        self._client = client
        self._clock = clock
        self._instance = instance
        self._can_evict = can_evict
        self._on_move_finished = on_move_finished
        self._rests_until: dict[WorkloadKey, datetime] = {}
        self._landed_at: datetime | None = None

    async def reconcile(self, key: WorkloadKey) -> ReconcileResult | None:
        """One turn; None for a workload that is gone or not ours (any more).

        Raises:
            TransportError, ApiError: only for what is neither an answer to an eviction nor a
                lost one; the queue keeps such an error to its key.
        """
        workload = self._cluster.find_workload(key)
        configuration = self._cluster.find_configuration(key)
        if workload is None or configuration is None:
            self._rests_until.pop(key, None)
            return None
        held = await self._ledgers.read(workload.uid)
        if held is not None and held.ledger is None:
            return self._unreadable(key, workload, configuration, held)
        ledger = (held.ledger if held else None) or Ledger()
        ledger = drop_unsent(ledger, instance=self._instance, sent=self._terminations.sent)
        ended = await self._terminations.find(workload.namespace, ledger)
        now = self._clock.now()
        observed = self._observer.for_reconcile(workload, configuration, ledger, now)
        if await self._volumes.learn(held_by_volumes(observed, now)):
            now = self._clock.now()
            observed = self._observer.for_reconcile(workload, configuration, ledger, now)
        # From here to the writing of the ledger nothing but an autoscaler's events is waited for.
        if observed.read_only:
            return record(key, now, observed, plan(observed, now))
        resolution = resolve_moves(observed, ended, now)
        observed = self._settled(key, observed, resolution, now)
        waits = waiting_for_spot(observed, now)
        due, kept = await self._unpromised(workload.namespace, waits.due, now)
        ledger = observed.ledger
        decision: Decision
        if due:
            ledger = record_fallback(ledger, due, now)
            count = f"{len(due)} spot {'replica' if len(due) == 1 else 'replicas'}"
            decision = Defer(
                Reason.NO_SPOT_CAPACITY, f"{count} waited in vain and will start on on-demand"
            )
        else:
            decision = plan(observed, now)
        wanted = _intents(decision, self._instance, now)
        unsent = any(intent.pod not in ended for intent in ledger.intents)
        sends = self._can_evict() and bool(
            wanted or (unsent and not due and recheck(observed, now) is None)
        )
        if sends:
            ledger = prepare(ledger, instance=self._instance, wanted=wanted, ended=ended)
        try:
            held = await self._write(workload, held, ledger)
        except Conflict as lost:
            logger.info("ledger lost", extra={"fields": {"workload": str(key), "why": str(lost)}})
            return record(key, now, observed, decision, requeue_after=UNSURE_RETRY)
        if resolution.over:
            self._on_move_finished()
        done = await self._evictor.fall_back(key, observed, due)
        if self._cluster.settings.evict_early:
            done += await self._evictor.evict_early(key, observed, now)
        if sends and held is not None:
            sent = await self._evictor.send(key, observed, held)
            done += sent
            decision = _outcome(decision, sent)
        pauses = [waits.due_in, PROMISE_RETRY if kept else None, *_pauses(decision, done)]
        soonest = min((pause for pause in pauses if pause is not None), default=None)
        return record(key, now, observed, decision, done, soonest)

    def _unreadable(
        self,
        key: WorkloadKey,
        workload: Workload,
        configuration: WorkloadConfiguration,
        held: LedgerObject,
    ) -> ReconcileResult:
        now = self._clock.now()
        observed = self._observer.for_reconcile(workload, configuration, Ledger(), now)
        words = (
            f"configmap {held.namespace}/{held.name} was written by another version of Spotalis, "
            "or is damaged; nothing is moved until that version has finished its moves, or "
            "somebody who knows that none is under way deletes it"
        )
        return record(key, now, observed, Defer(Reason.LEDGER_UNREADABLE, words))

    def _settled(
        self, key: WorkloadKey, observed: Observed, resolution: MoveResolution, now: datetime
    ) -> Observed:
        """The same after its moves that are over, with what follows from them."""
        over = resolution.over
        if over and not resolution.ledger.intents:
            self._rests_until[key] = now + self._cluster.settings.cooldown
        if resolution.landed:
            self._landed_at = now
        return dataclasses.replace(
            observed,
            ledger=resolution.ledger,
            moves_free=observed.moves_free + len(over),
            probe_free=observed.probe_free or any(intent.probe for intent in over),
            landed_at=self._landed_at,
            cooldown_until=self._rests_until.get(key),
        )

    async def _write(
        self, workload: Workload, held: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        before = (held.ledger if held else None) or Ledger()
        if ledger == msgspec.structs.replace(before, workload=ledger.workload):
            return held
        return await self._ledgers.write(workload, held, ledger)

    async def _unpromised(
        self, namespace: str, due: Sequence[Replica], now: datetime
    ) -> tuple[list[Replica], list[Replica]]:
        """Those that no autoscaler is making room for, and those that one is."""
        if not due:
            return [], []
        try:
            coming = await pods_with_announced_node(self._client, namespace, now)
        except (ApiError, TransportError) as error:
            logger.warning("events not read", extra={"fields": {"error": str(error)}})
            coming = frozenset()
        kept = [replica for replica in due if replica.pod.uid in coming]
        return [replica for replica in due if replica.pod.uid not in coming], kept


def _intents(decision: Decision, instance: str, now: datetime) -> list[Intent]:
    if not isinstance(decision, Evict):
        return []
    return [
        Intent(
            pod=move.pod.uid,
            name=move.pod.name,
            target=move.target,
            instance=instance,
            created_at=now,
            probe=move.probe,
        )
        for move in decision.moves
    ]


def _pauses(decision: Decision, done: Sequence[EvictionRecord]) -> Iterator[timedelta | None]:
    """When to look again on account of what was decided, and of what became of it."""
    if isinstance(decision, Defer):
        yield decision.requeue_after
    if any(one.outcome is EvictionOutcome.UNKNOWN for one in done):
        yield UNSURE_RETRY
    if any(one.outcome.is_refusal for one in done):
        yield BLOCKED_RETRY


def _outcome(decision: Decision, sent: Sequence[EvictionRecord]) -> Decision:
    """What the turn came to: nothing but a refusal is one; what never left was not refused."""
    if not sent or not all(one.outcome.is_refusal for one in sent):
        return decision
    if sent[-1].outcome is EvictionOutcome.NOT_SENT:
        return decision
    return Defer(Reason.BLOCKED_BY_PDB, sent[-1].message, BLOCKED_RETRY)
