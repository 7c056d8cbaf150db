"""What the owner of a workload is previous_configuration, once per change (interface B.3)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis import logs
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import AlreadyExists, ApiError, Client, EvictionOutcome
from spotalis.kube.limiter import TokenBucket
from spotalis.kube.resources import EVENTS
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Reason
from spotalis.model.durations import format_duration
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod, Workload
from spotalis.model.timestamps import format_micro_time
from spotalis.model.transport import TransportError

log = logs.get(__name__)

CONTROLLER = "spotalis.io/controller"
MAX_NOTE_BYTES = 1024
"""Bytes the API server takes for an Event's note."""


EVENT_BURST = 25.0
"""Of one workload in a row, as client-go's spam filter has it for one object
(client-go/tools/record/events_cache.go, defaultSpamBurst)."""
EVENT_REFILL_SECONDS = 30.0
"""After that, one in so many seconds; client-go's 300 would hide most of a long rebalance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage:
    """One thing to say about a workload."""

    type: str
    """``Normal`` or ``Warning``."""
    reason: str
    action: str
    note: str
    related: Pod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The moves of a workload since its split was last reached."""

    moves: int
    since: datetime
    """When the first of them was made."""


def next_progress(progress: Progress | None, turn: ReconcileResult) -> Progress | None:
    """The progress after a turn; it begins with a move."""
    evicted = [one for one in turn.evictions if one.outcome is EvictionOutcome.EVICTED]
    moves = sum(1 for one in evicted if not one.fallback and not one.early)
    if progress is None:
        return Progress(moves=moves, since=turn.at) if moves else None
    return dataclasses.replace(progress, moves=progress.moves + moves)


def event_messages(
    previous: ReconcileResult | None,
    turn: ReconcileResult,
    previous_configuration: WorkloadConfiguration | None,
    configuration: WorkloadConfiguration,
    progress: Progress | None = None,
) -> Iterator[EventMessage]:
    """What is new in ``turn``; nothing for what is still so.

    Args:
        previous: the turn before; None for the first one of this process.
        turn: the turn just made.
        previous_configuration: the wishes of the owner as of ``previous``.
        configuration: as of ``turn``.
        progress: the moves since the split was last reached, those of ``turn`` included.
    """
    if previous_configuration is None or previous_configuration.problems != configuration.problems:
        for problem in configuration.problems:
            note = f"{problem}. The workload is left as it is"
            yield EventMessage(
                type="Warning", reason="InvalidSplitPolicy", action="Parse", note=note
            )
    if previous_configuration is None or previous_configuration.warnings != configuration.warnings:
        for warning in configuration.warnings:
            quoted = f"'{PREFIX}{warning.key}'" + (f" {warning.value}" if warning.value else "")
            note = f"{quoted} {warning.message} ({warning.source})"
            unknown = "is not read" in warning.message
            reason = "UnknownPolicyKey" if unknown else "SplitPolicyWarning"
            yield EventMessage(type="Warning", reason=reason, action="Parse", note=note)
    if previous_configuration is not None and previous is not None:
        yield from _of_target(previous, turn, previous_configuration, configuration)
    yield from _of_moves(previous, turn)
    reached = turn.reason is Reason.BALANCED and previous is not None
    if reached and progress is not None and progress.moves:
        count = f"{progress.moves} {'move' if progress.moves == 1 else 'moves'}"
        spent = format_duration(timedelta(seconds=int((turn.at - progress.since).total_seconds())))
        note = f"Balanced after {count} in {spent}"
        yield EventMessage(type="Normal", reason="SplitReached", action="Rebalance", note=note)


def _of_target(
    previous: ReconcileResult,
    turn: ReconcileResult,
    previous_configuration: WorkloadConfiguration,
    configuration: WorkloadConfiguration,
) -> Iterator[EventMessage]:
    """Another share or floor, and what it makes of the target."""
    changes = [
        f"{key} {'none' if old is None else old} -> {'none' if new is None else new}"
        for key, old, new in (
            (
                "spot-percentage",
                previous_configuration.spot_percentage,
                configuration.spot_percentage,
            ),
            ("min-on-demand", previous_configuration.min_on_demand, configuration.min_on_demand),
        )
        if old != new
    ]
    if not changes or configuration.problems or previous_configuration.problems:
        return
    was, now = previous.state, turn.state
    note = (
        f"Target is now {now.desired_on_demand} on-demand + {now.desired_spot} spot "
        f"(was {was.desired_on_demand} + {was.desired_spot}): {', '.join(changes)}"
    )
    yield EventMessage(type="Normal", reason="SplitTargetChanged", action="Recompute", note=note)


