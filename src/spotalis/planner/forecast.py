"""What the next reconciles of a workload would do if nothing else changed.

Repeats :func:`spotalis.planner.decide.decide` on a copy of the workload, in which each replacement
is ready on the target type after ``start_time``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import msgspec

from spotalis.model.decision import Decision, Defer, Evict, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from spotalis.planner.decide import after_moves, decide
from spotalis.planner.fallback import waiting_for_spot
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.resolution import MoveResolution

DEFAULT_START_TIME = timedelta(seconds=30)
"""Assumed if no replica of the workload has ever become ready."""
LONGEST_WAIT = timedelta(days=7)
"""A forecast ends at a condition that lasts longer."""
_MAX_STEPS = 1000
_PASSES = frozenset({Reason.COOLDOWN, Reason.OUTSIDE_WINDOW, Reason.FUTILE, Reason.PAUSED})
"""Reasons that end at a known time, whatever happens in the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Moves that start together."""

    after: timedelta
    """Time from now."""
    moves: tuple[Move, ...]
    waited_for: Defer | None = None
    """What delayed the step; None if it follows at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The moves to come, and how they end."""

    steps: tuple[Step, ...]
    duration: timedelta
    """Until the last replacement is ready."""
    end: Decision
    """The decision after the last step: the workload is balanced, or why no more moves follow."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """All moves in order."""
        return tuple(move for step in self.steps for move in step.moves)


def start_time_of(replicas: Iterable[Replica]) -> timedelta:
    """The median time from the creation of a replica until it was ready."""
    spans = [
        pod.ready_at - pod.created_at
        for pod in (replica.pod for replica in replicas)
        if pod.ready and pod.ready_at is not None and pod.created_at is not None
    ]
    seconds = [span.total_seconds() for span in spans if span >= timedelta(0)]
    return timedelta(seconds=median(seconds)) if seconds else DEFAULT_START_TIME


def forecast(observed: Observed, now: datetime, start_time: timedelta) -> Forecast:
    """Predict the moves of a workload.

    Args:
        observed: the state of now, as ``decide`` takes it.
        start_time: from an eviction until the replacement is ready.
    """
    begin, waited_for = now, None
    steps: list[Step] = []
    decision: Decision
    if observed.ledger.intents:
        count = len(observed.ledger.intents)
        words = f"{count} {'move' if count == 1 else 'moves'} in progress"
        now, waited_for = now + start_time, Defer(Reason.MOVES_IN_FLIGHT, words)
        observed = _settled(observed, now)
    for _ in range(_MAX_STEPS):
        waiting = waiting_for_spot(observed, now)
        plan = decide(observed, waiting, now=now, instance="forecast", can_evict=True)
        decision, observed = plan.decision, plan.observed
        if isinstance(decision, Evict):
            steps.append(Step(after=now - begin, moves=decision.moves, waited_for=waited_for))
            now, waited_for = now + start_time, None
            observed = _after(observed, decision.moves, now)
            continue
        wait = decision.requeue_after if isinstance(decision, Defer) else None
        if wait is None or decision.reason not in _PASSES or wait > LONGEST_WAIT:
            break
        assert isinstance(decision, Defer)
        now, waited_for = now + max(wait, timedelta(seconds=1)), decision
    duration = steps[-1].after + start_time if steps else timedelta(0)
    return Forecast(steps=tuple(steps), duration=duration, end=decision)


def _settled(observed: Observed, now: datetime) -> Observed:
    """The same workload once its open moves are over and each replacement is ready.

    A replacement that does not exist yet is assumed on the target type of its move.
    """
    intents = observed.ledger.intents
    gone = {replica.pod.uid: replica for replica in observed.replicas if not replica.is_active}
    replaced = {replica.pod.move for replica in observed.active}
    coming = [
        _replacement(gone[intent.pod], Move(gone[intent.pod].pod, intent.target), now)
        for intent in intents
        if intent.pod in gone and intent.move not in replaced
    ]
    present = [
        msgspec.structs.replace(r, pod=msgspec.structs.replace(r.pod, ready=True, ready_at=now))
        if r.pod.move and r.pod.node and not r.pod.ready
        else r
        for r in observed.active
    ]
    ledger = msgspec.structs.replace(observed.ledger, intents=())
    over = MoveResolution(ledger=ledger, finished=intents)
    observed = dataclasses.replace(observed, replicas=(*present, *coming))
    return after_moves(observed, over, now)


def _after(observed: Observed, moves: tuple[Move, ...], now: datetime) -> Observed:
    """The same workload once these replicas are replaced and the moves are over."""
    moved = {move.pod.uid: move for move in moves}
    left = Counter(move.pod.node for move in moves)
    replicas = tuple(
        _replacement(replica, moved[replica.pod.uid], now)
        if replica.pod.uid in moved
        else msgspec.structs.replace(
            replica, other_pods=replica.other_pods - left[replica.pod.node]
        )
        for replica in observed.replicas
    )
    spot = observed.spot
    to_spot = sum(move.target is NodeType.SPOT for move in moves)
    if spot.free is not None:
        spot = dataclasses.replace(spot, free=max(0, spot.free - to_spot))
    seen = observed.spot_view
    if any(move.probe for move in moves):
        seen = seen.available_since(now)
    cooldown = observed.moves.cooldown
    budget = dataclasses.replace(observed.moves, cooldown_until=now + cooldown)
    return dataclasses.replace(observed, replicas=replicas, spot_view=seen, spot=spot, moves=budget)


def _replacement(replica: Replica, move: Move, now: datetime) -> Replica:
    pod: Pod = msgspec.structs.replace(
        replica.pod,
        uid=f"{replica.pod.uid}/replacement",
        node=f"{move.target} node of {replica.pod.name}",
        ready=True,
        ready_at=now,
        created_at=now,
        deleting_at=None,
        phase="Running",
        unschedulable=False,
        rule="",
    )
    return msgspec.structs.replace(
        replica,
        pod=pod,
        node_type=move.target,
        other_pods=0,
        counts_as_gone=False,
        on_terminating_node=False,
    )
