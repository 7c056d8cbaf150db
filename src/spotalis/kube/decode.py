"""JSON of the API into the flat records of :mod:`spotalis.model.objects`.

Each function takes one object and raises one of ``DECODE_ERRORS`` if it cannot be read. Equal label
sets, owners and pod shapes become one shared object, found by their bytes, so that a pod costs what
is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from spotalis.kube import wire
from spotalis.kube.interner import Interner
from spotalis.kube.projection import node_terms, other, selector, shape_of
from spotalis.model import objects
from spotalis.model.ledger import SCHEMA, Ledger, LedgerObject
from spotalis.model.objects import BALANCED, PREFIX
from spotalis.model.quantity import parse_resource_list

DECODE_ERRORS = (ValueError, RecursionError)


def pod(raw: bytes | msgspec.Raw) -> objects.Pod:
    """Decode a Pod."""
    seen = _POD.decode(raw)
    meta, status = seen.metadata, seen.status or _NO_STATUS
    ready_at = unschedulable_since = None
    ready = unschedulable = False
    for condition in status.conditions or ():
        if condition.type == "Ready" and condition.status == "True":
            ready, ready_at = True, condition.last_transition_time
        elif (
            condition.type == "PodScheduled"
            and condition.status == "False"
            and condition.reason == "Unschedulable"
        ):
            unschedulable, unschedulable_since = True, condition.last_transition_time
    annotations = meta.annotations or _NO_ANNOTATIONS
    decision = parse_decision(annotations.decision)
    return objects.Pod(
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        labels=_labels(meta.labels),
        owner=_owner(meta.owner_references),
        node=_text(seen.spec.node_name),
        phase=_text(status.phase),
        ready=ready,
        ready_at=ready_at,
        created_at=meta.creation_timestamp,
        deleting_at=meta.deletion_timestamp,
        unschedulable=unschedulable,
        unschedulable_since=unschedulable_since,
        shape=shape_of(seen.spec),
        claims=_claims(seen.spec.volumes),
        slot=_slot(annotations.slot),
        request_uid=decision.id,
        rule=_text(decision.rule),
        move=_text(decision.move),
        protected=annotations.do_not_disrupt == "true"
        or annotations.safe_to_evict == "false"
        or annotations.prefer_no_eviction is not None,
    )


def node(raw: bytes | msgspec.Raw) -> objects.Node:
    """Decode a Node."""
    seen = _NODE.decode(raw)
    meta, spec, status = (
        seen.metadata,
        seen.spec or wire.NodeSpec(),
        seen.status or wire.NodeStatus(),
    )
    conditions = status.conditions or ()
    allocatable = parse_resource_list(status.allocatable)
    return objects.Node(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        labels=meta.labels or {},
        taints=tuple(
            objects.Taint(taint.key, taint.value or "", taint.effect, taint.time_added)
            for taint in spec.taints or ()
        ),
        ready=any(seen.type == "Ready" and seen.status == "True" for seen in conditions),
        cordoned=bool(spec.unschedulable),
        conditions=tuple(
            objects.NodeCondition(
                _text(condition.type),
                _text(condition.status),
                condition.reason or "",
                condition.message or "",
                condition.last_transition_time,
            )
            for condition in sorted(conditions, key=lambda condition: condition.type)
            if not _is_ordinary(condition)
        ),
        cpu_millis=allocatable.get("cpu", 0),
        memory_bytes=allocatable.get("memory", 0),
        pods=allocatable.get("pods", 0),
        other=other(allocatable, besides=("cpu", "memory", "pods")),
        created_at=meta.creation_timestamp,
        deleting_at=meta.deletion_timestamp,
    )


def namespace(raw: bytes | msgspec.Raw) -> objects.Namespace:
    """Decode a Namespace."""
    meta = _NAMESPACE.decode(raw).metadata
    return objects.Namespace(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        labels=meta.labels or {},
        annotations=_ours(meta.annotations),
        deleting_at=meta.deletion_timestamp,
    )


def deployment(raw: bytes | msgspec.Raw) -> objects.Workload:
    """Decode a Deployment."""
    return _workload("Deployment", _WORKLOAD.decode(raw))


def stateful_set(raw: bytes | msgspec.Raw) -> objects.Workload:
    """Decode a StatefulSet."""
    return _workload("StatefulSet", _WORKLOAD.decode(raw))


def replica_set(raw: bytes | msgspec.Raw) -> objects.ReplicaSet:
    """Decode a ReplicaSet."""
    seen = _REPLICA_SET.decode(raw)
    meta, wanted = seen.metadata, seen.spec.replicas
    return objects.ReplicaSet(
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        owner=_owner(meta.owner_references),
        replicas=1 if wanted is None else wanted,
        status_replicas=(seen.status and seen.status.replicas) or 0,
    )


def disruption_budget(raw: bytes | msgspec.Raw) -> objects.DisruptionBudget:
    """Decode a PodDisruptionBudget."""
    seen = _BUDGET.decode(raw)
    meta, spec = seen.metadata, seen.spec or wire.BudgetSpec()
    status = seen.status or wire.BudgetStatus()
    return objects.DisruptionBudget(
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        selector=selector(spec.selector) if spec.selector else None,
        disruptions_allowed=status.disruptions_allowed or 0,
        current_healthy=status.current_healthy or 0,
        desired_healthy=status.desired_healthy or 0,
        expected_pods=status.expected_pods or 0,
        generation=meta.generation,
        observed_generation=status.observed_generation or 0,
        always_allow_unhealthy=spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
    )


def lease(raw: bytes | msgspec.Raw) -> objects.Lease:
    """Decode a Lease."""
    seen = _LEASE.decode(raw)
    meta, spec = seen.metadata, seen.spec or wire.LeaseSpec()
    return objects.Lease(
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        holder=spec.holder_identity or "",
        duration_seconds=spec.lease_duration_seconds or 0,
        transitions=spec.lease_transitions or 0,
        renewed_at=spec.renew_time or "",
        acquired_at=spec.acquire_time or "",
        annotations=meta.annotations or {},
    )


def volume_claim(raw: bytes | msgspec.Raw) -> objects.VolumeClaim:
    """Decode a PersistentVolumeClaim."""
    seen = _VOLUME_CLAIM.decode(raw)
    meta, spec = seen.metadata, seen.spec or wire.VolumeClaimSpec()
    return objects.VolumeClaim(
        namespace=meta.namespace, name=meta.name, volume=spec.volume_name or ""
    )


def volume(raw: bytes | msgspec.Raw) -> objects.Volume:
    """Decode a PersistentVolume."""
    seen = _VOLUME.decode(raw)
    affinity = seen.spec.node_affinity if seen.spec else None
    return objects.Volume(
        name=seen.metadata.name, node_terms=node_terms(affinity.required if affinity else None)
    )


def ledger(raw: bytes | msgspec.Raw) -> LedgerObject:
    """Decode a ledger's ConfigMap; what another build wrote, or what names no workload, is kept
    without its content."""
    seen = _LEDGER_MAP.decode(raw)
    meta, data = seen.metadata, seen.data or wire.LedgerData()
    try:
        written = _LEDGER.decode(data.ledger)
    except DECODE_ERRORS:
        written = None
    return LedgerObject(
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        ledger=written if written is not None and _is_ours(written) else None,
    )


def _is_ours(ledger: Ledger) -> bool:
    return ledger.schema == SCHEMA and ledger.workload.count("/") == 2


def identity(raw: bytes | msgspec.Raw) -> wire.Identity:
    """Who an object of any kind is, be the rest of it as it may."""
    return _IDENTIFIED.decode(raw).metadata


def _workload(kind: str, seen: wire.Workload) -> objects.Workload:
    meta, spec = seen.metadata, seen.spec
    status = seen.status or wire.WorkloadStatus()
    template = spec.template or wire.Template()
    template_meta = template.metadata or wire.TemplateMeta()
    template_labels = template_meta.labels or {}
    template_annotations = template_meta.annotations or {}
    strategy = spec.update_strategy or wire.UpdateStrategy()
    rolling = strategy.rolling_update or wire.RollingUpdate()
    return objects.Workload(
        kind=kind,
        namespace=_text(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        generation=meta.generation,
        observed_generation=status.observed_generation or 0,
        labels=_ours(meta.labels),
        annotations=_ours(meta.annotations),
        template_keys=tuple(sorted({*_ours(template_labels), *_ours(template_annotations)})),
        template_labels=template_labels,
        shape=shape_of(template.spec or wire.PodSpec()),
        selector=selector(spec.selector or wire.Selector()),
        replicas=1 if spec.replicas is None else spec.replicas,
        status_replicas=status.replicas or 0,
        updated_replicas=status.updated_replicas or 0,
        available_replicas=status.available_replicas or 0,
        min_ready_seconds=spec.min_ready_seconds or 0,
        paused=bool(spec.paused),
        current_revision=status.current_revision or "",
        update_revision=status.update_revision or "",
        on_delete=strategy.type == "OnDelete",
        partition=rolling.partition or 0,
        ordered=kind == "StatefulSet" and spec.pod_management_policy != "Parallel",
        first_ordinal=spec.ordinals.start if spec.ordinals else 0,
        deleting_at=meta.deletion_timestamp,
        balanced=_balanced(status.conditions),
    )


def _balanced(conditions: list[wire.Condition] | None) -> tuple[str, str] | None:
    for condition in conditions or ():
        if condition.type == BALANCED:
            return condition.status, condition.reason or ""
    return None


def _ours(keys: wire.Labels) -> dict[str, str]:
    """The entries whose keys are Spotalis' own."""
    return {key: value for key, value in (keys or {}).items() if key.startswith(PREFIX)}


