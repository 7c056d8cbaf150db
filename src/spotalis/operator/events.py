"""What the owner of a workload is told, once per change (interface B.3)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spotalis.kube.client import ApiError, Client, EvictionOutcome
from spotalis.model.clock import Clock
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod, Workload
from spotalis.model.transport import TransportError
from spotalis.operator.cluster import WorkloadKey
from spotalis.operator.reconcile import Turn

logger = logging.getLogger(__name__)

CONTROLLER = "spotalis.io/controller"
LONGEST_NOTE = 1024
"""Bytes the API server takes for an Event's note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to say about a workload."""

    type: str
    """``Normal`` or ``Warning``."""
    reason: str
    action: str
    note: str
    related: Pod | None = None


def notices(
    previous: Turn | None,
    turn: Turn,
    told: WorkloadConfiguration | None,
    configuration: WorkloadConfiguration,
) -> Iterator[Notice]:
    """What is new in ``turn``; nothing for what is still so.

    Args:
        previous: the turn before; None for the first one of this process.
        turn: the turn just made.
        told: the wishes of the owner as of ``previous``.
        configuration: as of ``turn``.
    """
    if told is None or told.problems != configuration.problems:
        for problem in configuration.problems:
            note = f"{problem}. The workload is left as it is"
            yield Notice(type="Warning", reason="InvalidSplitPolicy", action="Parse", note=note)
    if told is None or told.warnings != configuration.warnings:
        for warning in configuration.warnings:
            quoted = f"'{PREFIX}{warning.key}'" + (f" {warning.value}" if warning.value else "")
            note = f"{quoted} {warning.message} ({warning.source})"
            unknown = "is not read" in warning.message
            reason = "UnknownPolicyKey" if unknown else "SplitPolicyWarning"
            yield Notice(type="Warning", reason=reason, action="Parse", note=note)
    yield from _of_moves(previous, turn)


def _of_moves(previous: Turn | None, turn: Turn) -> Iterator[Notice]:
    left = turn.state.crowded
    surplus = turn.state.surplus(left) if left else 0
    for eviction in turn.evictions:
        if eviction.outcome is EvictionOutcome.EVICTED:
            pod = eviction.move.pod
            if eviction.early:
                note = f"Evicted {pod.name} from node {pod.node}, which is being taken"
                yield Notice(
                    type="Normal", reason="EvictedEarly", action="Evict", note=note, related=pod
                )
                continue
            surplus -= 1
            where = f"{eviction.move.toward.other} node {pod.node}" if pod.node else "no node"
            more = f"{surplus} more to move" if surplus > 0 else "none left to move"
            yield Notice(
                type="Normal",
                reason="ReplicaMoved",
                action="Evict",
                note=f"Evicted {pod.name} from {where}; {more}",
                related=pod,
            )
    if previous is not None:
        for node in sorted(turn.leaving.keys() - previous.leaving.keys()):
            count = turn.leaving[node]
            noun = "replica" if count == 1 else "replicas"
            note = f"Spot node {node} is being taken; {count} {noun} affected"
            yield Notice(type="Normal", reason="SpotReclaimed", action="Observe", note=note)
        if previous.storm and not turn.storm and left is NodeType.ON_DEMAND:
            note = "No more spot nodes are being lost: replicas may move to spot again"
            yield Notice(type="Normal", reason="SpotStormOver", action="Observe", note=note)
    if turn.reason is not (before := previous.reason if previous else None):
        yield from _of_change(before, turn)


def _of_change(before: Reason | None, turn: Turn) -> Iterator[Notice]:
    """What the reason of a turn says that the one of the turn before did not."""
    if before is Reason.PAUSED:
        note = "Not paused any more: replicas may move again"
        yield Notice(type="Normal", reason="RebalancingResumed", action="Resume", note=note)
    if turn.reason is Reason.STORM_FROZEN:
        # Without the instant, which every further loss shifts: one storm, one Event.
        note = "Spot nodes are being lost in numbers: no replica moves to spot until it is over"
        yield Notice(type="Warning", reason="SpotStorm", action="Observe", note=note)
    note = turn.decision.message
    if turn.reason in _WARNED:
        reason, action = _WARNED[turn.reason]
        yield Notice(type="Warning", reason=reason, action=action, note=note)
    elif turn.reason is Reason.PAUSED and before is not None:
        yield Notice(type="Normal", reason="RebalancingPaused", action="Pause", note=note)
    elif turn.reason is Reason.BALANCED and before is not None:
        yield Notice(type="Normal", reason="SplitReached", action="Rebalance", note=note)


_WARNED: Mapping[Reason, tuple[str, str]] = {
    Reason.BLOCKED_BY_PDB: ("MoveBlocked", "Evict"),
    Reason.PINNED: ("SplitUnreachable", "Observe"),
    Reason.NO_CAPACITY: ("SpotCapacityMissing", "Observe"),
    Reason.FLOOR_UNMET: ("OnDemandFloorUnmet", "Observe"),
}
"""Reasons that an owner is warned of: the Event's reason and action."""


class Herald:
    """Writes notices as Events; what could not be written is dropped, for an event is no state."""

    def __init__(self, client: Client, clock: Clock, instance: str) -> None:
        self._client = client
        self._clock = clock
        self._instance = instance
        self._last: dict[WorkloadKey, tuple[Turn, WorkloadConfiguration]] = {}

    async def tell(
        self, workload: Workload, configuration: WorkloadConfiguration, turn: Turn
    ) -> None:
        """Say what is new about a workload."""
        last = self._last.get(turn.key)
        self._last[turn.key] = (turn, configuration)
        previous, told = last or (None, None)
        for notice in notices(previous, turn, told, configuration):
            await self._write(workload, notice)

    def forget(self, key: WorkloadKey) -> None:
        """The workload is gone or no longer ours."""
        self._last.pop(key, None)

    async def _write(self, workload: Workload, notice: Notice) -> None:
        body = self._event(workload, notice)
        path = f"/apis/events.k8s.io/v1/namespaces/{workload.namespace}/events"
        try:
            response = await self._client.raw("POST", path, body)
        except (TransportError, ApiError) as error:
            logger.warning("event not written", extra={"fields": {"error": str(error)}})
            return
        # 409: the same has been said before, by us or by a leader before us.
        if response.status >= 300 and response.status != 409:
            fields = {"status": response.status, "reason": notice.reason}
            logger.warning("event not written", extra={"fields": fields})

    def _event(self, workload: Workload, notice: Notice) -> dict[str, object]:
        note = notice.note.encode()[:LONGEST_NOTE].decode(errors="ignore")
        related = notice.related
        identity = "\n".join((notice.reason, workload.uid, related.uid if related else "", note))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        body: dict[str, object] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{workload.name}.{digest}",
                "namespace": workload.namespace,
            },
            "eventTime": self._clock.now()
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "type": notice.type,
            "reason": notice.reason,
            "action": notice.action,
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