def _of_moves(previous: ReconcileResult | None, turn: ReconcileResult) -> Iterator[EventMessage]:
    left = turn.state.surplus_type
    surplus = turn.state.surplus(left) if left else 0
    fell = [e for e in turn.evictions if e.fallback and e.outcome is EvictionOutcome.EVICTED]
    if fell:
        count = f"{len(fell)} spot {'replica' if len(fell) == 1 else 'replicas'}"
        note = f"{count} waited for a spot node in vain; they start on on-demand now"
        yield EventMessage(type="Warning", reason="SpotCapacityMissing", action="Evict", note=note)
    for eviction in turn.evictions:
        if eviction.outcome is EvictionOutcome.EVICTED and not eviction.fallback:
            pod = eviction.move.pod
            if eviction.early:
                note = f"Evicted {pod.name} from node {pod.node}, which is being taken"
                yield EventMessage(
                    type="Normal", reason="EvictedEarly", action="Evict", note=note, related=pod
                )
                continue
            surplus -= 1
            where = f"{eviction.move.target.other} node {pod.node}" if pod.node else "no node"
            more = f"{surplus} more to move" if surplus > 0 else "none left to move"
            if eviction.move.probe:
                more = "one goes to find out whether spot nodes are to be had"
            yield EventMessage(
                type="Normal",
                reason="ReplicaMoved",
                action="Evict",
                note=f"Evicted {pod.name} from {where}; {more}",
                related=pod,
            )
    if previous is not None:
        for node in sorted(turn.leaving.keys() - previous.leaving.keys()):
            here = turn.leaving[node]
            noun = "replica" if here == 1 else "replicas"
            note = f"Spot node {node} is being taken; {here} {noun} affected"
            yield EventMessage(type="Normal", reason="SpotReclaimed", action="Observe", note=note)
        if previous.storm and not turn.storm and left is NodeType.ON_DEMAND:
            note = "No more spot nodes are being lost: replicas may move to spot again"
            yield EventMessage(type="Normal", reason="SpotStormOver", action="Observe", note=note)
    if turn.reason is not (before := previous.reason if previous else None):
        yield from _of_change(before, turn)


def _of_change(before: Reason | None, turn: ReconcileResult) -> Iterator[EventMessage]:
    """What the reason of a turn says that the one of the turn before did not."""
    if before is Reason.PAUSED:
        note = "Not paused any more: replicas may move again"
        yield EventMessage(type="Normal", reason="RebalancingResumed", action="Resume", note=note)
    if turn.reason is Reason.STORM_FROZEN:
        # Without the instant, which every further loss shifts: one storm, one Event.
        note = "Spot nodes are being lost in numbers: no replica moves to spot until it is over"
        yield EventMessage(type="Warning", reason="SpotStorm", action="Observe", note=note)
    note = turn.decision.message
    if turn.reason in _WARNED:
        reason, action = _WARNED[turn.reason]
        yield EventMessage(type="Warning", reason=reason, action=action, note=note)
    elif turn.reason is Reason.PAUSED and before is not None:
        yield EventMessage(type="Normal", reason="RebalancingPaused", action="Pause", note=note)


_WARNED: Mapping[Reason, tuple[str, str]] = {
    Reason.BLOCKED_BY_PDB: ("MoveBlocked", "Evict"),
    Reason.PINNED: ("SplitUnreachable", "Observe"),
    Reason.NO_SPOT_CAPACITY: ("SpotCapacityMissing", "Observe"),
    Reason.FLOOR_UNMET: ("OnDemandFloorUnmet", "Observe"),
    Reason.FUTILE: ("MovesFutile", "Observe"),
    Reason.WEBHOOK_NEVER_CALLED: ("AdmissionBypassed", "Observe"),
    Reason.LEDGER_UNREADABLE: ("LedgerUnreadable", "Observe"),
    Reason.NO_CLASSIFIER: ("NodesUnknown", "Observe"),
}
"""Reasons that an owner is warned of: the Event's reason and action."""


class EventRecorder:
    """Writes notices as Events; what could not be written is dropped, for an event is no state."""

    def __init__(self, client: Client, clock: Clock, instance: str) -> None:
        self._client = client
        self._clock = clock
        self._instance = instance
        self._last: dict[WorkloadKey, tuple[ReconcileResult, WorkloadConfiguration]] = {}
        self._progress: dict[WorkloadKey, Progress | None] = {}
        self._buckets: dict[WorkloadKey, TokenBucket] = {}

    async def record(
        self, workload: Workload, configuration: WorkloadConfiguration, turn: ReconcileResult
    ) -> None:
        """Say what is new about a workload."""
        last = self._last.get(turn.key)
        self._last[turn.key] = (turn, configuration)
        previous, previous_configuration = last or (None, None)
        progress = next_progress(self._progress.get(turn.key), turn)
        for message in event_messages(
            previous, turn, previous_configuration, configuration, progress
        ):
            if self._allow(turn.key):
                await self._write(workload, message)
        self._progress[turn.key] = None if turn.reason is Reason.BALANCED else progress

    def _allow(self, key: WorkloadKey) -> bool:
        """Whether the workload may have another Event now."""
        if key not in self._buckets:
            self._buckets[key] = TokenBucket(1 / EVENT_REFILL_SECONDS, EVENT_BURST, self._clock)
        return self._buckets[key].take() == 0

    def forget(self, key: WorkloadKey) -> None:
        """The workload is gone or no longer ours."""
        self._last.pop(key, None)
        self._progress.pop(key, None)
        self._buckets.pop(key, None)

    async def _write(self, workload: Workload, message: EventMessage) -> None:
        try:
            await self._client.create(EVENTS, workload.namespace, self._event(workload, message))
        except AlreadyExists:
            pass  # recorded before, by this leader or by an earlier one
        except (TransportError, ApiError) as error:
            log.warning("Could not write event", reason=message.reason, error=error)

    def _event(self, workload: Workload, message: EventMessage) -> dict[str, object]:
        note = message.note.encode()[:MAX_NOTE_BYTES].decode(errors="ignore")
        related = message.related
        identity = "\n".join((message.reason, workload.uid, related.uid if related else "", note))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        body: dict[str, object] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{workload.name}.{digest}",
                "namespace": workload.namespace,
            },
            "eventTime": format_micro_time(self._clock.now()),
            "type": message.type,
            "reason": message.reason,
            "action": message.action,
            "note": note,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": "apps/v1",
                "kind": workload.kind,
                "namespace": workload.namespace,
                "name": workload.name,
                "uid": workload.uid,
            },
        }
        if related is not None:
            body["related"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": related.namespace,
                "name": related.name,
                "uid": related.uid,
            }
        return body
