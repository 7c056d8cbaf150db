"""Events for the owners of workloads: one per change (docs/reference/behaviour.md, "What is written
into the cluster")."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from spotalis import logs
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import AlreadyExists, ApiError, Client, EvictionOutcome, PatchType
from spotalis.kube.limiter import TokenBucket
from spotalis.kube.resources import CORE_EVENTS, WORKLOADS
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Reason
from spotalis.model.durations import format_duration
from spotalis.model.environment import Clock
from spotalis.model.names import append_suffix
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod, Workload
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.model.timestamps import format_time
from spotalis.model.transport import TransportError

log = logs.get(__name__)

CONTROLLER = "spotalis.io/controller"
MAX_NOTE_BYTES = 1024
"""Limit of the API server for the note of an Event."""
MAX_INSTANCE_LENGTH = 128
"""Limit of the API server for the reporting instance of an Event."""
EVENT_BURST = 25.0
"""Events about one workload in a row, as in client-go's spam filter
(client-go/tools/record/events_cache.go, defaultSpamBurst)."""
EVENT_REFILL_SECONDS = 30.0
"""Time per further Event; client-go's 300 s would hide most of a long rebalance."""


class EventReason(StrEnum):
    """The reasons of the operator's Events; docs/reference/events.md describes them."""

    SPLIT_REACHED = "SplitReached"
    INVALID_SPLIT_POLICY = "InvalidSplitPolicy"
    UNKNOWN_POLICY_KEY = "UnknownPolicyKey"
    SPLIT_POLICY_WARNING = "SplitPolicyWarning"
    SPLIT_TARGET_CHANGED = "SplitTargetChanged"
    SPOT_CAPACITY_MISSING = "SpotCapacityMissing"
    ON_DEMAND_CAPACITY_MISSING = "OnDemandCapacityMissing"
    EVICTED_EARLY = "EvictedEarly"
    REPLICA_MOVED = "ReplicaMoved"
    SPOT_UNSTABLE = "SpotUnstable"
    SPOT_CAPACITY_FOUND = "SpotCapacityFound"
    SPOT_RECLAIMED = "SpotReclaimed"
    SPOT_STORM_OVER = "SpotStormOver"
    REBALANCING_RESUMED = "RebalancingResumed"
    SPOT_STORM = "SpotStorm"
    REBALANCING_PAUSED = "RebalancingPaused"
    MOVE_BLOCKED = "MoveBlocked"
    SPLIT_UNREACHABLE = "SplitUnreachable"
    ON_DEMAND_FLOOR_UNMET = "OnDemandFloorUnmet"
    MOVES_FUTILE = "MovesFutile"
    ADMISSION_BYPASSED = "AdmissionBypassed"
    LEDGER_UNREADABLE = "LedgerUnreadable"
    NODES_UNKNOWN = "NodesUnknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage:
    """The content of an Event."""

    type: str
    """``Normal`` or ``Warning``."""
    reason: EventReason
    action: str
    note: str
    related: Pod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The moves of a workload since its split was last reached."""

    moves: int
    since: datetime
    """When the first of them was made."""


def next_progress(progress: Progress | None, result: ReconcileResult) -> Progress | None:
    """The progress after a reconcile; it begins with the first move."""
    evicted = [one for one in result.evictions if one.outcome is EvictionOutcome.EVICTED]
    moves = sum(1 for one in evicted if not one.fallback and not one.early)
    if progress is None:
        return Progress(moves=moves, since=result.at) if moves else None
    return dataclasses.replace(progress, moves=progress.moves + moves)


def event_messages(
    previous: ReconcileResult | None,
    result: ReconcileResult,
    previous_configuration: WorkloadConfiguration | None,
    configuration: WorkloadConfiguration,
    progress: Progress | None = None,
) -> Iterator[EventMessage]:
    """What changed between two reconciles of a workload.

    Args:
        previous: the earlier result; None in the first reconcile of this process.
        result: the new result.
        previous_configuration: the policy at the time of ``previous``.
        configuration: the policy at the time of ``result``.
        progress: the moves since the split was last reached, including those of ``result``.
    """
    yield from _policy_messages(previous_configuration, configuration)
    if previous_configuration is not None and previous is not None:
        yield from _target_messages(previous, result, previous_configuration, configuration)
    yield from _move_messages(result, configuration)
    if previous is not None:
        yield from _node_messages(previous, result)
    if result.reason is not (before := previous.reason if previous else None):
        yield from _reason_messages(before, result)
    reached = result.reason is Reason.BALANCED and previous is not None
    if reached and progress is not None and progress.moves:
        seconds = int((result.at - progress.since).total_seconds())
        duration = format_duration(timedelta(seconds=seconds))
        note = f"Balanced after {_count(progress.moves, 'move')} in {duration}"
        yield _normal(EventReason.SPLIT_REACHED, "Rebalance", note)


def _policy_messages(
    previous: WorkloadConfiguration | None, configuration: WorkloadConfiguration
) -> Iterator[EventMessage]:
    if previous is None or previous.problems != configuration.problems:
        for problem in configuration.problems:
            note = f"{problem}. Spotalis leaves the workload unchanged"
            yield _warning(EventReason.INVALID_SPLIT_POLICY, "Parse", note)
    if previous is None or previous.warnings != configuration.warnings:
        for warning in configuration.warnings:
            quoted = f"'{PREFIX}{warning.key}'" + (f" {warning.value}" if warning.value else "")
            yield _warning(
                EventReason.UNKNOWN_POLICY_KEY
                if warning.is_unknown_key
                else EventReason.SPLIT_POLICY_WARNING,
                "Parse",
                f"{quoted} {warning.message} ({warning.source})",
            )


def _target_messages(
    previous: ReconcileResult,
    result: ReconcileResult,
    old: WorkloadConfiguration,
    new: WorkloadConfiguration,
) -> Iterator[EventMessage]:
    """A changed percentage or floor, and the new target."""
    changes = [
        f"{key} {'none' if before is None else before} -> {'none' if now is None else now}"
        for key, before, now in (
            ("spot-percentage", old.spot_percentage, new.spot_percentage),
            ("min-on-demand", old.min_on_demand, new.min_on_demand),
        )
        if before != now
    ]
    if not changes or not new.has_policy or new.problems or old.problems:
        return
    note = f"Target is now {result.state.desired_on_demand} on-demand + {result.state.desired_spot}"
    note += " spot"
    if old.has_policy:
        note += f" (was {previous.state.desired_on_demand} + {previous.state.desired_spot})"
    note += f": {', '.join(changes)}"
    yield _normal(EventReason.SPLIT_TARGET_CHANGED, "Recompute", note)


def _move_messages(
    result: ReconcileResult, configuration: WorkloadConfiguration
) -> Iterator[EventMessage]:
    surplus_type = result.state.surplus_type
    surplus = result.state.surplus(surplus_type) if surplus_type else 0
    evicted = [one for one in result.evictions if one.outcome is EvictionOutcome.EVICTED]
    if fallbacks := sum(1 for one in evicted if one.fallback):
        timeout = format_duration(configuration.spot_fallback)
        within = f" within spot-fallback ({timeout})"
        if result.refusal:
            within = f": {result.refusal}"
        pronoun = "it" if fallbacks == 1 else "them"
        note = (
            f"No spot node for {_count(fallbacks, 'replica')}{within}; starting {pronoun} on "
            "on-demand"
        )
        yield _warning(EventReason.SPOT_CAPACITY_MISSING, "Evict", note)
    for eviction in evicted:
        pod = eviction.move.pod
        if eviction.fallback:
            continue
        if eviction.early:
            note = f"Evicted {pod.name} from node {pod.node}, which the provider is reclaiming"
            yield _normal(EventReason.EVICTED_EARLY, "Evict", note, pod)
            continue
        surplus -= 1
        origin = f"{eviction.move.target.other} node {pod.node}" if pod.node else "no node"
        rest = f"{surplus} more to move" if surplus > 0 else "none left to move"
        if eviction.move.probe:
            rest = "probing spot capacity with one replica"
        yield _normal(
            EventReason.REPLICA_MOVED, "Evict", f"Evicted {pod.name} from {origin}; {rest}", pod
        )


def _node_messages(previous: ReconcileResult, result: ReconcileResult) -> Iterator[EventMessage]:
    for node in sorted(result.reclaimed_nodes.keys() - previous.reclaimed_nodes.keys()):
        affected = _count(result.reclaimed_nodes[node], "replica")
        note = f"The provider is reclaiming spot node {node}; {affected} affected"
        yield _normal(EventReason.SPOT_RECLAIMED, "Observe", note)
    surplus_type = result.state.surplus_type
    was_exhausted = previous.spot is SpotAvailability.EXHAUSTED
    is_available = result.spot is SpotAvailability.AVAILABLE
    if was_exhausted and is_available and surplus_type is NodeType.ON_DEMAND:
        note = result.spot_evidence or "A spot node was found"
        note += f"; {_count(result.state.surplus(surplus_type), 'replica')} to move back to spot"
        yield _normal(EventReason.SPOT_CAPACITY_FOUND, "Observe", note)
    if previous.storm and not result.storm and surplus_type is NodeType.ON_DEMAND:
        note = "The spot storm is over; replicas may move to spot again"
        yield _normal(EventReason.SPOT_STORM_OVER, "Observe", note)


def _reason_messages(before: Reason | None, result: ReconcileResult) -> Iterator[EventMessage]:
    """A reason that the previous reconcile did not have."""
    if before is Reason.PAUSED:
        note = "No longer paused; replicas may move again"
        yield _normal(EventReason.REBALANCING_RESUMED, "Resume", note)
    if result.reason is Reason.STORM_FROZEN:
        # The note omits when the storm ends: each further loss changes that and would be an Event.
        note = "Many spot nodes are being lost; no replica moves to spot until the storm is over"
        yield _warning(EventReason.SPOT_STORM, "Observe", note)
    note = result.decision.message
    if result.reason in WARNINGS:
        reason, action = WARNINGS[result.reason]
        yield _warning(reason, action, note)
    elif result.reason is Reason.PAUSED and before is not None:
        yield _normal(EventReason.REBALANCING_PAUSED, "Pause", note)


def _normal(
    reason: EventReason, action: str, note: str, related: Pod | None = None
) -> EventMessage:
    return EventMessage(type="Normal", reason=reason, action=action, note=note, related=related)


def _warning(reason: EventReason, action: str, note: str) -> EventMessage:
    return EventMessage(type="Warning", reason=reason, action=action, note=note)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


WARNINGS: Mapping[Reason, tuple[EventReason, str]] = {
    Reason.BLOCKED_BY_PDB: (EventReason.MOVE_BLOCKED, "Evict"),
    Reason.EVICTION_REFUSED: (EventReason.MOVE_BLOCKED, "Evict"),
    Reason.PINNED: (EventReason.SPLIT_UNREACHABLE, "Observe"),
    Reason.SPOT_UNSTABLE: (EventReason.SPOT_UNSTABLE, "Observe"),
    Reason.NO_SPOT_CAPACITY: (EventReason.SPOT_CAPACITY_MISSING, "Observe"),
    Reason.NO_ON_DEMAND_CAPACITY: (EventReason.ON_DEMAND_CAPACITY_MISSING, "Observe"),
    Reason.FLOOR_UNMET: (EventReason.ON_DEMAND_FLOOR_UNMET, "Observe"),
    Reason.FUTILE: (EventReason.MOVES_FUTILE, "Observe"),
    Reason.WEBHOOK_NEVER_CALLED: (EventReason.ADMISSION_BYPASSED, "Observe"),
    Reason.LEDGER_UNREADABLE: (EventReason.LEDGER_UNREADABLE, "Observe"),
    Reason.NO_CLASSIFIER: (EventReason.NODES_UNKNOWN, "Observe"),
}
"""Reasons that result in a warning: the Event's reason and action."""


