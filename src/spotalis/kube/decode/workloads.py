"""Decode workloads, ReplicaSets and PodDisruptionBudgets."""

from __future__ import annotations

from sys import intern
from typing import Any

import msgspec

from spotalis.kube.decode.metadata import (
    NULL,
    Condition,
    Labels,
    Metadata,
    Wire,
    own_keys,
    shared_labels,
    shared_owner,
    shared_selector,
)
from spotalis.kube.decode.pod_shape import PodSpec, shape_of
from spotalis.model import objects
from spotalis.model.objects import BALANCED, LabelSelector
from spotalis.model.policy_text import cut


class _TemplateMetadata(Wire):
    labels: msgspec.Raw = NULL
    annotations: Labels = None


class Template(Wire):
    """A pod template."""

    metadata: _TemplateMetadata | None = None
    spec: PodSpec | None = None


class _RollingUpdate(Wire):
    partition: int | None = None


class _UpdateStrategy(Wire):
    type: str | None = None
    rolling_update: _RollingUpdate | None = None


class _Ordinals(Wire):
    start: int = 0


class _WorkloadSpec(Wire):
    replicas: int | None = None
    selector: msgspec.Raw = NULL
    template: Template | None = None
    min_ready_seconds: int | None = None
    update_strategy: _UpdateStrategy | None = None
    pod_management_policy: str | None = None
    ordinals: _Ordinals | None = None


class _WorkloadStatus(Wire):
    observed_generation: int | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    conditions: list[Condition] | None = None


class _Workload(Wire):
    metadata: Metadata
    spec: _WorkloadSpec
    status: _WorkloadStatus | None = None


class _Replicas(Wire):
    replicas: int | None = None


class _ReplicaSet(Wire):
    metadata: Metadata
    spec: _Replicas
    status: _Replicas | None = None


class _BudgetSpec(Wire):
    selector: msgspec.Raw = NULL
    unhealthy_pod_eviction_policy: str | None = None


class _BudgetStatus(Wire):
    disruptions_allowed: int | None = None
    current_healthy: int | None = None
    desired_healthy: int | None = None
    observed_generation: int | None = None


class _Budget(Wire):
    metadata: Metadata
    spec: _BudgetSpec | None = None
    status: _BudgetStatus | None = None


def deployment(raw: bytes | msgspec.Raw) -> objects.Workload:
    """Decode a Deployment."""
    return _workload("Deployment", _WORKLOAD.decode(raw))


def stateful_set(raw: bytes | msgspec.Raw) -> objects.Workload:
    """Decode a StatefulSet."""
    return _workload("StatefulSet", _WORKLOAD.decode(raw))


def replica_set(raw: bytes | msgspec.Raw) -> objects.ReplicaSet:
    """Decode a ReplicaSet."""
    written = _REPLICA_SET.decode(raw)
    metadata, wanted = written.metadata, written.spec.replicas
    return objects.ReplicaSet(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        owner=shared_owner(metadata.owner_references),
        replicas=1 if wanted is None else wanted,
        status_replicas=(written.status and written.status.replicas) or 0,
    )


def disruption_budget(raw: bytes | msgspec.Raw) -> objects.DisruptionBudget:
    """Decode a PodDisruptionBudget."""
    written = _BUDGET.decode(raw)
    metadata, spec = written.metadata, written.spec or _BudgetSpec()
    status = written.status or _BudgetStatus()
    return objects.DisruptionBudget(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        selector=shared_selector(spec.selector, metadata.namespace),
        disruptions_allowed=status.disruptions_allowed or 0,
        current_healthy=status.current_healthy or 0,
        desired_healthy=status.desired_healthy or 0,
        generation=metadata.generation,
        observed_generation=status.observed_generation or 0,
        always_allow_unhealthy=spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
    )


def _workload(kind: str, written: _Workload) -> objects.Workload:
    metadata, spec = written.metadata, written.spec
    status = written.status or _WorkloadStatus()
    strategy = spec.update_strategy or _UpdateStrategy()
    rolling = strategy.rolling_update or _RollingUpdate()
    return objects.Workload(
        **common_fields(metadata, spec.template),
        kind=kind,
        observed_generation=status.observed_generation or 0,
        # Without a selector all pods of the namespace are listed; their owners tell them apart.
        selector=shared_selector(spec.selector, metadata.namespace) or LabelSelector(),
        replicas=1 if spec.replicas is None else spec.replicas,
        status_replicas=status.replicas or 0,
        updated_replicas=status.updated_replicas or 0,
        min_ready_seconds=spec.min_ready_seconds or 0,
        current_revision=status.current_revision or "",
        update_revision=status.update_revision or "",
        on_delete=strategy.type == "OnDelete",
        partition=rolling.partition or 0,
        ordered=kind == "StatefulSet" and spec.pod_management_policy != "Parallel",
        first_ordinal=spec.ordinals.start if spec.ordinals else 0,
        balanced=_balanced(status.conditions),
    )


def common_fields(metadata: Metadata, template: Template | None) -> dict[str, Any]:
    """The fields of a workload of any kind that come from its metadata and its pod template."""
    template = template or Template()
    template_metadata = template.metadata or _TemplateMetadata()
    labels, more_labels = own_keys(metadata.labels)
    annotations, more_annotations = own_keys(metadata.annotations)
    template_keys, more_keys = own_keys(
        {
            **(_LABELS.decode(template_metadata.labels) or {}),
            **(template_metadata.annotations or {}),
        }
    )
    return {
        "namespace": intern(metadata.namespace),
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "generation": metadata.generation,
        "labels": labels,
        "annotations": annotations,
        "template_keys": tuple(sorted(template_keys)),
        "dropped_keys": more_labels + more_annotations + more_keys,
        "template_labels": shared_labels(template_metadata.labels, metadata.namespace),
        "shape": shape_of(template.spec or PodSpec(), metadata.namespace),
        "created_at": metadata.creation_timestamp,
        "deleting_at": metadata.deletion_timestamp,
    }


def _balanced(conditions: list[Condition] | None) -> tuple[str, str] | None:
    for condition in conditions or ():
        if condition.type == BALANCED:
            return cut(condition.status), cut(condition.reason or "")
    return None


_LABELS = msgspec.json.Decoder(Labels)
_WORKLOAD = msgspec.json.Decoder(_Workload)
_REPLICA_SET = msgspec.json.Decoder(_ReplicaSet)
_BUDGET = msgspec.json.Decoder(_Budget)
