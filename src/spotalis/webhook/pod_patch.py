"""The JSON patch that places a pod: additions only, but for our own keys (behaviour.md 1 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from spotalis.model.configuration import POD_CAPACITY_TYPE, POD_DECISION, POD_SLOT
from spotalis.model.nodes import Pin
from spotalis.model.objects import Requirement, Toleration
from spotalis.planner.placement import Placement
from spotalis.webhook.admission_review import PodObject

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
BASE_DELETION_COST = 10_000
"""The ReplicaSet controller deletes lowest cost first: 10000 - slot makes it the highest slot."""

Operation = dict[str, Any]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def decision_text(request_uid: str, placement: Placement, rule: str) -> str:
    """The annotation that says why, at most 256 bytes of JSON."""
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
    pod: PodObject, placement: Placement, *, request_uid: str, rule: str, pin: Pin | None
) -> list[Operation]:
    """The operations that mark a pod and, with ``pin``, bind it to its class.

    Args:
        pod: as under review; what is there decides what must be created first.
        placement: where it goes.
        request_uid: the review's uid.
        rule: why, in the decision annotation.
        pin: None leaves the pod's placement alone (its owner pinned it).
    """
    annotations = {
        POD_SLOT: str(placement.slot),
        POD_DECISION: decision_text(request_uid, placement, rule),
    }
    if DELETION_COST not in (pod.metadata.annotations or {}):
        annotations[DELETION_COST] = str(BASE_DELETION_COST - placement.slot)
    labels = {POD_CAPACITY_TYPE: str(placement.node_type)}
    patch = _merge("/metadata/labels", pod.metadata.labels, labels)
    patch += _merge("/metadata/annotations", pod.metadata.annotations, annotations)
    if pin is not None:
        selector = dict(pin.node_selector)
        patch += _merge("/spec/nodeSelector", pod.spec.node_selector, selector)
        patch += _affinity(pod.spec.affinity, pin.terms)
        patch += _tolerations(pod.spec.tolerations, pin.tolerations)
    return patch


def _merge(
    path: str, present: Mapping[str, str] | None, wanted: Mapping[str, str]
) -> list[Operation]:
    """Members of a string map; the whole map where there is none yet."""
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
    """Required node affinity: the pod's own terms, each crossed with each of ours (AND)."""
    if not terms:
        return []
    ours = [[_expression(requirement) for requirement in term] for term in terms]
    node = (present or {}).get("nodeAffinity")
    required = (node or {}).get(_REQUIRED)
    theirs = (required or {}).get("nodeSelectorTerms")
    if theirs:
        # An empty term matches no node (the API's rule); crossed with ours it would.
        theirs = [t for t in theirs if t.get("matchExpressions") or t.get("matchFields")]
        if not theirs:
            return []
        crossed = [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or []), *extra]}
            for term in theirs
            for extra in ours
        ]
    else:
        crossed = [{"matchExpressions": extra} for extra in ours]
    value: Any = {"nodeSelectorTerms": crossed}
    path = "/spec/affinity"
    if not present:
        return [{"op": "add", "path": path, "value": {"nodeAffinity": {_REQUIRED: value}}}]
    path += "/nodeAffinity"
    if not node:
        return [{"op": "add", "path": path, "value": {_REQUIRED: value}}]
    return [{"op": "add", "path": f"{path}/{_REQUIRED}", "value": value}]


def _expression(requirement: Requirement) -> dict[str, Any]:
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
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
