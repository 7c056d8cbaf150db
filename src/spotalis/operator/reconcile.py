"""One turn of one workload: observe, plan, carry out, say when to look again."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from spotalis.kube.client import ApiError, Client, Conflict, EvictionOutcome
from spotalis.kube.resources import DEPLOYMENTS, PODS, STATEFULSETS
from spotalis.model.clock import Clock
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Decision, Defer, Evict, Move, Reason
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.model.replicas import ReplicaState
from spotalis.model.transport import TransportError
from spotalis.operator.autoscaler import promised
from spotalis.operator.cluster import Cluster, WorkloadKey
from spotalis.operator.doubt import unheard
from spotalis.operator.journal import Journal
from spotalis.operator.ledger import PREFIX, Ledgers
from spotalis.operator.observe import Observer
from spotalis.operator.volumes import Volumes
from spotalis.planner.early import leaving_early
from spotalis.planner.fallback import fallen_back, waiting
from spotalis.planner.ledger import authorise, prepare, withdraw, without_unsent
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
FRESH_SECONDS = 5.0
"""The list that authorises an eviction is at most so old when that is sent (safety.md D.2, S1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """What became of one eviction."""

    move: Move
    outcome: EvictionOutcome
    message: str = ""
    fallback: bool = False
    """Of a replica that waited for spot in vain: nothing ready was lost."""
    early: bool = False
    """Of a replica whose node is being taken: it would have gone with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The record of one turn: metrics, events, status and the simulator all read it."""

    key: WorkloadKey
    at: datetime
    decision: Decision
    state: ReplicaState
    ready: Mapping[NodeType, int] = field(default_factory=dict)
    """Replicas that serve, per class."""
    moving: bool = False
    """Moves are open, or replicas are to be moved."""
    fallbacks: int = 0
    """Replicas of spot slots that run on on-demand since spot was short."""
    leaving: Mapping[str, int] = field(default_factory=dict)
    """Spot nodes that are being taken, and replicas of the workload on each."""
    storm: bool = False
    """Moves towards spot rest in the whole cluster."""
    evictions: tuple[Eviction, ...] = ()
    again_in: timedelta | None = None
    """When to look again at the latest."""

    @property
    def reason(self) -> Reason:
        """Why the workload is as it is."""
        return self.decision.reason


class Reconciler:
    """Brings workloads to their split, one turn at a time; may act only while it leads."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        observer: Observer,
        journal: Journal,
        ledgers: Ledgers,
        volumes: Volumes,
        client: Client,
        clock: Clock,
        sender: str,
        may_move: Callable[[], bool],
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is done before :meth:`reconcile`.

        Args:
            cluster, observer, journal, ledgers, volumes, client, clock: what it sees and acts
                through.
            sender: names this process in ledgers; never that of another, nor of an earlier one.
            may_move: whether evictions may be sent at this very moment.
            freed: called when something ended that other workloads may wait for: a move of those
                that the cluster allows at once, or a probe.
        """
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._ledgers = ledgers
        self._volumes = volumes
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
        ended = await self._ended(workload.namespace, ledger)
        await self._volumes.learn(
            self._observer.held_by_volumes(workload, configuration, ledger, self._clock.now())
        )
        # From here to the writing of the ledger nothing but an autoscaler's events is waited for.
        now = self._clock.now()
        observed = self._trusted(self._observer.for_plan(workload, configuration, ledger, now))
        if observed.read_only:
            return self._turn(key, now, observed, plan(observed, now))
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
            return self._turn(key, now, observed, decision, again_in=UNSURE_RETRY)
        if settlement.over:
            self._freed()
        done = [await self._fall_back(key, observed, replica) for replica in due]
        if self._cluster.settings.evict_early:
            done += await self._evict_early(key, observed, now)
        if sends and held is not None:
            sent, held = await self._send(key, observed, held)
            done += sent
            decision = _outcome(decision, sent)
        pauses = [waits.due_in, PROMISE_RETRY if kept else None, *_pauses(decision, done)]
        soonest = min((pause for pause in pauses if pause is not None), default=None)
        return self._turn(key, now, observed, decision, done, soonest)

    async def sweep(self) -> None:
        """Remove the ledgers of workloads that are gone, or that are ours no more; tidy up.

        Raises:
            ApiError, TransportError: the rest is left for the next time.
        """
        meant = (intent.pod for intent in self._ledgers.intents())
        known = {*meant, *(pod.uid for pod in self._cluster.pods)}
        self._journal.retain(known)
        self._volumes.retain(known)
        living = {w.uid: w for w in (*self._cluster.deployments, *self._cluster.stateful_sets)}
        for held in list(self._ledgers.store):
            if self._is_out_of_sight(held):
                await self._ledgers.remove(held)
                continue
            workload = living.get(held.name.removeprefix(PREFIX))
            if workload is None:
                if held.ledger is not None and await self._is_gone(held.name, held.ledger):
                    await self._ledgers.remove(held)
                continue
            key = WorkloadKey(workload.kind, workload.namespace, workload.name)
            if self._cluster.configuration(key) is None and held.ledger is not None:
                ended = await self._ended(workload.namespace, held.ledger)
                if all(intent.pod in ended for intent in held.ledger.intents):
                    await self._ledgers.remove(held)

    def _is_out_of_sight(self, held: LedgerObject) -> bool:
        """Whether a ledger is of a namespace that is watched no more: nobody can end its moves.

        Left there, they would hold places in the budget of moves for ever.
        """
        if held.ledger is None:
            return False
        namespace = WorkloadKey.of(held.ledger).namespace
        return not self._cluster.settings.namespaces.watches(namespace)

    async def _is_gone(self, name: str, ledger: Ledger) -> bool:
        """Whether a ledger's workload has been deleted: that our view lacks it is no proof."""
        key = WorkloadKey.of(ledger)
        resource = DEPLOYMENTS if key.kind == "Deployment" else STATEFULSETS
        found = await self._client.get(resource, key.namespace, key.name)
        return found is None or PREFIX + found.uid != name

    # -- the ledger ------------------------------------------------------------------------------

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
        return self._turn(key, now, observed, Defer(Reason.LEDGER_UNREADABLE, words))

    async def _ended(self, namespace: str, ledger: Ledger) -> frozenset[str]:
        """Which pods of its intents are known to end or to be gone, by a look if need be.

        That a store does not show a pod proves nothing: its server may lag.
        """
        for intent in ledger.intents:
            if intent.pod in self._journal:
                continue
            pod = self._cluster.pods.get(namespace, intent.name)
            if pod is None or pod.uid != intent.pod:
                await self._look_at(namespace, intent)
            elif pod.deleting_at is not None:
                self._journal.saw_end(intent.pod)
        return frozenset(i.pod for i in ledger.intents if i.pod in self._journal)

    async def _look_at(self, namespace: str, intent: Intent) -> None:
        pod = await self._client.get(PODS, namespace, intent.name)
        if pod is None or pod.uid != intent.pod or pod.deleting_at is not None:
            self._journal.saw_end(intent.pod)

    def _trusted(self, observed: Observed) -> Observed:
        """The same with what speaks against acting on the stores at this moment."""
        cluster, at = self._cluster, self._clock.monotonic()
        return dataclasses.replace(
            observed,
            unheard=unheard(cluster.stores(), at),
            implausible=cluster.doubts.words(at),
        )

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

    # -- evictions -------------------------------------------------------------------------------

    async def _unpromised(
        self, namespace: str, due: Sequence[Replica], now: datetime
    ) -> tuple[list[Replica], list[Replica]]:
        """Those that no autoscaler is making room for, and those that one is."""
        if not due:
            return [], []
        try:
            coming = await promised(self._client, namespace, now)
        except (ApiError, TransportError) as error:
            logger.warning("events not read", extra={"fields": {"error": str(error)}})
            coming = frozenset()
        kept = [replica for replica in due if replica.pod.uid in coming]
        return [replica for replica in due if replica.pod.uid not in coming], kept

    async def _fall_back(self, key: WorkloadKey, observed: Observed, replica: Replica) -> Eviction:
        """Evict a pod that waits for a node, but not if it has just been bound after all."""
        answer = await self._client.evict(
            replica.pod, with_resource_version=True, still=self._still_wished(key, observed)
        )
        if answer.outcome in _ENDS:
            self._journal.saw_end(replica.pod.uid)
        move = Move(replica.pod, NodeType.ON_DEMAND)
        _log(key, move, answer.outcome, answer.message, fallback=True)
        return Eviction(move=move, outcome=answer.outcome, message=answer.message, fallback=True)

    def _still_wished(self, key: WorkloadKey, observed: Observed) -> Callable[[], bool]:
        """We lead, and the owner has said nothing new: writing a ledger may have taken long."""
        return lambda: (
            self._may_move() and self._cluster.configuration(key) == observed.configuration
        )

    async def _evict_early(
        self, key: WorkloadKey, observed: Observed, now: datetime
    ) -> list[Eviction]:
        """Evict who stands on a spot node that is being taken."""
        done = []
        for replica in leaving_early(observed, now):
            still = self._still_wished(key, observed)
            answer = await self._client.evict(replica.pod, still=still)
            if answer.outcome in _ENDS:
                self._journal.saw_end(replica.pod.uid)
            move = Move(replica.pod, replica.node_type)
            _log(key, move, answer.outcome, answer.message)
            done.append(
                Eviction(move=move, outcome=answer.outcome, message=answer.message, early=True)
            )
        return done

    async def _send(
        self, key: WorkloadKey, observed: Observed, held: LedgerObject
    ) -> tuple[list[Eviction], LedgerObject | None]:
        """Send what the ledger as just written and the pods as they are now allow together."""
        assert held.ledger is not None
        ledger, workload = held.ledger, observed.workload
        asked_at = self._clock.monotonic()
        wishes = self._cluster.configuration(key)

        def still() -> bool:
            fresh = self._clock.monotonic() - asked_at < FRESH_SECONDS
            return fresh and self._may_move() and self._cluster.configuration(key) == wishes

        living = await self._living(workload, ledger)
        allowed: tuple[Intent, ...] = ()
        # The ledger may have been long in writing: what the owner says is asked anew.
        if wishes is not None and self._goes_on(key, observed, wishes):
            allowed = authorise(
                ledger,
                living=living.keys() - {i.pod for i in ledger.intents if i.pod in self._journal},
                floor_pods=self._floor_pods(observed, living.values()),
                floor=wishes.floor,
            )
        done: list[Eviction] = []
        may_go = _may_go(observed, ledger, living.values())
        for intent in allowed:
            pod = living[intent.pod]
            if pod.ready and may_go <= 0:
                continue  # meant while it did not serve, or while more did
            may_go -= pod.ready
            self._journal.sent.add(pod.uid)
            answer = await self._client.evict(pod, still=still)
            if answer.outcome in _BY_BUDGET and observed.overrides_budgets:
                answer = await self._client.delete_pod(pod, still=still)
            move = Move(pod, intent.toward, probe=intent.probe)
            _log(key, move, answer.outcome, answer.message)
            done.append(Eviction(move=move, outcome=answer.outcome, message=answer.message))
            if answer.outcome in _ENDS:
                self._journal.saw_end(intent.pod)
            elif answer.outcome is not EvictionOutcome.UNKNOWN:
                break
        maybe = {one.move.pod.uid for one in done if one.outcome is EvictionOutcome.UNKNOWN}
        refused = {
            intent.pod
            for intent in ledger.intents
            if intent.pod not in self._journal and intent.pod not in maybe
        }
        rest = withdraw(ledger, sender=self._sender, refused=refused)
        if rest == ledger:
            return done, held
        try:
            return done, await self._write(workload, held, rest)
        except Conflict:
            return done, held  # whoever wrote it has taken them over

    async def _living(self, workload: Workload, ledger: Ledger) -> dict[str, Pod]:
        """The workload's pods as they are now, by UID, but for those that end."""
        pods = await self._client.list_all(
            PODS, workload.namespace, quorum=True, label_selector=str(workload.selector)
        )
        for pod in pods:
            if pod.deleting_at is not None:
                self._journal.saw_end(pod.uid)
        shown = {pod.uid for pod in pods}
        for intent in ledger.intents:
            if intent.pod not in shown and intent.pod not in self._journal:
                # Our view is behind. Unless that is learned, the next turn means it again.
                await self._look_at(workload.namespace, intent)
        return {pod.uid: pod for pod in pods if pod.deleting_at is None}

    def _goes_on(self, key: WorkloadKey, observed: Observed, wishes: WorkloadConfiguration) -> bool:
        """Nothing has come up since ``observed`` that keeps evictions back."""
        workload = self._cluster.workload(key)
        if workload is None or workload.uid != observed.workload.uid:
            return False
        latest = dataclasses.replace(observed, workload=workload, configuration=wishes)
        return hold_back(self._trusted(latest), self._clock.now()) is None

    def _floor_pods(self, observed: Observed, pods: Iterable[Pod]) -> frozenset[str]:
        """UIDs of the pods that the floor counts: ready, on on-demand, on no leaving node."""
        cluster = self._cluster
        found = set()
        for pod in _serving(observed, pods):
            node = cluster.node(pod.node)
            if (
                node is not None
                and cluster.node_type(node.name) is NodeType.ON_DEMAND
                and not cluster.leaving(node.name)
            ):
                found.add(pod.uid)
        return frozenset(found)

    # -- the record ------------------------------------------------------------------------------

    def _turn(
        self,
        key: WorkloadKey,
        now: datetime,
        observed: Observed,
        decision: Decision,
        evictions: Sequence[Eviction] = (),
        again_in: timedelta | None = None,
    ) -> Turn:
        if again_in is None and isinstance(decision, Defer):
            again_in = decision.again_in
        return Turn(
            key=key,
            at=now,
            decision=decision,
            state=observed.state,
            ready=Counter(r.node_type for r in observed.replicas if r.ready),
            moving=bool(observed.ledger.intents) or observed.state.crowded is not None,
            fallbacks=sum(1 for r in observed.staying if r.pod.rule == "fallback"),
            leaving=Counter(
                r.pod.node for r in observed.replicas if r.leaving and r.node_type is NodeType.SPOT
            ),
            storm=observed.storm_until is not None and now < observed.storm_until,
            evictions=tuple(evictions),
            again_in=again_in,
        )


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


_ENDS = frozenset({EvictionOutcome.EVICTED, EvictionOutcome.GONE})
"""Answers that say that the pod ends."""
_GOES_ON = _ENDS | {EvictionOutcome.UNKNOWN, EvictionOutcome.CONFLICT}


_BY_BUDGET = frozenset({EvictionOutcome.BLOCKED, EvictionOutcome.MISCONFIGURED})


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
    if any(one.outcome not in _GOES_ON for one in done):
        yield BLOCKED_RETRY


def _outcome(decision: Decision, sent: Sequence[Eviction]) -> Decision:
    """What the turn came to: nothing but a refusal is one; what never left was not refused."""
    if not sent or any(one.outcome in _GOES_ON for one in sent):
        return decision
    if sent[-1].outcome is EvictionOutcome.NOT_SENT:
        return decision
    return Defer(Reason.BLOCKED_BY_PDB, sent[-1].message, BLOCKED_RETRY)


def _log(
    key: WorkloadKey,
    move: Move,
    outcome: EvictionOutcome,
    message: str,
    *,
    fallback: bool = False,
) -> None:
    fields = {
        "workload": str(key),
        "pod": move.pod.name,
        "node": move.pod.node,
        "toward": str(move.toward),
        "outcome": str(outcome),
        "message": message,
    }
    logger.info("fallback" if fallback else "eviction", extra={"fields": fields})
