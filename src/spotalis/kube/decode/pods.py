"""Decode pods.

Label sets, owners and shapes that are equal in many pods are shared between their records, found
by their JSON, so that a cached pod costs only what is its own (half a kilobyte).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from sys import intern

import msgspec

from spotalis.kube.decode.metadata import (
    DECODE_ERRORS,
    NULL,
    REMOVAL_DISABLED,
    RESTRICT_SCALE_DOWN,
    Condition,
    Wire,
    shared_labels,
    shared_owner,
)
from spotalis.kube.decode.pod_shape import PodSpec, reduced, shape_of
from spotalis.kube.decode.shared import SharedValues
from spotalis.model import objects


class _Annotations(Wire, rename=None):
    slot: str | None = msgspec.field(name="spotalis.io/slot", default=None)
    decision: str | None = msgspec.field(name="spotalis.io/decision", default=None)
    do_not_disrupt: str | None = msgspec.field(name="karpenter.sh/do-not-disrupt", default=None)
    safe_to_evict: str | None = msgspec.field(
        name="cluster-autoscaler.kubernetes.io/safe-to-evict", default=None
    )
    prefer_no_eviction: str | None = msgspec.field(
        name="descheduler.alpha.kubernetes.io/prefer-no-eviction", default=None
    )
    descheduler_evict: str | None = msgspec.field(
        name="descheduler.alpha.kubernetes.io/evict", default=None
    )
    do_not_evict: str | None = msgspec.field(name="karpenter.sh/do-not-evict", default=None)
    removal_disabled: str | None = msgspec.field(
        name="autoscaling.cast.ai/removal-disabled", default=None
    )


class Decision(Wire):
    """The part of annotation ``spotalis.io/decision`` that is read back."""

    id: str = ""
    rule: str = ""
    move: str = ""


class _Metadata(Wire, kw_only=True):
    name: str
    namespace: str
    uid: str = ""
    resource_version: str = ""
    labels: msgspec.Raw = NULL
    annotations: _Annotations | None = None
    owner_references: msgspec.Raw = NULL
    generation: int | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class _Status(Wire):
    phase: str = "Pending"
    conditions: list[Condition] | None = None


class _Pod(Wire):
    metadata: _Metadata
    spec: PodSpec
    status: _Status | None = None


class _ClaimSource(Wire):
    claim_name: str = ""


class _Volume(Wire):
    persistent_volume_claim: _ClaimSource | None = None


def pod(raw: bytes | msgspec.Raw) -> objects.Pod:
    """Decode a Pod."""
    written = _POD.decode(raw)
    metadata, status = written.metadata, written.status or _NO_STATUS
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
            unschedulable = True
            unschedulable_since = _unless_gated(metadata, condition.last_transition_time)
    annotations = metadata.annotations or _NO_ANNOTATIONS
    decision = parse_decision(annotations.decision)
    labels = shared_labels(metadata.labels, metadata.namespace)
    shape = shape_of(written.spec, metadata.namespace)
    claims = _claims(written.spec.volumes, metadata.namespace)
    if claims is None:
        shape = reduced(shape.cpu_millis, shape.memory_bytes)
    return objects.Pod(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=labels,
        owner=shared_owner(metadata.owner_references),
        node=intern(written.spec.node_name),
        phase=intern(status.phase),
        ready=ready,
        ready_at=ready_at,
        created_at=metadata.creation_timestamp,
        deleting_at=metadata.deletion_timestamp,
        unschedulable=unschedulable,
        unschedulable_since=unschedulable_since,
        shape=shape,
        claims=claims or (),
        gated=bytes(written.spec.scheduling_gates) not in (b"null", b"[]"),
        slot=_slot(annotations.slot),
        request_uid=decision.id,
        rule=decision.rule,
        move=decision.move,
        protected=_is_protected(annotations, labels),
    )


def _is_protected(annotations: _Annotations, labels: Mapping[str, str]) -> bool:
    """Whether the owner asks that the pod is not disrupted (behaviour.md, "Repair")."""
    return (
        # Karpenter also accepts a duration since the start of the pod; it is not counted down here.
        annotations.do_not_disrupt not in (None, "", "false")
        or annotations.do_not_evict == "true"
        or annotations.safe_to_evict == "false"
        or annotations.prefer_no_eviction is not None
        or annotations.descheduler_evict == "false"
        or "true" in (annotations.removal_disabled, labels.get(REMOVAL_DISABLED))
        or labels.get(RESTRICT_SCALE_DOWN) == "true"
    )


def _unless_gated(metadata: _Metadata, since: datetime | None) -> datetime | None:
    """The transition time of an ``Unschedulable`` condition; None if it may be that of a gate.

    While a scheduling gate holds the pod, the condition has the same status, so that removing the
    gate does not change the time. It raises the pod's generation, which Kubernetes sets since 1.33
    and which is 1 if the spec was never changed. Before, only pods that had no condition in the
    second of their creation have certainly not been gated.
    """
    if since is None or metadata.generation == 1:
        return since
    created = metadata.creation_timestamp
    if metadata.generation or (created is not None and (since - created).total_seconds() < 1):
        return None
    return since


MAX_CLAIMS = 128
"""Claims of a pod that are read. No node attaches more volumes (kubernetes.io, "Node-specific
Volume Limits"), and each claim costs two requests."""


class _Claims(list[str]):
    """Names of claims."""

    __slots__ = ("__weakref__",)


def _claims(raw: msgspec.Raw, namespace: str) -> Sequence[str] | None:
    """The claims that a pod mounts; volumes are decoded only if one of them names a claim.

    None if the namespace has used up its share.
    """
    if b"persistentVolumeClaim" not in bytes(raw):
        return ()
    return _SHARED_CLAIMS.find(raw, namespace)


def _bounded_claims(raw: bytes) -> _Claims:
    sources = (volume.persistent_volume_claim for volume in _VOLUMES.decode(raw) or ())
    names = (source.claim_name for source in sources if source is not None)
    return _Claims(islice(names, MAX_CLAIMS))


def _slot(text: str | None) -> int | None:
    if text and len(text) <= 6 and text.isascii() and text.isdigit():
        return int(text)
    return None


def parse_decision(text: str | None) -> Decision:
    """The decision annotation; empty if it is missing or was not written by the webhook."""
    if text is None or len(text) > _MAX_DECISION_LENGTH:
        return _NO_DECISION
    try:
        return _DECISION.decode(text)
    except DECODE_ERRORS:
        return _NO_DECISION


_MAX_DECISION_LENGTH = 1024
"""The webhook writes at most 256 bytes; longer text, which users could write, is not kept."""

_NO_STATUS = _Status()
_NO_ANNOTATIONS = _Annotations()
_NO_DECISION = Decision()

_POD = msgspec.json.Decoder(_Pod)
_DECISION = msgspec.json.Decoder(Decision)
_VOLUMES = msgspec.json.Decoder(list[_Volume] | None)
SHARE_OF_CLAIMS = 2 * 2**20
"""Of each namespace: about 10,000 pods with a claim of their own."""
_SHARED_CLAIMS = SharedValues(_bounded_claims, SHARE_OF_CLAIMS)
