"""How providers say that they take a node, and what follows from it (behaviour.md 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, TypeAlias

from spotalis.model.objects import Node

PATIENCE = timedelta(minutes=15)
"""How long a notice is believed: a drain can be withdrawn or hang (behaviour.md 6)."""


class NodeState(Enum):
    """What a node's notices make of it and of the pods on it."""

    ACTIVE = "active"
    """Nothing is announced."""
    UNSCHEDULABLE = "unschedulable"
    """Nothing more is to go there; the pods on it count as ever."""
    TERMINATING = "terminating"
    """Its pods hold no slot and help no floor: their replacements are placed at once."""


class Seen(NamedTuple):
    """A signal found on a node."""

    signal: str
    """What was found, for people: ``karpenter.sh/disrupted``."""
    since: datetime | None
    """Since when the object says that it is so; None where it does not say."""


Look: TypeAlias = Callable[[Node], Seen | None]


def _tainted(key: str, *, value_is_time: bool = False) -> Look:
    """A taint of this key, whatever its effect; its value may be its birth in Unix time."""

    def look(node: Node) -> Seen | None:
        for taint in node.taints:
            if taint.key == key:
                since = taint.since
                if since is None and value_is_time and taint.value.isdecimal():
                    since = datetime.fromtimestamp(int(taint.value[:10]), UTC)
                return Seen(key, since)
        return None

    return look


def _says(kind: str, *words: str, status: str = "True") -> Look:
    """A condition whose reason begins with, or whose message contains, one of ``words``.

    No words: any such condition. AKS has had the event in the reason (``PreemptScheduled``) and in
    the message alone (``Preempt Scheduled: Mon, 02 Mar ...``).
    """

    def look(node: Node) -> Seen | None:
        for condition in node.conditions:
            if (condition.type, condition.status) != (kind, status):
                continue
            if not words:
                return Seen(kind, condition.since)
            for word in words:
                if condition.reason.startswith(word) or word in condition.message:
                    return Seen(f"{kind}: {word}", condition.since)
        return None

    return look


def _deleted(node: Node) -> Seen | None:
    return None if node.deleting_at is None else Seen("deletion", node.deleting_at)


@dataclass(frozen=True, slots=True)
class Signal:
    """One way of one provider to say that a node goes."""

    provider: str
    look: Look
    says: str
    """What the source page says of it."""
    page: str
    leaving: bool = True
    """False: only a warning that the node may go; it becomes no target, and no more."""


_NTH = "github.com/aws/aws-node-termination-handler, pkg/node/node.go"
_AKS = "learn.microsoft.com/azure/aks/node-auto-drain"

