"""Properties of the patches that ``/mutate`` returns, for any pod that the API server accepts."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spotalis.model.nodes import NodeType
from spotalis.web.connections import Stage
from spotalis.webhook.admission import MAX_WAITS
from tests.support.admission_webhook import NODES, REPLICAS, AdmissionWebhook, node_name
from tests.support.pod_strategies import DELETION_COST, NODE_NAMES, POD_KEYS, REQUIRED, pods

Json = Any
ALLOWED_PATHS = {
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/nodeSelector",
    "/spec/affinity",
    "/spec/affinity/nodeAffinity",
    f"/spec/affinity/nodeAffinity/{REQUIRED}",
    "/spec/tolerations",
    "/spec/tolerations/-",
    "/metadata/labels/spotalis.io~1capacity-type",
    "/metadata/annotations/spotalis.io~1slot",
    "/metadata/annotations/spotalis.io~1decision",
    "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost",
}
"""The JSON pointers that a patch may contain, besides the providers' labels in nodeSelector."""
NODE_LABELS = {key for _, labels in NODES for key in labels}
managed_workloads = st.sampled_from(["api", "db"])
OWN_REQUIREMENT = {"key": "tier", "operator": "In", "values": ["web"]}
ON_SPOT_0, ON_DEMAND_2 = (
    {"key": "metadata.name", "operator": "In", "values": [name]} for name in NODE_NAMES[:2]
)


def affine_pod(*terms: Json) -> Json:
    """A pod with required node affinity. An empty term matches no node."""
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    affinity = {"nodeAffinity": required}
    return {"metadata": {}, "spec": {"containers": [{"name": "app"}], "affinity": affinity}}


BOUND_TO_TWO_NODES = affine_pod({"matchFields": [ON_SPOT_0]}, {"matchFields": [ON_DEMAND_2]})


@given(workload=managed_workloads, pod=pods, dry_run=st.booleans())
def test_a_patch_only_adds_and_only_at_allowed_paths(
    webhook: AdmissionWebhook, workload: str, pod: Json, dry_run: bool
) -> None:
    _, patch, decision = webhook.admit(webhook.request(workload, pod, dryRun=dry_run))
    assert decision in ("spot", "on-demand", "placed-already")
    for operation in patch:
        assert operation["op"] == "add"
        path = operation["path"]
        if path not in ALLOWED_PATHS:
            parent, _, key = path.rpartition("/")
            assert parent == "/spec/nodeSelector"
            assert key.replace("~1", "/").replace("~0", "~") in NODE_LABELS


@given(workload=managed_workloads, pod=pods)
def test_a_patch_preserves_everything_that_the_pod_has(
    webhook: AdmissionWebhook, workload: str, pod: Json
) -> None:
    review = webhook.request(workload, pod, dryRun=True)
    before = review["request"]["object"]
    after, _, _ = webhook.admit(review)
    for part in ("labels", "annotations"):
        assert _foreign(after["metadata"], part) == _foreign(before["metadata"], part)
    cost = (before["metadata"].get("annotations") or {}).get(DELETION_COST)
    assert cost is None or after["metadata"]["annotations"][DELETION_COST] == cost
    tolerations = before["spec"].get("tolerations") or []
    assert (after["spec"].get("tolerations") or [])[: len(tolerations)] == tolerations
    assert _unrelated(after["spec"]) == _unrelated(before["spec"])


def _foreign(metadata: Json, part: str) -> dict[str, str]:
    """Labels or annotations without the keys that Spotalis writes."""
    entries = metadata.get(part) or {}
    return {key: value for key, value in entries.items() if key not in (*POD_KEYS, DELETION_COST)}


def _unrelated(spec: Json) -> Json:
    """A spec without the fields that a patch may extend."""
    spec = copy.deepcopy(spec)
    affinity = spec.pop("affinity", None) or {}
    node_affinity = affinity.pop("nodeAffinity", None) or {}
    node_affinity.pop(REQUIRED, None)
    for field in ("nodeSelector", "tolerations"):
        spec.pop(field, None)
    return spec, affinity, node_affinity


@example(workload="api", pod=BOUND_TO_TWO_NODES)
@given(workload=managed_workloads, pod=pods)
def test_a_patch_allows_no_further_nodes_and_adds_tolerations_only_with_a_pin_to_spot(
    webhook: AdmissionWebhook, workload: str, pod: Json
) -> None:
    review = webhook.request(workload, pod, dryRun=True)
    before = review["request"]["object"]
    after, patch, _ = webhook.admit(review)
    nodes = [
        (node_type, node_name(number), labels) for number, (node_type, labels) in enumerate(NODES)
    ]
    for _, name, labels in nodes:
        assert _fits(before, name, labels) or not _fits(after, name, labels)
    if any(operation["path"].startswith("/spec/tolerations") for operation in patch):
        types = {node_type for node_type, name, labels in nodes if _fits(after, name, labels)}
        assert NodeType.ON_DEMAND not in types


