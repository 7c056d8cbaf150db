"""The patch of a pod preserves what the pod has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from spotalis.model.classification import Pin
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Requirement
from spotalis.planner.placement import Placement
from spotalis.webhook.admission_review import AdmissionPod
from spotalis.webhook.pod_patch import REQUIRED, pin_patch, pod_patch
from spotalis.webhook.reinvocation import override_patch

ON_NODE_1 = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
ON_SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}
ON_GKE_SPOT = {"key": "gke-spot", "operator": "Exists"}
ON_EKS_SPOT = {"key": "eks-capacity", "operator": "In", "values": ["SPOT"]}
TWO_PROVIDERS = Pin(
    terms=(
        (Requirement(key="gke-spot", operator="Exists"),),
        (Requirement(key="eks-capacity", operator="In", values=("SPOT",)),),
    )
)


def affine_pod(*terms: Any) -> AdmissionPod:
    """A pod with these terms of required node affinity, placed by the webhook."""
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}
    annotations = {"spotalis.io/decision": "{}"}
    return msgspec.convert(
        {"metadata": {"annotations": annotations}, "spec": {"affinity": affinity}}, AdmissionPod
    )


def test_an_existing_map_gets_new_members_and_is_not_replaced() -> None:
    pod = msgspec.convert(
        {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeSelector": {"disk": "ssd"}}},
        AdmissionPod,
    )
    placement = Placement(
        node_type=NodeType.SPOT, slot=1, rule="share", have_on_demand=1, have_spot=0,
        reserved=0, want_on_demand=1, want_spot=2,
    )  # fmt: skip
    pin = Pin(node_selector=(("a.b/class", "spot"),))
    patch = pod_patch(pod, placement, request_uid="uid", rule="share", pin=pin)
    paths = [operation["path"] for operation in patch]
    assert "/spec/nodeSelector/a.b~1class" in paths
    assert not {"/spec/nodeSelector", "/metadata/labels"} & set(paths)


@pytest.mark.parametrize(
    ("terms", "combined"),
    [
        pytest.param(
            [{"matchFields": [ON_NODE_1]}],
            [
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_GKE_SPOT]},
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_EKS_SPOT]},
            ],
            id="fields only",
        ),
        pytest.param(
            [{"matchFields": [ON_NODE_1], "matchExpressions": [ON_SSD]}],
            [
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_SSD, ON_GKE_SPOT]},
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_SSD, ON_EKS_SPOT]},
            ],
            id="fields and expressions",
        ),
        pytest.param(
            [{"matchFields": [ON_NODE_1]}, {}, {"matchFields": [], "matchExpressions": None}],
            [
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_GKE_SPOT]},
                {"matchFields": [ON_NODE_1], "matchExpressions": [ON_EKS_SPOT]},
            ],
            id="fields beside terms that match no node",
        ),
    ],
)
def test_a_pin_is_combined_with_each_term_of_the_pod_and_keeps_its_fields(
    terms: list[Any], combined: list[Any]
) -> None:
    [operation] = pin_patch(affine_pod(*terms), TWO_PROVIDERS)
    assert operation["path"] == f"/spec/affinity/nodeAffinity/{REQUIRED}"
    assert operation["value"] == {"nodeSelectorTerms": combined}


def test_a_pin_adds_nothing_to_a_pod_whose_terms_match_no_node() -> None:
    assert pin_patch(affine_pod({}, {"matchFields": []}), TWO_PROVIDERS) == []


def test_removing_a_pin_that_another_webhook_contradicts_keeps_the_fields_of_the_pod() -> None:
    placed = affine_pod(
        {"matchFields": [ON_NODE_1], "matchExpressions": [ON_GKE_SPOT]},
        {"matchFields": [ON_NODE_1], "matchExpressions": [ON_EKS_SPOT]},
    )
    patch = override_patch(placed, TWO_PROVIDERS, NodeType.ON_DEMAND)
    [affinity] = [each["value"] for each in patch if each["path"] == "/spec/affinity"]
    [term] = affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert term["matchFields"] == [ON_NODE_1]
    assert not term["matchExpressions"]