SIGNALS: tuple[Signal, ...] = (
    Signal(
        "Kubernetes",
        _deleted,
        "an object with a deletionTimestamp goes once its finalizers are done",
        "kubernetes.io/docs/concepts/architecture/garbage-collection",
    ),
    Signal(
        "Karpenter",
        _tainted("karpenter.sh/disrupted"),
        "the taint is added so that no pods are scheduled, then the node is drained and deleted",
        "karpenter.sh/docs/concepts/disruption",
    ),
    Signal(
        "Karpenter before v1",
        _tainted("karpenter.sh/disruption"),
        "karpenter.sh/disruption=disrupting:NoSchedule on nodes being deprovisioned",
        "github.com/kubernetes-sigs/karpenter, designs/no-schedule-taint.md",
    ),
    Signal(
        "AWS node-termination-handler",
        _tainted("aws-node-termination-handler/spot-itn"),
        "a spot interruption notice, two minutes ahead; the value is the event's id",
        _NTH,
    ),
    Signal(
        "AWS node-termination-handler",
        _tainted("aws-node-termination-handler/asg-lifecycle-termination"),
        "the auto scaling group is about to shut the instance down",
        _NTH,
    ),
    Signal(
        "AWS node-termination-handler",
        _tainted("aws-node-termination-handler/rebalance-recommendation"),
        "an elevated risk of interruption: it may come, or not",
        _NTH,
        leaving=False,
    ),
    Signal(
        "GKE maintenance handler",
        _tainted("cloud.google.com/impending-node-termination"),
        "taints the node before it is shut down for maintenance or preemption",
        "cloud.google.com/kubernetes-engine/docs/concepts/handle-disruption-gpu-tpu",
    ),
    Signal(
        "GKE and every kubelet with graceful node shutdown",
        _says("Ready", "node is shutting down", status="False"),
        "spot nodes get 30 s; the kubelet reports NotReady and ends its pods",
        "kubernetes.io/docs/concepts/cluster-administration/node-shutdown",
    ),
    Signal(
        "AKS node auto-drain",
        _says("VMEventScheduled", "Preempt", "Terminate", "Redeploy"),
        "Preempt, Terminate, Redeploy: cordon and drain; Freeze, Reboot: no action",
        _AKS,
    ),
    Signal(
        "AKS node problem detector",
        _says("PreemptionScheduled"),
        "SpotEvictionIncoming: a Preempt event and nothing else",
        "github.com/Azure/karpenter-provider-azure, pkg/controllers/node/interruption",
    ),
    Signal(
        "AKS remediator",
        _tainted("remediator.kubernetes.azure.com/unschedulable"),
        "a spot node may receive the taint when a scheduled event occurs on it",
        _AKS,
    ),
    Signal(
        "AKS remediator before October 2023",
        _tainted("remediator.aks.microsoft.com/unschedulable"),
        "the older name of the same taint",
        "github.com/Azure/AKS, CHANGELOG.md",
    ),
    Signal(
        "OpenShift termination handler",
        _says("Terminating"),
        "TerminationRequested: the cloud provider has marked this instance for termination",
        "github.com/openshift/machine-api-provider-aws, pkg/termination/handler.go",
    ),
    Signal(
        "cluster-autoscaler",
        _tainted("ToBeDeletedByClusterAutoscaler", value_is_time=True),
        "about to be drained and deleted; the value is the Unix time of the decision",
        "github.com/kubernetes/autoscaler, cluster-autoscaler/utils/taints/taints.go",
    ),
)
"""Every notice that is recognised. DeletionCandidateOfClusterAutoscaler is none: it is taken back
as often as not. Nor is a cordon, nor a node that is merely not Ready."""


@dataclass(frozen=True, slots=True)
class InterruptionNotice:
    """A signal that stands on a node now."""

    signal: str
    leaving: bool
    since: datetime | None


def interruption_notices(node: Node) -> Iterator[InterruptionNotice]:
    """What announces that this node is, or may be, taken; nothing for most nodes."""
    if node.taints or node.conditions or node.deleting_at is not None:
        for signal in SIGNALS:
            if (seen := signal.look(node)) is not None:
                yield InterruptionNotice(seen.signal, signal.leaving, seen.since)


def accepts_new_pods(node: Node) -> bool:
    """Whether more pods may be sent there: nothing at all is announced, however long ago."""
    return next(interruption_notices(node), None) is None


def first_seen(
    node: Node, before: Mapping[str, datetime] | None, now: datetime
) -> dict[str, datetime]:
    """Since when each notice of the node stands, by its word.

    A notice that was taken back and comes again starts anew. The object's own stamps count only
    for a node that is seen for the first time (a restart of ours), and never from the future: they
    are of other clocks, and a condition that goes from Freeze to Preempt keeps its stamp.

    Args:
        before: the answer for the node as it was before; None for the first sight of it.
        now: when ``node`` was seen.
    """
    if before is None:
        return {
            notice.signal: min(now, notice.since or now) for notice in interruption_notices(node)
        }
    return {notice.signal: before.get(notice.signal, now) for notice in interruption_notices(node)}


def node_state(node: Node, since: Mapping[str, datetime], now: datetime) -> NodeState:
    """What the node is to us now.

    Args:
        since: the answer of :func:`first_seen`.
    """
    announced = tuple(interruption_notices(node))
    if not announced:
        return NodeState.ACTIVE
    believed = any(n.leaving and now - since.get(n.signal, now) < PATIENCE for n in announced)
    return NodeState.TERMINATING if believed else NodeState.UNSCHEDULABLE
