"""Decodes and encodes AdmissionReviews; without I/O and without knowledge of the cluster."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spotalis.kube.decode import parse_decision
from spotalis.kube.decode.metadata import (
    DECODE_ERRORS,
    NULL,
    Labels,
    OwnerReference,
    Wire,
    controlling_owner,
)
from spotalis.kube.decode.pod_shape import Affinity, required_node_terms
from spotalis.kube.decode.pods import Decision
from spotalis.model.configuration import POD_DECISION
from spotalis.model.constraints import MAX_CONSTRAINTS_BYTES
from spotalis.model.names import MAX_NAME_LENGTH
from spotalis.model.objects import Owner, PodShape
from spotalis.webhook.errors import InvalidAdmissionReview

MAX_VALUES = 100_000
"""Maximum number of JSON values in a request. The largest object that etcd accepts has fewer
(1.5 MiB at 15 bytes per value). Decoded, 7 MiB of ``{},{},`` take 190 MB (measured), and this
many values 9 MB."""
_COUNTED_BYTES = 64 * 1024

MAX_UID_LENGTH = 64
"""Characters of a UID; those of Kubernetes have 36. The decision annotation repeats it."""


class PodMetadata(Wire):
    """The metadata of a pod that the webhook reads; patches depend on what exists."""

    labels: Labels = None
    annotations: Labels = None
    owner_references: list[OwnerReference] | None = None


class PodSpec(Wire):
    """The part of a pod's spec that the webhook reads; patches must preserve the rest."""

    node_selector: Labels = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None


class AdmissionPod(Wire):
    """The pod in an admission request."""

    metadata: PodMetadata = msgspec.field(default_factory=PodMetadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)

    @property
    def owner(self) -> Owner | None:
        """The controlling owner."""
        return controlling_owner(self.metadata.owner_references)

    @property
    def has_long_constraints(self) -> bool:
        """Whether its scheduling constraints are too long to be compared with nodes."""
        spec = self.spec
        written = msgspec.json.encode((spec.node_selector, spec.affinity, spec.tolerations))
        return len(written) > MAX_CONSTRAINTS_BYTES

    def node_constraints(self) -> PodShape:
        """The pod's node selector and required node affinity, without its other requirements."""
        return PodShape(
            node_selector=tuple(sorted((self.spec.node_selector or {}).items())),
            node_terms=required_node_terms(_decode_affinity(self)),
        )


class GroupResource(Wire):
    """The resource that a request is about."""

    group: str = ""
    resource: str = ""


class _Request(Wire):
    """The part of the AdmissionRequest of admission.k8s.io/v1 that the webhook reads."""

    uid: str
    resource: GroupResource
    operation: str
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: msgspec.Raw = NULL


class _Review(Wire):
    api_version: str
    kind: str
    request: _Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """What the webhook keeps of a request while it waits.

    The pod stays JSON, because it takes up to 27 times as much memory when decoded.
    """

    uid: str
    resource: GroupResource
    operation: str
    namespace: str
    name: str
    sub_resource: str
    dry_run: bool
    owner: Owner | None
    """The controlling owner of the pod."""
    decision: Decision
    """An earlier decision about the pod; empty if there is none."""
    has_long_constraints: bool
    """Whether the pod's scheduling constraints are too long to be compared with nodes."""
    pod_json: msgspec.Raw

    def decode_pod(self) -> AdmissionPod:
        """Decode the pod. Do not keep it while anything is awaited."""
        return _POD.decode(self.pod_json)


_REVIEW = msgspec.json.Decoder(_Review)
_POD = msgspec.json.Decoder(AdmissionPod)


def decode_request(body: bytes) -> AdmissionRequest:
    """Decode the request of an AdmissionReview.

    Raises:
        InvalidAdmissionReview: not JSON, not v1, no object, a field of the wrong type, or too many
            values.
    """
    # Each value takes a byte at least. The request for a pod has about 10,000 bytes.
    if len(body) > MAX_VALUES and _has_too_many_values(body):
        raise InvalidAdmissionReview(f"the request has more than {MAX_VALUES} values")
    try:
        review = _REVIEW.decode(body)
        request = _summarize(review.request)
        _check_lengths(request)
    except DECODE_ERRORS as error:
        raise InvalidAdmissionReview(str(error)) from None
    if (review.api_version, review.kind) != ("admission.k8s.io/v1", "AdmissionReview"):
        raise InvalidAdmissionReview(
            "must be an AdmissionReview of admission.k8s.io/v1, "
            f"not {review.kind} of {review.api_version}"
        )
    return request


def _has_too_many_values(body: bytes) -> bool:
    """Whether there are more than ``MAX_VALUES``; stops counting there."""
    values = 0
    for start in range(0, len(body), _COUNTED_BYTES):
        end = start + _COUNTED_BYTES
        values += sum(body.count(mark, start, end) for mark in b",{[")
        if values > MAX_VALUES:
            return True
    return False


def _summarize(request: _Request) -> AdmissionRequest:
    """Decode the pod for a moment, which also checks it.

    Raises ValueError if it is missing or invalid.
    """
    if request.object == NULL:
        raise ValueError("request.object is missing")
    pod = _POD.decode(request.object)
    _decode_affinity(pod)
    return AdmissionRequest(
        uid=request.uid,
        resource=request.resource,
        operation=request.operation,
        namespace=request.namespace,
        name=request.name,
        sub_resource=request.sub_resource,
        dry_run=bool(request.dry_run),
        owner=pod.owner,
        decision=parse_decision((pod.metadata.annotations or {}).get(POD_DECISION)),
        has_long_constraints=pod.has_long_constraints,
        pod_json=request.object,
    )


def _check_lengths(request: AdmissionRequest) -> None:
    """Raise ValueError if the API server would accept no object with these names.

    They are kept in reservations and repeated in the patch, in requests and in log messages.
    """
    owner = request.owner
    texts = {
        "request.uid": (request.uid, MAX_UID_LENGTH),
        "request.name": (request.name, MAX_NAME_LENGTH),
        "request.namespace": (request.namespace, MAX_NAME_LENGTH),
        "the owner's name": (owner.name if owner else "", MAX_NAME_LENGTH),
        "the owner's uid": (owner.uid if owner else "", MAX_UID_LENGTH),
    }
    for field, (text, limit) in texts.items():
        if len(text) > limit:
            raise ValueError(f"{field} has {len(text)} characters; at most {limit} are accepted")


def _decode_affinity(pod: AdmissionPod) -> Affinity:
    return msgspec.convert(pod.spec.affinity or {}, Affinity)


def encode_response(
    uid: str,
    *,
    patch: Sequence[Mapping[str, Any]] = (),
    audit: Mapping[str, str] | None = None,
) -> bytes:
    """Encode an AdmissionReview that allows the request, with a JSON patch if there is one.

    The API server prefixes the keys of ``audit`` with the webhook's name.
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
