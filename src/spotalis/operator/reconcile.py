"""One turn of one workload: observe, plan, carry out, say when to look again."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from spotalis.kube.client import Client, EvictionOutcome
from spotalis.model.clock import Clock
from spotalis.model.decision import Decision, Defer, Evict, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from spotalis.model.replicas import ReplicaState
from spotalis.operator.cluster import Cluster, WorkloadKey
from spotalis.operator.journal import Journal, OpenMove
from spotalis.operator.observe import Observer
from spotalis.planner.observed import Observed
from spotalis.planner.plan import plan

logger = logging.getLogger(__name__)

BLOCKED_RETRY = timedelta(seconds=10)
"""After a refusal by a PodDisruptionBudget; its status change wakes the workload before that."""
UNSURE_RETRY = timedelta(seconds=2)
"""After an eviction whose answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """What became of one move."""

    move: Move
    outcome: EvictionOutcome
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The record of one turn: metrics, events, status and the simulator all read it."""

    key: WorkloadKey
    at: datetime
    decision: Decision
    state: ReplicaState
    ready: Mapping[NodeType, int] = field(default_factory=dict)
    """Replicas that serve, per class."""
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
        client: Client,
        clock: Clock,
        may_move: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._observer = observer
        self._journal = journal
        self._client = client
        self._clock = clock
        self._may_move = may_move
        self._rests_until: dict[WorkloadKey, datetime] = {}

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
            self._journal.forget(key)
            return None
        observed = self._observer.observe(workload, configuration)
        now = self._clock.now()
        self._close_moves(key, observed, now)
        observed = dataclasses.replace(
            self._observer.with_room(observed), cooldown_until=self._rests_until.get(key)
        )
        decision = plan(observed, now)
        again_in = decision.again_in if isinstance(decision, Defer) else None
        done: list[Eviction] = []
        if lost := self._journal.unsure(key):
            # Nothing new before the evictions whose answer was lost are answered.
            done = [await self._evict(key, Move(move.pod, move.toward)) for move in lost]
            again_in = UNSURE_RETRY
        elif isinstance(decision, Evict):
            done = await self._carry_out(key, decision)
            decision, again_in = _outcome(decision, done)
        return Turn(
            key=key,
            at=now,
            decision=decision,
            state=observed.state,
            ready=Counter(r.node_type for r in observed.replicas if r.ready),
            evictions=tuple(done),
            again_in=again_in,
        )

    def _close_moves(self, key: WorkloadKey, observed: Observed, now: datetime) -> None:
        """A move is over when its pod is gone and its replacement serves.

        Which replacement belongs to which move nobody can tell, and need not: a workload never
        has more open moves than pods of it are missing. A pod that is still shown as living
        although it was evicted keeps its move open: the event is yet to come.
        """
        moves = self._journal.of(key)
        if not moves:
            return
        living = {r.pod.uid for r in observed.replicas if not (r.pod.deleting_at or r.pod.finished)}
        gone = [uid for uid in moves if uid not in living]
        over = len(gone) - observed.missing(now)
        for uid in gone[: max(0, over)]:
            self._journal.close(key, uid)
        for uid in gone[max(0, over) :]:
            moves[uid].confirmed = True
        if not self._journal.of(key):
            self._rests_until[key] = now + self._cluster.settings.cooldown

    async def _carry_out(self, key: WorkloadKey, decision: Evict) -> list[Eviction]:
        """Evict in order until one is refused, unanswered, or the lead is lost."""
        done: list[Eviction] = []
        for move in decision.moves:
            if not self._may_move():
                break
            done.append(await self._evict(key, move))
            if done[-1].outcome not in _GOES_ON:
                break
        return done

    async def _evict(self, key: WorkloadKey, move: Move) -> Eviction:
        """Ask the API server; the move is open from before the request until it is refused."""
        pod = move.pod
        entry = OpenMove(pod=pod, toward=move.toward, sent_at=self._clock.monotonic())
        self._journal.open(key, entry)
        answer = await self._client.evict(pod)
        match answer.outcome:
            case EvictionOutcome.EVICTED:
                entry.confirmed = True
            case EvictionOutcome.UNKNOWN:
                pass
            case _:
                self._journal.close(key, pod.uid)
        _log(key, pod, move, answer.outcome, answer.message)
        return Eviction(move=move, outcome=answer.outcome, message=answer.message)


_GOES_ON = frozenset({EvictionOutcome.EVICTED, EvictionOutcome.GONE, EvictionOutcome.CONFLICT})
"""Answers after which the next candidate may be asked for: the pod is gone, one way or another."""


def _outcome(decision: Evict, done: list[Eviction]) -> tuple[Decision, timedelta | None]:
    """What the turn came to, and when to look again at the latest."""
    if not done or done[-1].outcome in _GOES_ON:
        return decision, None
    last = done[-1]
    if last.outcome is EvictionOutcome.UNKNOWN:
        return decision, UNSURE_RETRY
    if any(eviction.outcome is EvictionOutcome.EVICTED for eviction in done):
        return decision, BLOCKED_RETRY
    return Defer(Reason.BLOCKED_BY_PDB, last.message, BLOCKED_RETRY), BLOCKED_RETRY


def _log(key: WorkloadKey, pod: Pod, move: Move, outcome: EvictionOutcome, message: str) -> None:
    logger.info(
        "eviction",
        extra={
            "fields": {
                "workload": str(key),
                "pod": pod.name,
                "node": pod.node,
                "toward": str(move.toward),
                "outcome": str(outcome),
                "message": message,
            }
        },
    )
