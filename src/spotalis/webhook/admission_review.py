"""An AdmissionReview in and out, as values; nothing here waits or knows the cluster."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spotalis.kube.decode import DECODE_ERRORS
from spotalis.model.objects import Owner, PodShape, Requirement
from spotalis.webhook.errors import InvalidAdmissionReview


class OwnerReference(msgspec.Struct, rename="camel"):
    """As on the wire."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class PodMetadata(msgspec.Struct, rename="camel"):
    """What the webhook reads of a pod's metadata; patches must know what is there already."""

    name: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class _Expression(msgspec.Struct):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class _Term(msgspec.Struct, rename="camel"):
    match_expressions: list[_Expression] | None = None
    match_fields: list[Any] | None = None


class _NodeSelector(msgspec.Struct, rename="camel"):
    node_selector_terms: list[_Term] | None = None


class _NodeAffinity(msgspec.Struct):
    required: _NodeSelector | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )


class _Affinity(msgspec.Struct, rename="camel"):
    """What is read of an affinity; the pod keeps the whole, which a patch must not make smaller."""

    node_affinity: _NodeAffinity | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    """What the webhook reads of a pod's spec."""

    node_selector: dict[str, str] | None = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None


class PodObject(msgspec.Struct):
    """The pod under review."""

    metadata: PodMetadata = msgspec.field(default_factory=PodMetadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class GroupVersionResource(msgspec.Struct):
    """Which collection a request is about."""

    group: str = ""
    version: str = ""
    resource: str = ""


class AdmissionRequest(msgspec.Struct, rename="camel"):
    """The part of admission.k8s.io/v1 AdmissionRequest that is read."""

    uid: str
    resource: GroupVersionResource
    operation: str
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: PodObject | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    request: AdmissionRequest


_DECODER = msgspec.json.Decoder(_Review)
MAX_VALUES = 100_000
"""More values in a review than the largest object has that etcd takes (1.5 MiB, 15 bytes a value
where JSON is dense). Decoded, 7 MiB of ``{},{},`` take 190 MB (measured); this many take 9."""


def read(body: bytes) -> AdmissionRequest:
    """The request in a review.

    Raises:
        InvalidAdmissionReview: not JSON, not v1, a field of the wrong type, or too many values.
    """
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_VALUES:
        raise InvalidAdmissionReview(f"more than {MAX_VALUES} values in one review")
    try:
        review = _DECODER.decode(body)
        if review.request.object is not None:
            _affinity(review.request.object)
    except DECODE_ERRORS as error:
        raise InvalidAdmissionReview(str(error)) from None
    if (review.api_version, review.kind) != ("admission.k8s.io/v1", "AdmissionReview"):
        raise InvalidAdmissionReview(
            "must be an AdmissionReview of admission.k8s.io/v1, "
            f"not {review.kind} of {review.api_version}"
        )
    return review.request


def controlling_owner(pod: PodObject) -> Owner | None:
    """The owner reference with ``controller: true``."""
    for reference in pod.metadata.owner_references or ():
        if reference.controller:
            group = reference.api_version.rpartition("/")[0]
            return Owner(group, reference.kind, reference.name, reference.uid)
    return None


def required_nodes(pod: PodObject) -> PodShape:
    """The pod's own demands on its node: selector and required affinity, nothing else."""
    node = _affinity(pod).node_affinity
    required = node.required if node else None
    return PodShape(
        node_selector=tuple(sorted((pod.spec.node_selector or {}).items())),
        node_terms=tuple(
            tuple(
                Requirement(one.key, one.operator, tuple(one.values or ()))
                for one in term.match_expressions or ()
            )
            for term in (required.node_selector_terms if required else None) or ()
        ),
    )


def _affinity(pod: PodObject) -> _Affinity:
    return msgspec.convert(pod.spec.affinity or {}, _Affinity)


def answer(
    uid: str,
    *,
    patch: Sequence[Mapping[str, Any]] = (),
    audit: Mapping[str, str] | None = None,
) -> bytes:
    """An AdmissionReview that allows, with a JSON patch if there is one.

    Args:
        uid: of the request.
        patch: RFC 6902 operations.
        audit: audit annotations, keys without prefix (the API server adds the webhook's name).
    """
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(patch)).decode("ascii")
    if audit:
        response["auditAnnotations"] = dict(audit)
    return msgspec.json.encode(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    )
