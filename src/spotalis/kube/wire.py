"""The parts of the API's JSON that are read, as they come.

Every list and map may be null: bookmarks carry nulls where the schema says required. What is equal
in many objects (label sets, owners, the parts of a pod's shape) stays raw: :mod:`decode` looks the
bytes up instead of reading them again.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

NOTHING = msgspec.Raw(b"null")
Labels = dict[str, str] | None
Quantities = dict[str, str | int | float] | None


class Wire(msgspec.Struct, gc=False, rename="camel"):
    """Ground of all structs here; unknown fields are skipped."""


class PodAnnotations(Wire, rename=None):
    """The annotations of a pod that are read; the others are never made into text."""

    slot: str | None = msgspec.field(name="spotalis.io/slot", default=None)
    decision: str | None = msgspec.field(name="spotalis.io/decision", default=None)
    do_not_disrupt: str | None = msgspec.field(name="karpenter.sh/do-not-disrupt", default=None)
    safe_to_evict: str | None = msgspec.field(
        name="cluster-autoscaler.kubernetes.io/safe-to-evict", default=None
    )
    prefer_no_eviction: str | None = msgspec.field(
        name="descheduler.alpha.kubernetes.io/prefer-no-eviction", default=None
    )


class Decision(Wire):
    """The part of annotation ``spotalis.io/decision`` that is read back."""

    id: str = ""
    rule: str = ""
    move: str = ""


class OwnerReference(Wire):
    """One of ``metadata.ownerReferences``."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Identity(Wire):
    """Who an object is: all that is read of bookmarks and of what cannot be decoded."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: Labels = None


class Identified(Wire):
    """Any object."""

    metadata: Identity


class Meta(Wire, kw_only=True):
    """``metadata`` of everything but pods."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Labels = None
    annotations: Labels = None
    owner_references: msgspec.Raw = NOTHING
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class PodMeta(Wire, kw_only=True):
    """``metadata`` of a pod."""

    name: str
    namespace: str
    uid: str = ""
    resource_version: str = ""
    labels: msgspec.Raw = NOTHING
    annotations: PodAnnotations | None = None
    owner_references: msgspec.Raw = NOTHING
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(Wire):
    """A condition of a pod or a workload."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    last_transition_time: datetime | None = None


class NodeCondition(Condition):
    """A condition of a node, with its words."""

    message: str | None = None


class Resources(Wire):
    """``resources`` of a container or a pod."""

    requests: Quantities = None
    limits: Quantities = None


class Container(Wire):
    """A container, as far as the scheduler counts it."""

    resources: msgspec.Raw = NOTHING
    restart_policy: str | None = None


class ClaimSource(Wire):
    """``persistentVolumeClaim`` of a pod's volume."""

    claim_name: str = ""


class PodVolume(Wire):
    """One of a pod's volumes."""

    persistent_volume_claim: ClaimSource | None = None


class PodSpec(Wire):
    """``spec`` of a pod or of a pod template."""

    node_name: str = ""
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    resources: msgspec.Raw = NOTHING
    overhead: msgspec.Raw = NOTHING
    node_selector: msgspec.Raw = NOTHING
    affinity: msgspec.Raw = NOTHING
    tolerations: msgspec.Raw = NOTHING
    volumes: msgspec.Raw = NOTHING


class PodStatus(Wire):
    """``status`` of a pod."""

    phase: str = "Pending"
    conditions: list[Condition] | None = None


class Pod(Wire):
    """A pod."""

    metadata: PodMeta
    spec: PodSpec
    status: PodStatus | None = None


class Expression(Wire):
    """A match expression."""

    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(Wire):
    """A term of required node affinity."""

    match_expressions: list[Expression] | None = None
    match_fields: list[Expression] | None = None


class NodeSelector(Wire):
    """Required node affinity."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Wire):
    """``spec.affinity.nodeAffinity``."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Wire):
    """A term of required pod anti-affinity."""

    topology_key: str = ""
    label_selector: Selector | None = None


class PodAntiAffinity(Wire):
    """``spec.affinity.podAntiAffinity``."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None


class Affinity(Wire):
    """``spec.affinity``."""

    node_affinity: NodeAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(Wire):
    """A toleration."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class Selector(Wire):
    """A label selector."""

    match_labels: Labels = None
    match_expressions: list[Expression] | None = None


