"""One turn of one workload: observe, plan, carry out, say when to look again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from spotalis.controller.autoscaler import pods_with_announced_node
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.endings import Endings
from spotalis.controller.evictor import Evictor
from spotalis.controller.journal import Journal
from spotalis.controller.ledger import Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.turn import Eviction, Turn, record
from spotalis.controller.volumes import Volumes, held_by_volumes
from spotalis.kube.client import ApiError, Client, Conflict, EvictionOutcome
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Decision, Defer, Evict, Reason
from spotalis.model.environment import Clock
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Workload
from spotalis.model.transport import TransportError
from spotalis.planner.fallback import fallen_back, waiting
from spotalis.planner.ledger import prepare, without_unsent
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.plan import hold_back, plan
from spotalis.planner.settlement import Settlement, settle

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
        journal: Journal,
        ledgers: Ledgers,
        endings: Endings,
        volumes: Volumes,
        evictor: Evictor,
        client: Client,
        clock: Clock,
        sender: str,
        may_move: Callable[[], bool],
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is done before :meth:`reconcile`.

        Args:
            cluster, observer, journal, ledgers, endings, volumes, evictor, client, clock: what it
                sees and acts through.
            sender: names this process in ledgers; never that of another, nor of an earlier one.
            may_move: whether evictions may be sent at this very moment.
            freed: called when something ended that other workloads may wait for: a move of those
                that the cluster allows at once, or a probe.
        """
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._ledgers = ledgers
        self._endings = endings
        self._volumes = volumes
        self._evictor = evictor
        self._client = client
        self._clock = clock
        self._sender = sender
        self._may_move = may_move
        self._freed = freed
        self._rests_until: dict[WorkloadKey, datetime] = {}
        self._landed_at: datetime | None = None

    async def reconcile(self, key: WorkloadKey) -> Turn | None:
        """One turn; None for a workload that is gone or not ours (any more).

        Raises:
            TransportError, ApiError: only for what is neither an answer to an eviction nor a
                lost one; the queue keeps such an error to its key.
        """
        workload = self._cluster.workload(key)
        configuration = self._cluster.configuration(key)
        if workload is None or configuration is None:
            self._rests_until.pop(key, None)
            return None
        held = await self._ledgers.read(workload.uid)
        if held is not None and held.ledger is None:
            return self._unreadable(key, workload, configuration, held)
        ledger = (held.ledger if held else None) or Ledger()
        ledger = without_unsent(ledger, sender=self._sender, sent=self._journal.sent)
        ended = await self._endings.of(workload.namespace, ledger)
        now = self._clock.now()
        observed = self._observer.for_plan(workload, configuration, ledger, now)
        if await self._volumes.learn(held_by_volumes(observed, now)):
            now = self._clock.now()
            observed = self._observer.for_plan(workload, configuration, ledger, now)
        # From here to the writing of the ledger nothing but an autoscaler's events is waited for.
        if observed.read_only:
            return record(key, now, observed, plan(observed, now))
        settlement = settle(observed, ended, now)
        observed = self._settled(key, observed, settlement, now)
        waits = waiting(observed, now)
        due, kept = await self._unpromised(workload.namespace, waits.due, now)
        ledger = observed.ledger
        decision: Decision
        if due:
            ledger = fallen_back(ledger, due, now)
            count = f"{len(due)} spot {'replica' if len(due) == 1 else 'replicas'}"
            decision = Defer(
                Reason.NO_CAPACITY, f"{count} waited in vain and will start on on-demand"
            )
        else:
            decision = plan(observed, now)
        wanted = _intents(decision, self._sender, now)
        unsent = any(intent.pod not in ended for intent in ledger.intents)
        sends = self._may_move() and bool(
            wanted or (unsent and not due and hold_back(observed, now) is None)
        )
        if sends:
            ledger = prepare(ledger, sender=self._sender, wanted=wanted, ended=ended)
        try:
            held = await self._write(workload, held, ledger)
        except Conflict as lost:
            logger.info("ledger lost", extra={"fields": {"workload": str(key), "why": str(lost)}})
            return record(key, now, observed, decision, again_in=UNSURE_RETRY)
        if settlement.over:
            self._freed()
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
    ) -> Turn:
        now = self._clock.now()
        observed = self._observer.for_plan(workload, configuration, Ledger(), now)
        words = (
            f"configmap {held.namespace}/{held.name} was written by another version of Spotalis, "
            "or is damaged; nothing is moved until that version has finished its moves, or "
            "somebody who knows that none is under way deletes it"
        )
        return record(key, now, observed, Defer(Reason.LEDGER_UNREADABLE, words))

    def _settled(
        self, key: WorkloadKey, observed: Observed, settlement: Settlement, now: datetime
    ) -> Observed:
        """The same after its moves that are over, with what follows from them."""
        over = settlement.over
        if over and not settlement.ledger.intents:
            self._rests_until[key] = now + self._cluster.settings.cooldown
        if settlement.landed:
            self._landed_at = now
        return dataclasses.replace(
            observed,
            ledger=settlement.ledger,
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


def _intents(decision: Decision, sender: str, now: datetime) -> list[Intent]:
    if not isinstance(decision, Evict):
        return []
    return [
        Intent(
            pod=move.pod.uid,
            name=move.pod.name,
            toward=move.toward,
            sender=sender,
            at=now,
            probe=move.probe,
        )
        for move in decision.moves
    ]


def _pauses(decision: Decision, done: Sequence[Eviction]) -> Iterator[timedelta | None]:
    """When to look again on account of what was decided, and of what became of it."""
    if isinstance(decision, Defer):
        yield decision.again_in
    if any(one.outcome is EvictionOutcome.UNKNOWN for one in done):
        yield UNSURE_RETRY
    if any(one.outcome.is_refusal for one in done):
        yield BLOCKED_RETRY


def _outcome(decision: Decision, sent: Sequence[Eviction]) -> Decision:
    """What the turn came to: nothing but a refusal is one; what never left was not refused."""
    if not sent or not all(one.outcome.is_refusal for one in sent):
        return decision
    if sent[-1].outcome is EvictionOutcome.NOT_SENT:
        return decision
    return Defer(Reason.BLOCKED_BY_PDB, sent[-1].message, BLOCKED_RETRY)