def _is_ordinary(condition: wire.Condition) -> bool:
    """Whether a node's condition says nothing about its end: all is well, or it is the kubelet's.

    Problem detectors write a dozen that are always False: nothing to hold for each node.
    """
    if condition.type == "Ready":
        return condition.status == "True"
    return condition.status != "True" or condition.type in _KUBELET_CONDITIONS


_KUBELET_CONDITIONS = frozenset(
    {"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"}
)


def _claims(raw: msgspec.Raw) -> tuple[str, ...]:
    """Most pods have volumes and no claims: their bytes are not read for that."""
    if _CLAIM not in bytes(raw):
        return ()
    sources = (volume.persistent_volume_claim for volume in _POD_VOLUMES.decode(raw) or ())
    return tuple(source.claim_name for source in sources if source is not None)


_CLAIM = b"persistentVolumeClaim"


def _slot(written: str | None) -> int | None:
    if written and len(written) <= 6 and written.isascii() and written.isdigit():
        return int(written)
    return None


def controlling_owner(references: Iterable[wire.OwnerReference]) -> objects.Owner | None:
    """Return the owner with ``controller: true``."""
    for reference in references:
        if reference.controller:
            group = reference.api_version.rpartition("/")[0]
            return objects.Owner(group, reference.kind, reference.name, reference.uid)
    return None