class TemplateMeta(Wire):
    """``metadata`` of a pod template."""

    labels: Labels = None
    annotations: Labels = None


class Template(Wire):
    """A pod template."""

    metadata: TemplateMeta | None = None
    spec: PodSpec | None = None


class RollingUpdate(Wire):
    """``rollingUpdate`` of a StatefulSet."""

    partition: int | None = None


class UpdateStrategy(Wire):
    """``updateStrategy`` of a StatefulSet."""

    type: str | None = None
    rolling_update: RollingUpdate | None = None


class Ordinals(Wire):
    """``ordinals`` of a StatefulSet."""

    start: int = 0


class WorkloadSpec(Wire):
    """``spec`` of a Deployment or StatefulSet."""

    replicas: int | None = None
    selector: Selector | None = None
    template: Template | None = None
    min_ready_seconds: int | None = None
    paused: bool | None = None
    update_strategy: UpdateStrategy | None = None
    pod_management_policy: str | None = None
    ordinals: Ordinals | None = None


class WorkloadStatus(Wire):
    """``status`` of a Deployment or StatefulSet."""

    observed_generation: int | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    available_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    conditions: list[Condition] | None = None


class Workload(Wire):
    """A Deployment or StatefulSet."""

    metadata: Meta
    spec: WorkloadSpec
    status: WorkloadStatus | None = None


class ReplicaSetSpec(Wire):
    """``spec`` of a ReplicaSet."""

    replicas: int | None = None


class ReplicaSetStatus(Wire):
    """``status`` of a ReplicaSet."""

    replicas: int | None = None


class ReplicaSet(Wire):
    """A ReplicaSet."""

    metadata: Meta
    spec: ReplicaSetSpec
    status: ReplicaSetStatus | None = None


class Taint(Wire):
    """A taint."""

    key: str
    value: str | None = None
    effect: str = ""
    time_added: datetime | None = None


class NodeSpec(Wire):
    """``spec`` of a node."""

    taints: list[Taint] | None = None
    unschedulable: bool | None = None


class NodeStatus(Wire):
    """``status`` of a node."""

    conditions: list[NodeCondition] | None = None
    allocatable: Quantities = None


class Node(Wire):
    """A node."""

    metadata: Meta
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class Namespace(Wire):
    """A namespace."""

    metadata: Meta


class BudgetSpec(Wire):
    """``spec`` of a PodDisruptionBudget."""

    selector: Selector | None = None
    unhealthy_pod_eviction_policy: str | None = None


class BudgetStatus(Wire):
    """``status`` of a PodDisruptionBudget."""

    disruptions_allowed: int | None = None
    current_healthy: int | None = None
    desired_healthy: int | None = None
    expected_pods: int | None = None
    observed_generation: int | None = None


class Budget(Wire):
    """A PodDisruptionBudget."""

    metadata: Meta
    spec: BudgetSpec | None = None
    status: BudgetStatus | None = None


class LeaseSpec(Wire):
    """``spec`` of a Lease."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    renew_time: str | None = None
    acquire_time: str | None = None


class Lease(Wire):
    """A Lease."""

    metadata: Meta
    spec: LeaseSpec | None = None


class VolumeClaimSpec(Wire):
    """``spec`` of a PersistentVolumeClaim."""

    volume_name: str | None = None


class VolumeClaim(Wire):
    """A PersistentVolumeClaim."""

    metadata: Meta
    spec: VolumeClaimSpec | None = None


class VolumeNodeAffinity(Wire):
    """``spec.nodeAffinity`` of a PersistentVolume."""

    required: NodeSelector | None = None


class VolumeSpec(Wire):
    """``spec`` of a PersistentVolume."""

    node_affinity: VolumeNodeAffinity | None = None


class Volume(Wire):
    """A PersistentVolume."""

    metadata: Meta
    spec: VolumeSpec | None = None


class LedgerData(Wire):
    """``data`` of the ConfigMap that holds a ledger."""

    ledger: str = ""


class LedgerMap(Wire):
    """That ConfigMap."""

    metadata: Meta
    data: LedgerData | None = None
