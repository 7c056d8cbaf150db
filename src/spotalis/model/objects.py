"""Flat, immutable records of Kubernetes objects.

They hold only the fields that some caller reads: a cached pod takes half a kilobyte instead of the
36 kB of its full object (measured, decision 0002). Equal label sets, shapes and owners are shared
between records. Absent text is ``""``, an absent time ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from spotalis.model.rollouts import RolloutState

if TYPE_CHECKING:
    from spotalis.model.anti_affinity import AntiAffinityTerm

PREFIX = "spotalis.io/"
BALANCED = PREFIX + "Balanced"
"""The type of the condition that Spotalis writes on Deployments."""

USER_PINNED = "user-pinned"
"""The rule in the decision annotation of a pod whose template selects a capacity type."""
OVERRIDDEN = "overridden"
"""The rule of a pod whose capacity type another webhook has chosen."""
PINNED_RULES = frozenset({USER_PINNED, OVERRIDDEN})


class Owner(msgspec.Struct, frozen=True, weakref=True):
    """The controlling owner reference (``controller: true``)."""

    group: str
    """API group without the version: ``apps``, or ``""`` for the core group."""
    kind: str
    name: str
    uid: str


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One match expression, of a label selector or of a node selector term."""

    key: str
    operator: str
    """``In``, ``NotIn``, ``Exists``, ``DoesNotExist``, and for nodes ``Gt`` and ``Lt``."""
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy the requirement; absent keys match ``NotIn``, as in the API."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return self._compares(value)
        return False

    def __str__(self) -> str:
        """As part of a ``labelSelector`` parameter; ``Gt`` and ``Lt`` have no such form."""
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
        word = "notin" if self.operator == "NotIn" else "in"
        return f"{self.key} {word} ({','.join(self.values)})"

    def _compares(self, value: str | None) -> bool:
        if value is None or len(self.values) != 1:
            return False
        have, want = find_integer(value), find_integer(self.values[0])
        if have is None or want is None:
            return False
        return have > want if self.operator == "Gt" else have < want


_INTEGER = re.compile("[+-]?[0-9]{1,19}")


def find_integer(text: str) -> int | None:
    """The number that ``Gt`` and ``Lt`` compare (an int64, Go's ``strconv.ParseInt``), or None."""
    number = int(text) if _INTEGER.fullmatch(text) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


NODE_NAME_FIELD = "metadata.name"
"""The only field of a node that a term can name (``matchFields``)."""

NodeTerms: TypeAlias = tuple[tuple[Requirement, ...], ...]
"""Alternatives: a node must satisfy all requirements of one term. Empty: any node."""


def node_matches(labels: Mapping[str, str], terms: NodeTerms) -> bool:
    """Whether a node with these labels satisfies the terms."""
    return not terms or any(all(one.matches(labels) for one in term) for term in terms)


def intersect_terms(left: NodeTerms, right: NodeTerms) -> NodeTerms:
    """Terms that match the nodes that match both arguments."""
    if not left or not right:
        return left or right
    return tuple((*one, *other) for one in left for other in right)


class LabelSelector(msgspec.Struct, frozen=True, weakref=True):
    """A label selector; ``matchLabels`` become ``In`` requirements of one value.

    An empty selector matches everything, as in the API. The absence of a selector is ``None``.
    """

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every requirement holds."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def comparisons(self) -> int:
        """How many comparisons one evaluation takes at most."""
        return 1 + sum(1 + len(requirement.values) for requirement in self.requirements)

    def __str__(self) -> str:
        """As a ``labelSelector`` parameter of the API."""
        return ",".join(map(str, self.requirements))


class Toleration(msgspec.Struct, frozen=True, gc=False):
    """A pod's toleration; ``operator`` is ``Equal`` where the object says nothing."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether it tolerates a taint; an empty effect or key matches any, as in the API."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


class Taint(msgspec.Struct, frozen=True, gc=False):
    """A node's taint."""

    key: str
    value: str = ""
    effect: str = ""
    """``NoSchedule``, ``PreferNoSchedule`` or ``NoExecute``."""
    since: datetime | None = None
    """``timeAdded``; most controllers do not set it."""


class NodeCondition(msgspec.Struct, frozen=True, gc=False):
    """A node's condition."""

    type: str
    status: str
    """``True``, ``False`` or ``Unknown``."""
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    """``lastTransitionTime``."""


class HostPort(msgspec.Struct, frozen=True, gc=False):
    """A port of the node that a container listens on."""

    port: int
    protocol: str = "TCP"
    address: str = ""
    """Empty: all addresses of the node."""

    def conflicts_with(self, other: HostPort) -> bool:
        """Whether both cannot be on one node (kube-scheduler, framework/types.go, HostPortInfo)."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return not (self.address and other.address) or self.address == other.address


class PodShape(msgspec.Struct, frozen=True, weakref=True):
    """What the scheduler considers; shared by the pods of one template."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    other: tuple[tuple[str, int], ...] = ()
    """Extended resources such as ``nvidia.com/gpu``, sorted by name."""
    node_selector: tuple[tuple[str, str], ...] = ()
    """Sorted by key."""
    node_terms: NodeTerms = ()
    """Required node affinity."""
    tolerations: tuple[Toleration, ...] = ()
    anti_affinity: tuple[AntiAffinityTerm, ...] = ()
    """Required pod anti-affinity."""
    host_ports: tuple[HostPort, ...] = ()
    unjudged: str = ""
    """What the scheduler considers and no field holds, in words: whether a node can hold the pod is
    then not known. Empty: the fields say everything."""

    def restricted_to(self, terms: NodeTerms) -> PodShape:
        """This shape, restricted to nodes that also match these terms."""
        if not terms:
            return self
        return msgspec.structs.replace(self, node_terms=intersect_terms(self.node_terms, terms))