def parse_decision(written: str | None) -> wire.Decision:
    """The decision; empty where there is none, or none that we wrote."""
    if written is None or len(written) > _LONGEST_DECISION:
        return _NO_DECISION
    try:
        return _DECISION.decode(written)
    except DECODE_ERRORS:
        return _NO_DECISION


_LONGEST_DECISION = 1024
"""Ours have at most 256 bytes; others may write what they like, and we need not hold it."""


def _text(text: str) -> str:
    """The one copy of a text that many objects carry."""
    return _TEXTS.get(text) or _TEXTS.keep(text, text)


def _labels(raw: msgspec.Raw) -> Mapping[str, str]:
    written = bytes(raw)
    labels = _LABELS_OF.get(written)
    return _LABELS_OF.keep(written, _LABELS.decode(raw) or {}) if labels is None else labels


def _owner(raw: msgspec.Raw) -> objects.Owner | None:
    written = bytes(raw)
    owners = _OWNERS_OF.get(written)
    if owners is None:
        owner = controlling_owner(_OWNERS.decode(raw) or ())
        owners = _OWNERS_OF.keep(written, () if owner is None else (owner,))
    return owners[0] if owners else None


# Bounds of what is shared: some thousand workloads, several times over.
_TEXTS: Interner[str, str] = Interner(limit=8192)
_LABELS_OF: Interner[bytes, Mapping[str, str]] = Interner(limit=8192)
_OWNERS_OF: Interner[bytes, tuple[objects.Owner, ...]] = Interner(limit=8192)

_NO_STATUS = wire.PodStatus()
_NO_ANNOTATIONS = wire.PodAnnotations()
_NO_DECISION = wire.Decision()

_POD = msgspec.json.Decoder(wire.Pod)
_NODE = msgspec.json.Decoder(wire.Node)
_NAMESPACE = msgspec.json.Decoder(wire.Namespace)
_WORKLOAD = msgspec.json.Decoder(wire.Workload)
_REPLICA_SET = msgspec.json.Decoder(wire.ReplicaSet)
_BUDGET = msgspec.json.Decoder(wire.Budget)
_LEASE = msgspec.json.Decoder(wire.Lease)
_VOLUME_CLAIM = msgspec.json.Decoder(wire.VolumeClaim)
_VOLUME = msgspec.json.Decoder(wire.Volume)
_LEDGER_MAP = msgspec.json.Decoder(wire.LedgerMap)
_LEDGER = msgspec.json.Decoder(Ledger)
_IDENTIFIED = msgspec.json.Decoder(wire.Identified)
_DECISION = msgspec.json.Decoder(wire.Decision)
_POD_VOLUMES = msgspec.json.Decoder(list[wire.PodVolume] | None)
_LABELS = msgspec.json.Decoder(wire.Labels)
_OWNERS = msgspec.json.Decoder(list[wire.OwnerReference] | None)