def _fits(pod: Json, name: str, labels: Mapping[str, str]) -> bool:
    """Whether node selector and required affinity match a node; an empty term matches none."""
    spec = pod["spec"]
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if not required:
        return True
    for term in required["nodeSelectorTerms"]:
        expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
        if (
            (expressions or fields)
            and all(_matches(labels, expression) for expression in expressions)
            and all(_matches({"metadata.name": name}, field) for field in fields)
        ):
            return True
    return False


def _matches(labels: Mapping[str, str], expression: Json) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None


@example(workload="api", pod=affine_pod({}))
@example(workload="api", pod=affine_pod({}, {"matchExpressions": [OWN_REQUIREMENT]}))
@given(workload=managed_workloads, pod=pods)
def test_a_second_request_for_the_same_pod_changes_nothing(
    webhook: AdmissionWebhook, workload: str, pod: Json
) -> None:
    once, _, _ = webhook.admit(webhook.request(workload, pod))
    twice, patch, decision = webhook.admit(webhook.request(workload, once))
    assert (twice, patch, decision) == (once, [], "placed-already")


@settings(max_examples=40)
@given(workload=managed_workloads, pod=pods, taken=st.sampled_from([0, 3, REPLICAS - 1, REPLICAS]))
def test_a_dry_run_neither_adds_nor_drops_reservations(
    webhook: AdmissionWebhook, workload: str, pod: Json, taken: int
) -> None:
    webhook.drop_reservations(workload)
    for _ in range(taken):
        webhook.admit(webhook.request(workload, {"metadata": {}, "spec": {}}))
    before = webhook.reservations(workload)
    assert webhook.count_reservations(workload) == taken
    webhook.admit(webhook.request(workload, pod, dryRun=True))
    assert webhook.count_reservations(workload) == taken
    assert webhook.reservations(workload) == before


@pytest.mark.parametrize(
    ("workload", "fields", "result"),
    [
        ("dns", {}, "namespace-excluded"),
        ("plain", {}, "not-managed"),
        ("api", {"operation": "UPDATE"}, "not-a-creation"),
        ("api", {"subResource": "eviction"}, "not-a-pod"),
        ("api", {"resource": {"group": "apps", "resource": "pods"}}, "not-a-pod"),
    ],
    ids=["excluded namespace", "no annotations", "update", "subresource", "other group"],
)
@settings(max_examples=20)
@given(pod=pods)
def test_an_unmanaged_pod_is_admitted_unchanged(
    webhook: AdmissionWebhook, pod: Json, workload: str, fields: Json, result: str
) -> None:
    _, patch, decision = webhook.admit(webhook.request(workload, pod, **fields))
    assert (patch, decision) == ([], result)


def test_a_pod_of_an_invented_owner_is_no_sign_that_the_api_server_calls_the_webhook() -> None:
    served = AdmissionWebhook()
    try:
        observer = served._operator.admission._observer
        review = served.request("api", {"metadata": {}, "spec": {}})
        (owner,) = review["request"]["object"]["metadata"]["ownerReferences"]
        owner["uid"] = "invented"
        assert served.admit(review)[2] == "owner-unknown"
        assert not observer.webhook_called
        served.admit(served.request("api", {"metadata": {}, "spec": {}}))
        assert observer.webhook_called
    finally:
        served.close()


def invented(review: Json, number: int) -> bytes:
    """The request, with an owner that does not exist."""
    review = copy.deepcopy(review)
    (owner,) = review["request"]["object"]["metadata"]["ownerReferences"]
    owner |= {"name": f"invented-{number}", "uid": f"uid-{number}"}
    return json.dumps(review).encode()


def test_requests_that_wait_are_few_and_do_not_delay_others(webhook: AdmissionWebhook) -> None:
    pod: Json = {"metadata": {}, "spec": {}}
    full = json.dumps(webhook.request("empty", pod, dryRun=True)).encode()
    review = webhook.request("api", pod, dryRun=True)
    other = json.dumps(webhook.request("db", pod, dryRun=True)).encode()
    for crowd in (
        [full] * 100,  # pods beyond the number that their owner wants
        [invented(review, number) for number in range(100)],
        [invented(review, 0)] * 100,
    ):
        reply, passed, waiting = webhook.post_beside(other, crowd)
        assert reply.json()["response"]["auditAnnotations"]["decision"] == "on-demand"
        assert (passed, waiting) == (0, MAX_WAITS // 2)


def test_only_a_request_about_an_existing_owner_makes_its_client_known(
    webhook: AdmissionWebhook,
) -> None:
    review = webhook.request("plain", {"metadata": {}, "spec": {}}, dryRun=True)
    excluded = webhook.request("dns", {"metadata": {}, "spec": {}})
    assert webhook.stage_after(b"{}") is Stage.CONNECTED
    assert webhook.stage_after(json.dumps(excluded).encode()) is Stage.CONNECTED
    assert webhook.stage_after(invented(review, 0)) is Stage.CONNECTED
    assert webhook.stage_after(json.dumps(review).encode()) is Stage.KNOWN