class Pod(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pod."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    owner: Owner | None = None
    node: str = ""
    """The node it is bound to."""
    phase: str = "Pending"
    ready: bool = False
    """Condition Ready is True."""
    ready_at: datetime | None = None
    """When condition Ready last became True; None while it is not."""
    created_at: datetime | None = None
    deleting_at: datetime | None = None
    """``metadata.deletionTimestamp``: set while it terminates."""
    unschedulable: bool = False
    """``PodScheduled`` is False with reason ``Unschedulable`` (never ``SchedulingGated``)."""
    unschedulable_since: datetime | None = None
    """The transition time of that condition; None if it has none, or if it may be the time at
    which a scheduling gate began to hold the pod."""
    shape: PodShape = PodShape()
    claims: Sequence[str] = ()
    """Names of the PersistentVolumeClaims that it mounts."""
    gated: bool = False
    """A scheduling gate holds it: the scheduler does not look at it."""
    slot: int | None = None
    """Annotation ``spotalis.io/slot``."""
    request_uid: str = ""
    """``id`` in the annotation ``spotalis.io/decision``: the UID of the admission request."""
    rule: str = ""
    """``rule`` in that annotation; ``""`` if the webhook did not see the pod."""
    move: str = ""
    """``move`` in that annotation: the move that this pod is the replacement of, if any."""
    protected: bool = False
    """An annotation or label asks not to disrupt it (behaviour.md, "Repair", "Candidates")."""

    @property
    def finished(self) -> bool:
        """Whether the pod has succeeded or failed; it does not run again."""
        return self.phase in ("Succeeded", "Failed")


class Workload(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A Deployment, StatefulSet or Rollout."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    generation: int = 0
    observed_generation: int = 0
    labels: Mapping[str, str] = {}
    """Only keys under ``spotalis.io/``."""
    annotations: Mapping[str, str] = {}
    """Only keys under ``spotalis.io/``."""
    template_keys: tuple[str, ...] = ()
    """Keys under ``spotalis.io/`` in the labels and annotations of the pod template."""
    dropped_keys: int = 0
    """Keys under ``spotalis.io/`` that no field holds: Spotalis reads none of them, and they are
    too many to name."""
    template_labels: Mapping[str, str] = {}
    shape: PodShape = PodShape()
    """The shape of the pod template."""
    selector: LabelSelector = LabelSelector()
    replicas: int = 1
    """``spec.replicas``."""
    status_replicas: int = 0
    updated_replicas: int = 0
    min_ready_seconds: int = 0
    current_revision: str = ""
    """StatefulSet only."""
    update_revision: str = ""
    """StatefulSet only."""
    on_delete: bool = False
    """A StatefulSet's update strategy is ``OnDelete``."""
    partition: int = 0
    """StatefulSet: ordinals below it keep the old revision."""
    ordered: bool = False
    """StatefulSet: ``podManagementPolicy`` is OrderedReady."""
    first_ordinal: int = 0
    """StatefulSet: ``spec.ordinals.start``."""
    rollout: RolloutState | None = None
    created_at: datetime | None = None
    deleting_at: datetime | None = None
    balanced: tuple[str, str] | None = None
    """Status and reason of the condition ``spotalis.io/Balanced``, if present."""


class ReplicaSet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The link from a pod to its Deployment or Rollout."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    owner: Owner | None = None
    replicas: int = 0
    """``spec.replicas``."""
    status_replicas: int = 0


class Node(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A node."""

    name: str
    uid: str
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    taints: tuple[Taint, ...] = ()
    ready: bool = False
    cordoned: bool = False
    """``spec.unschedulable``."""
    conditions: tuple[NodeCondition, ...] = ()
    """Conditions that are not normal, sorted by type: Ready if it is not True, and others that are
    True, except the kubelet's own. Providers announce the end of a node in such conditions."""
    cpu_millis: int = 0
    """Allocatable."""
    memory_bytes: int = 0
    pods: int = 0
    other: tuple[tuple[str, int], ...] = ()
    created_at: datetime | None = None
    deleting_at: datetime | None = None

    def matches(self, terms: NodeTerms) -> bool:
        """Whether the node satisfies the terms. They may require a name (``matchFields``)."""
        return not terms or node_matches({**self.labels, NODE_NAME_FIELD: self.name}, terms)


class Namespace(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A namespace."""

    name: str
    uid: str
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    """Only keys under ``spotalis.io/``."""
    deleting_at: datetime | None = None


class DisruptionBudget(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    selector: LabelSelector | None = None
    """None selects nothing."""
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    generation: int = 0
    observed_generation: int = 0
    always_allow_unhealthy: bool = False
    """``unhealthyPodEvictionPolicy: AlwaysAllow``."""


class Lease(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A coordination Lease."""

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    holder: str = ""
    duration_seconds: int = 0
    transitions: int = 0
    renewed_at: str = ""
    """``spec.renewTime`` as written. The election compares it for change only; commands that show
    the age of the lead also read it as a time."""
    acquired_at: str = ""
    annotations: Mapping[str, str] = {}
