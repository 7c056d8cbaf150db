"""The JSON patch that assigns a pod to a capacity type.

The patch replaces only keys of Spotalis; everything else is added (docs/reference/behaviour.md,
"Placement").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from spotalis.model.classification import Pin
from spotalis.model.configuration import POD_CAPACITY_TYPE, POD_DECISION, POD_SLOT
from spotalis.model.objects import Requirement, Toleration
from spotalis.planner.placement import Placement
from spotalis.webhook.admission_review import AdmissionPod

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
BASE_DELETION_COST = 10_000
"""The ReplicaSet controller deletes the pod with the lowest cost first. A pod's cost is this value
minus its slot, so that the highest slot is deleted first."""

Operation = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def encode_decision(request_uid: str, placement: Placement, rule: str) -> str:
    """Encode the decision annotation: at most 256 bytes of JSON."""
    fields = {
        "id": request_uid,
        "class": str(placement.node_type),
        "slot": placement.slot,
        "have": [placement.have_on_demand, placement.have_spot],
        "pending": placement.reserved,
        "want": [placement.want_on_demand, placement.want_spot],
        "rule": rule,
    }
    if placement.move:
        fields["move"] = placement.move
    return msgspec.json.encode(fields).decode("ascii")


def pod_patch(
    pod: AdmissionPod, placement: Placement, *, request_uid: str, rule: str, pin: Pin | None
) -> list[Operation]:
    """Return the operations that annotate a pod and restrict it to a capacity type.

    Args:
        pod: determines which parents exist and which must be created.
        placement: the capacity type and the slot of the pod.
        request_uid, rule: for the decision annotation.
        pin: of the capacity type; None if the pod template restricts the pod already.
    """
    annotations = {
        POD_SLOT: str(placement.slot),
        POD_DECISION: encode_decision(request_uid, placement, rule),
    }
    if DELETION_COST not in (pod.metadata.annotations or {}):
        annotations[DELETION_COST] = str(BASE_DELETION_COST - placement.slot)
    labels = {POD_CAPACITY_TYPE: str(placement.node_type)}
    patch = merge("/metadata/labels", pod.metadata.labels, labels)
    patch += merge("/metadata/annotations", pod.metadata.annotations, annotations)
    if pin is not None:
        patch += pin_patch(pod, pin)
    return patch


def pin_patch(pod: AdmissionPod, pin: Pin) -> list[Operation]:
    """Return the operations that restrict a pod to the nodes of a pin."""
    patch = merge("/spec/nodeSelector", pod.spec.node_selector, dict(pin.node_selector))
    patch += _affinity(pod.spec.affinity, pin.terms)
    return patch + _tolerations(pod.spec.tolerations, pin.tolerations)


def merge(
    path: str, present: Mapping[str, str] | None, wanted: Mapping[str, str]
) -> list[Operation]:
    """Add members to a map; adds the map if it does not exist."""
    if not wanted:
        return []
    if present is None:
        return [{"op": "add", "path": path, "value": dict(wanted)}]
    return [
        {"op": "add", "path": f"{path}/{_escape(key)}", "value": value}
        for key, value in wanted.items()
        if present.get(key) != value
    ]


def _affinity(
    present: dict[str, Any] | None, terms: tuple[tuple[Requirement, ...], ...]
) -> list[Operation]:
    """Combine required node affinity: each term of the pod with each term of ``terms`` (AND)."""
    if not terms:
        return []
    added = [[node_selector_expression(requirement) for requirement in term] for term in terms]
    node = (present or {}).get("nodeAffinity")
    required = (node or {}).get(REQUIRED)
    existing = (required or {}).get("nodeSelectorTerms")
    if existing:
        # In the API an empty term matches no node; combined with another term it would.
        existing = [t for t in existing if t.get("matchExpressions") or t.get("matchFields")]
        if not existing:
            return []
        combined = [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or []), *expressions]}
            for term in existing
            for expressions in added
        ]
    else:
        combined = [{"matchExpressions": expressions} for expressions in added]
    value: Any = {"nodeSelectorTerms": combined}
    path = "/spec/affinity"
    if not present:
        return [{"op": "add", "path": path, "value": {"nodeAffinity": {REQUIRED: value}}}]
    path += "/nodeAffinity"
    if not node:
        return [{"op": "add", "path": path, "value": {REQUIRED: value}}]
    return [{"op": "add", "path": f"{path}/{REQUIRED}", "value": value}]


def node_selector_expression(requirement: Requirement) -> dict[str, Any]:
    """Return a requirement as an expression of a node selector term."""
    expression: dict[str, Any] = {"key": requirement.key, "operator": requirement.operator}
    if requirement.values:
        expression["values"] = list(requirement.values)
    return expression


def _tolerations(
    present: list[dict[str, Any]] | None, wanted: tuple[Toleration, ...]
) -> list[Operation]:
    if not wanted:
        return []
    added = [_toleration(toleration) for toleration in wanted]
    if present is None:
        return [{"op": "add", "path": "/spec/tolerations", "value": added}]
    return [
        {"op": "add", "path": "/spec/tolerations/-", "value": value}
        for value in added
        if value not in present
    ]


def _toleration(toleration: Toleration) -> dict[str, Any]:
    value: dict[str, Any] = {"key": toleration.key, "operator": toleration.operator}
    if toleration.value:
        value["value"] = toleration.value
    if toleration.effect:
        value["effect"] = toleration.effect
    return value


def _escape(key: str) -> str:
    """Escape a key for a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
