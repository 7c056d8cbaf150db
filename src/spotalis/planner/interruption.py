"""How providers announce that they reclaim a node, and what follows from it.

See docs/reference/behaviour.md, "Interruptions".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, TypeAlias

from spotalis.model.objects import Node

NOTICE_TTL = timedelta(minutes=15)
"""How long a notice counts: a drain can hang or be withdrawn."""


class NodeState(Enum):
    """What the notices of a node mean for its pods."""

    ACTIVE = "active"
    """It has no notice."""
    UNSCHEDULABLE = "unschedulable"
    """No more pods are moved to it. The pods on it count."""
    TERMINATING = "terminating"
    """It is being reclaimed. The pods on it hold no slot and do not count toward the minimum, so
    that their replacements are placed correctly."""


class Detection(NamedTuple):
    """A signal that was found on a node."""

    signal: str
    """What was found, in words: ``karpenter.sh/disrupted``."""
    since: datetime | None
    """The time stamp of the object; None if it has none."""


Detector: TypeAlias = Callable[[Node], Detection | None]


def _tainted(key: str, *, value_is_time: bool = False) -> Detector:
    """Detects a taint with this key and any effect; its value may be the time of its creation."""

    def detect(node: Node) -> Detection | None:
        for taint in node.taints:
            if taint.key == key:
                since = taint.since
                if since is None and value_is_time and taint.value.isdecimal():
                    since = datetime.fromtimestamp(int(taint.value[:10]), UTC)
                return Detection(key, since)
        return None

    return detect


def _says(kind: str, *words: str, status: str = "True") -> Detector:
    """Detects a condition whose reason starts with, or whose message contains, one of ``words``.

    Without words, any such condition counts. AKS versions name the event in the reason
    (``PreemptScheduled``) or only in the message (``Preempt Scheduled: Mon, 02 Mar ...``).
    """

    def detect(node: Node) -> Detection | None:
        for condition in node.conditions:
            if (condition.type, condition.status) != (kind, status):
                continue
            if not words:
                return Detection(kind, condition.since)
            for word in words:
                if condition.reason.startswith(word) or word in condition.message:
                    return Detection(f"{kind}: {word}", condition.since)
        return None

    return detect


def _deleted(node: Node) -> Detection | None:
    return None if node.deleting_at is None else Detection("deletion", node.deleting_at)


@dataclass(frozen=True, slots=True)
class Signal:
    """One way in which a provider announces that it reclaims a node."""

    provider: str
    detect: Detector
    meaning: str
    """What the source says about it."""
    source: str
    is_terminating: bool = True
    """False: only a warning that the node may be reclaimed. No more pods are moved to it."""
    by_autoscaler: bool = False
    """An autoscaler says this about nodes that it removes by its own decision: consolidation,
    drift, scale-down. Karpenter also says it about nodes that are being deleted already."""


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
        by_autoscaler=True,
    ),
    Signal(
        "Karpenter before v1",
        _tainted("karpenter.sh/disruption"),
        "karpenter.sh/disruption=disrupting:NoSchedule on nodes being deprovisioned",
        "github.com/kubernetes-sigs/karpenter, designs/no-schedule-taint.md",
        by_autoscaler=True,
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
        is_terminating=False,
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
        by_autoscaler=True,
    ),
)
"""All signals that are recognized. Not among them: the taint DeletionCandidateOfClusterAutoscaler,
which is often withdrawn, a cordon, and a node that is only not Ready."""


@dataclass(frozen=True, slots=True)
class InterruptionNotice:
    """A signal that a node shows now."""

    signal: str
    is_terminating: bool
    by_autoscaler: bool
    since: datetime | None


def interruption_notices(node: Node) -> Iterator[InterruptionNotice]:
    """The signals that this node is, or may be, reclaimed; none for most nodes."""
    if node.taints or node.conditions or node.deleting_at is not None:
        for signal in SIGNALS:
            if (found := signal.detect(node)) is not None:
                yield InterruptionNotice(
                    found.signal, signal.is_terminating, signal.by_autoscaler, found.since
                )


def accepts_new_pods(node: Node) -> bool:
    """Whether pods may be moved to the node: it has no notice, however old."""
    return next(interruption_notices(node), None) is None


def first_seen(
    node: Node, before: Mapping[str, datetime] | None, now: datetime
) -> dict[str, datetime]:
    """When each notice of the node was first seen, by signal.

    A notice that was withdrawn and returns starts again. The time stamps of the object count only
    if the node is seen for the first time, after a restart of the operator, and never if they are
    in the future: they come from other clocks, and a condition that changes from Freeze to
    Preempt keeps its time stamp.

    Args:
        before: the previous answer for the node; None if it is seen for the first time.
        now: when ``node`` was seen.
    """
    if before is None:
        return {
            notice.signal: min(now, notice.since or now) for notice in interruption_notices(node)
        }
    return {notice.signal: before.get(notice.signal, now) for notice in interruption_notices(node)}


def node_state(node: Node, since: Mapping[str, datetime], now: datetime) -> NodeState:
    """What the node's notices mean for its pods now.

    Args:
        since: the answer of :func:`first_seen`.
    """
    if accepts_new_pods(node):
        return NodeState.ACTIVE
    until = terminating_until(node, since, now)
    counts = until is not None and now < until
    return NodeState.TERMINATING if counts else NodeState.UNSCHEDULABLE


def terminating_until(node: Node, since: Mapping[str, datetime], now: datetime) -> datetime | None:
    """Until when the node's notices mean that it ends, perhaps in the past; None without one.

    Args:
        since: the answer of :func:`first_seen`.
    """
    terminating = (n.signal for n in interruption_notices(node) if n.is_terminating)
    last = max((since.get(signal, now) for signal in terminating), default=None)
    return None if last is None else last + NOTICE_TTL


def is_removed_by_autoscaler(node: Node, since: Mapping[str, datetime]) -> bool:
    """Whether an autoscaler has decided that the node ends, and not its provider.

    The notice that came first tells. Karpenter taints the nodes that it consolidates or replaces,
    waits for their replacements, and then deletes them (pkg/controllers/disruption/queue.go of
    v1.14.1). Nodes that the provider reclaims, and expired ones, it deletes first; then it taints
    them (pkg/controllers/node/termination/controller.go). If both are seen at once, after a
    restart of the operator, the provider has decided.

    Args:
        since: the answer of :func:`first_seen`.
    """
    notices = [notice for notice in interruption_notices(node) if notice.is_terminating]
    first = min((since[notice.signal] for notice in notices), default=None)
    return bool(notices) and all(n.by_autoscaler for n in notices if since[n.signal] == first)
