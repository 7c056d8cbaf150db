"""What becomes of a placed pod that another webhook has changed (docs/reference/behaviour.md,
"Placement").

The API server calls the webhook again if a later one has changed the pod.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from spotalis.model.classification import Pin
from spotalis.model.configuration import POD_CAPACITY_TYPE, POD_DECISION
from spotalis.model.nodes import NodeType
from spotalis.model.objects import OVERRIDDEN, PodShape
from spotalis.model.possible_types import selects_compute_class
from spotalis.webhook.admission_review import AdmissionPod, PodSpec
from spotalis.webhook.pod_patch import (
    REQUIRED,
    Operation,
    merge,
    node_selector_expression,
    pin_patch,
)

PinnedTo: TypeAlias = Callable[[PodShape], NodeType]
"""The only capacity type on which a pod of this shape may run; unknown if there is none."""


def choice_of_others(
    pod: AdmissionPod, placed_on: NodeType, pin: Pin, pinned_to: PinnedTo
) -> NodeType | None:
    """The capacity type that other webhooks have sent a placed pod to; None if the pin may stand.

    If another webhook has added a GKE ComputeClass, the pin must not stand beside it, and the pod
    counts as ``placed_on`` until it has a node.
    """
    constraints = _without_pin(pod, pin).node_constraints()
    chosen = pinned_to(constraints)
    if chosen is NodeType.UNKNOWN:
        return placed_on if selects_compute_class(constraints) else None
    return None if chosen is placed_on else chosen


def override_patch(pod: AdmissionPod, pin: Pin, chosen: NodeType) -> list[Operation]:
    """Remove the pin, which contradicts the choice of another webhook, and record that choice."""
    spec = _without_pin(pod, pin).spec
    annotations = pod.metadata.annotations or {}
    fields = msgspec.json.decode(annotations[POD_DECISION])
    fields |= {"class": str(chosen), "rule": OVERRIDDEN}
    decision = {POD_DECISION: msgspec.json.encode(fields).decode()}
    patch = merge("/metadata/labels", pod.metadata.labels, {POD_CAPACITY_TYPE: str(chosen)})
    patch += merge("/metadata/annotations", annotations, decision)
    for field, before, after in (
        ("nodeSelector", pod.spec.node_selector, spec.node_selector),
        ("affinity", pod.spec.affinity, spec.affinity),
    ):
        if before != after:
            patch.append({"op": "add", "path": f"/spec/{field}", "value": after})
    return patch


def restore_patch(
    pod: AdmissionPod, placed_on: NodeType, pin: Pin, pinned_to: PinnedTo
) -> list[Operation]:
    """Add the pin again if another webhook has removed it; empty if it stands."""
    if pinned_to(pod.node_constraints()) is placed_on:
        return []
    return pin_patch(_without_pin(pod, pin), pin)


def _without_pin(pod: AdmissionPod, pin: Pin) -> AdmissionPod:
    selector = pod.spec.node_selector
    if selector is not None:
        selector = {k: v for k, v in selector.items() if (k, v) not in pin.node_selector}
    spec = PodSpec(
        node_selector=selector,
        affinity=_without_terms(pod.spec.affinity, pin),
        tolerations=pod.spec.tolerations,
    )
    return AdmissionPod(metadata=pod.metadata, spec=spec)


def _without_terms(affinity: dict[str, Any] | None, pin: Pin) -> dict[str, Any] | None:
    """The affinity without the requirements of the pin."""
    node = (affinity or {}).get("nodeAffinity") or {}
    terms = (node.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    added = [node_selector_expression(one) for term in pin.terms for one in term]
    if affinity is None or not terms or not added:
        return affinity
    kept: list[dict[str, Any]] = []
    is_unrestricted = False
    for term in terms:
        present = term.get("matchExpressions") or []
        own = [one for one in present if one not in added]
        rest = {**term, "matchExpressions": own} if present else term
        # A term that was empty before matches no node; one that only had the pin matches any.
        is_unrestricted |= bool(present) and not own and not term.get("matchFields")
        if rest not in kept:
            kept.append(rest)
    required = {**node[REQUIRED], "nodeSelectorTerms": kept}
    changed = {**node, REQUIRED: required}
    if is_unrestricted:
        del changed[REQUIRED]
    return {**affinity, "nodeAffinity": changed}