class EventRecorder:
    """Writes Events about workloads. An Event that cannot be written is dropped."""

    def __init__(self, client: Client, clock: Clock, instance: str) -> None:
        self._client = client
        self._clock = clock
        name, separator, nonce = instance.rpartition("_")
        self._instance = append_suffix(name, separator + nonce, max_length=MAX_INSTANCE_LENGTH)
        self._last: dict[WorkloadKey, tuple[ReconcileResult, WorkloadConfiguration]] = {}
        self._progress: dict[WorkloadKey, Progress | None] = {}
        self._buckets: dict[WorkloadKey, TokenBucket] = {}

    async def record(
        self, workload: Workload, configuration: WorkloadConfiguration, result: ReconcileResult
    ) -> None:
        """Write Events about what changed since the last reconcile of the workload."""
        last = self._last.get(result.key)
        self._last[result.key] = (result, configuration)
        previous, previous_configuration = last or (None, None)
        progress = next_progress(self._progress.get(result.key), result)
        for message in event_messages(
            previous, result, previous_configuration, configuration, progress
        ):
            if self._allow(result.key):
                # The first messages of this process may repeat those of an earlier leader.
                await self._write(workload, message, is_repetition=previous is not None)
        self._progress[result.key] = None if result.reason is Reason.BALANCED else progress

    def _allow(self, key: WorkloadKey) -> bool:
        """Whether the workload may have another Event now."""
        if key not in self._buckets:
            self._buckets[key] = TokenBucket(1 / EVENT_REFILL_SECONDS, EVENT_BURST, self._clock)
        return self._buckets[key].take() == 0

    def forget(self, key: WorkloadKey) -> None:
        """Drop the state of a workload that was deleted or is not managed any more."""
        self._last.pop(key, None)
        self._progress.pop(key, None)
        self._buckets.pop(key, None)

    def forget_all(self) -> None:
        """Drop the state of all workloads: another instance leads and may have changed them."""
        self._last.clear()
        self._progress.clear()
        self._buckets.clear()

    async def _write(
        self, workload: Workload, message: EventMessage, *, is_repetition: bool
    ) -> None:
        """Create the Event; if it exists, count the repetition, as client-go's recorder does."""
        body = self._event(workload, message)
        try:
            try:
                await self._client.create(CORE_EVENTS, workload.namespace, body)
            except AlreadyExists:
                if is_repetition:
                    await self._count_repetition(workload.namespace, body)
        except (TransportError, ApiError) as error:
            log.warning("Could not write event", reason=message.reason, error=str(error))

    async def _count_repetition(self, namespace: str, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        existing = await self._client.get(CORE_EVENTS, namespace, name)
        if existing is None:  # It has expired since.
            await self._client.create(CORE_EVENTS, namespace, body)
            return
        change = {"count": existing.count + 1, "lastTimestamp": body["lastTimestamp"]}
        await self._client.patch(CORE_EVENTS, namespace, name, change, patch_type=PatchType.MERGE)

    def _event(self, workload: Workload, message: EventMessage) -> dict[str, Any]:
        """The Event in the form of the core group: only there it has timestamps and a count, by
        which kubectl sorts."""
        now = format_time(self._clock.now())
        note = message.note.encode()[:MAX_NOTE_BYTES].decode(errors="ignore")
        related = message.related
        identity = "\n".join((message.reason, workload.uid, related.uid if related else "", note))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": append_suffix(workload.name, f".{digest}"),
                "namespace": workload.namespace,
            },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": message.type,
            "reason": message.reason,
            "action": message.action,
            "message": note,
            "source": {"component": CONTROLLER},
            "reportingComponent": CONTROLLER,
            "reportingInstance": self._instance,
            "involvedObject": {
                "apiVersion": WORKLOADS[workload.kind].api_version,
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
