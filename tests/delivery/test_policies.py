"""What the operator's account can do with its permissions, on a real API server.

Each request of the table is sent as a dry run with the account's token, first without and then with
the ValidatingAdmissionPolicies of the manifests. RBAC alone allows every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from scripts.manifests import K8S
from spotalis.controller.ledgers import GROUP_MEMORY, LEDGER_PREFIX
from spotalis.controller.spot_memory import NAME as SPOT_MEMORY
from tests.delivery.installed_operator import CONFIGURATION, OPERATOR_NAMESPACE
from tests.support.control_plane import (
    WITHOUT_PERMISSIONS,
    ApiError,
    ControlPlane,
    Json,
    binaries_or_skip,
    eventually,
)

pytestmark = pytest.mark.real

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
CONFIG_MAPS = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"
EVENTS = "/api/v1/namespaces/default/events"
STATUS = "/apis/apps/v1/namespaces/default/deployments/web/status"
FOREIGN_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"}
OWN = "spotalis.io/controller"


@dataclass(frozen=True)
class Attempt:
    """A request, and the policy that denies it; empty if it is allowed."""

    name: str
    method: str
    path: str
    body: Any = None
    content_type: str | None = None
    denied_by: str = ""

    def outcome(self, control_plane: ControlPlane) -> str:
        """The name of the policy that denies the request, or its error; empty if it is allowed."""
        path = f"{self.path}?dryRun=All"
        try:
            control_plane.request(
                self.method, path, self.body, user="spotalis", content_type=self.content_type
            )
        except ApiError as error:
            _, found, rest = str(error).partition("ValidatingAdmissionPolicy '")
            return rest.partition("'")[0] if found else str(error)
        return ""


def webhook_attempts() -> Iterator[Attempt]:
    policy = "spotalis-webhook-configuration"
    webhook = "/webhooks/0"
    bundle = {"op": "add", "path": f"{webhook}/clientConfig/caBundle", "value": "LS0tCg=="}
    patches: Mapping[str, Json] = {
        "calls another server": {
            "op": "replace",
            "path": f"{webhook}/clientConfig",
            "value": {"url": "https://attacker.example/mutate"},
        },
        "calls another Service": {
            "op": "replace",
            "path": f"{webhook}/clientConfig/service/namespace",
            "value": "shop",
        },
        "receives all objects": {
            "op": "replace",
            "path": f"{webhook}/rules/0/resources",
            "value": ["*"],
        },
        "receives all namespaces": {
            "op": "replace", "path": f"{webhook}/namespaceSelector", "value": {},
        },
        "receives selected objects": {
            "op": "add", "path": f"{webhook}/objectSelector/matchLabels", "value": {"a": "b"},
        },
        "receives pods without owners": {"op": "remove", "path": f"{webhook}/matchConditions"},
        "blocks pods": {"op": "replace", "path": f"{webhook}/failurePolicy", "value": "Fail"},
        "delays pods": {"op": "replace", "path": f"{webhook}/timeoutSeconds", "value": 30},
        "matches exactly": {"op": "replace", "path": f"{webhook}/matchPolicy", "value": "Exact"},
        "is called once": {
            "op": "replace", "path": f"{webhook}/reinvocationPolicy", "value": "Never",
        },
        "has side effects": {
            "op": "replace", "path": f"{webhook}/sideEffects", "value": "NoneOnDryRun",
        },
        "speaks another version": {
            "op": "add", "path": f"{webhook}/admissionReviewVersions/-", "value": "v2",
        },
        "has another name": {"op": "replace", "path": f"{webhook}/name", "value": "a.example.com"},
        "is removed": {"op": "remove", "path": "/webhooks"},
    }  # fmt: skip
    yield Attempt("webhook: sets caBundle", "PATCH", CONFIGURATION, [bundle], JSON_PATCH)
    for name, operation in patches.items():
        yield Attempt(f"webhook: {name}", "PATCH", CONFIGURATION, [operation], JSON_PATCH, policy)
    for name, value in metadata_changes().items():
        body = {"metadata": {name: value}}
        yield Attempt(f"webhook: {name}", "PATCH", CONFIGURATION, body, MERGE_PATCH, policy)
    second = {
        "name": "b.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": "https://attacker.example/mutate"},
    }
    added = [{"op": "add", "path": "/webhooks/-", "value": second}]
    yield Attempt("webhook: a second one", "PATCH", CONFIGURATION, added, JSON_PATCH, policy)


def metadata_changes() -> Mapping[str, Any]:
    """A deletion by the garbage collector, a lock, and keys that other controllers read."""
    return {
        "ownerReferences": [FOREIGN_OWNER],
        "finalizers": ["attacker.example/lock"],
        "annotations": {"spotalis.io/enabled": "true"},
        "labels": {"attacker.example/label": "x"},
    }


def eviction_attempts(pods: Mapping[str, Json]) -> Iterator[Attempt]:
    policy = "spotalis-evictions"

    def attempt(name: str, pod: str, denied_by: str, **options: Any) -> Attempt:
        metadata = pods[pod]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "deleteOptions": {"preconditions": {"uid": metadata["uid"]}} | options,
        }
        return Attempt(f"eviction: {name}", "POST", path, body, denied_by=denied_by)

    both = {
        "uid": pods["default"]["uid"],
        "resourceVersion": pods["default"]["resourceVersion"],
    }
    yield attempt("by UID", "default", "")
    yield attempt("by UID and version", "default", "", preconditions=both)
    yield attempt("without UID", "default", policy, preconditions={})
    yield attempt("without a grace period", "default", policy, gracePeriodSeconds=0)
    yield attempt("in kube-system", "kube-system", policy)
    yield attempt("of the operator", OPERATOR_NAMESPACE, policy)


def deletion_attempts(pods: Mapping[str, Json]) -> Iterator[Attempt]:
    policy = "spotalis-pdb-override"

    def attempt(name: str, pod: str, denied_by: str, **options: Any) -> Attempt:
        metadata = pods[pod]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        # With a body, the API server ignores the query.
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}
        body |= {"preconditions": {"uid": metadata["uid"]}} | options
        return Attempt(f"deletion: {name}", "DELETE", path, body, denied_by=denied_by)

    yield attempt("by UID", "default", "")
    yield attempt("without UID", "default", policy, preconditions={})
    yield attempt("without a grace period", "default", policy, gracePeriodSeconds=0)
    yield attempt("of a pod without an owner", "bare", policy)
    yield attempt("in kube-system", "kube-system", policy)
    yield attempt("of the operator", OPERATOR_NAMESPACE, policy)


def own_namespace_attempts() -> Iterator[Attempt]:
    policy = "spotalis-own-namespace"

    def named(name: str) -> Json:
        return {"metadata": {"name": name}, "data": {"a": "b"}}

    for name in (f"{LEDGER_PREFIX}2", GROUP_MEMORY, SPOT_MEMORY):
        yield Attempt(f"configmap: creates {name}", "POST", CONFIG_MAPS, named(name))
    for name in ("other", "spotalis-ca", "spotalis-spot-2", "spotalis-ledger"):
        yield Attempt(f"configmap: creates {name}", "POST", CONFIG_MAPS, named(name), None, policy)
    ledger, settings = f"{LEDGER_PREFIX}1", "spotalis-settings"
    yield Attempt("configmap: writes a ledger", "PUT", f"{CONFIG_MAPS}/{ledger}", named(ledger))
    yield Attempt("configmap: deletes a ledger", "DELETE", f"{CONFIG_MAPS}/{ledger}")
    for name in (settings, "spotalis-ca-bundle", "kube-root-ca.crt"):
        path = f"{CONFIG_MAPS}/{name}"
        yield Attempt(f"configmap: writes {name}", "PUT", path, named(name), None, policy)
        yield Attempt(f"configmap: deletes {name}", "DELETE", path, denied_by=policy)
    yield Attempt("lease: creates its own", "POST", LEASES, {"metadata": {"name": "spotalis"}})
    other = {"metadata": {"name": "kube-scheduler"}}
    yield Attempt("lease: creates another", "POST", LEASES, other, denied_by=policy)


def event_attempts() -> Iterator[Attempt]:
    policy = "spotalis-events"
    count = {"count": 2}
    yield Attempt("event: creates its own", "POST", EVENTS, an_event("new", OWN))
    yield Attempt("event: counts its own", "PATCH", f"{EVENTS}/own", count, MERGE_PATCH)
    kubelet = an_event("new", "kubelet")
    yield Attempt("event: in another name", "POST", EVENTS, kubelet, None, policy)
    yield Attempt("event: of others", "PATCH", f"{EVENTS}/other", count, MERGE_PATCH, policy)
    renamed = {"reportingComponent": "kubelet"}
    yield Attempt("event: renames its own", "PATCH", f"{EVENTS}/own", renamed, MERGE_PATCH, policy)
    claimed = {"reportingComponent": OWN}
    yield Attempt("event: claims others", "PATCH", f"{EVENTS}/other", claimed, MERGE_PATCH, policy)


def an_event(name: str, component: str) -> Json:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Deployment", "namespace": "default", "name": "web"},
        "reason": "Test",
        "message": "test",
        "reportingComponent": component,
        "reportingInstance": "one",
        "source": {"component": component},
    }


def condition_attempts() -> Iterator[Attempt]:
    policy = "spotalis-conditions"

    def condition(kind: str, **changes: str) -> Json:
        fields = {"type": kind, "status": "True", "reason": "Balanced", "message": ""} | changes
        return {"status": {"conditions": [fields]}}

    own = "spotalis.io/Balanced"
    yield Attempt("status: its condition", "PATCH", STATUS, condition(own), STRATEGIC)
    removal = {"status": {"conditions": [{"type": own, "$patch": "delete"}]}}
    yield Attempt("status: removes its condition", "PATCH", STATUS, removal, STRATEGIC)
    for kind in ("Available", "attacker.example/Ready"):
        body = condition(kind, reason="Attacker")
        yield Attempt(f"status: condition {kind}", "PATCH", STATUS, body, STRATEGIC, policy)
    for status in (
        {"availableReplicas": 0},
        {"availableReplicas": 0, "readyReplicas": 0},  # no more may be available than ready
        {"collisionCount": 7},
        {"observedGeneration": 99},
        {"replicas": 9},
        {"terminatingReplicas": 5},
        {"unavailableReplicas": 3},
        {"updatedReplicas": 0},
    ):
        body = {"status": status}
        yield Attempt(f"status: {' and '.join(status)}", "PATCH", STATUS, body, STRATEGIC, policy)
    for field, value in metadata_changes().items():
        if field != "labels":  # The API server ignores labels in writes of the status.
            body = {"metadata": {field: value}}
            yield Attempt(f"status: {field}", "PATCH", STATUS, body, STRATEGIC, policy)


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster with an installation without policies."""
    folder = tmp_path_factory.mktemp("policies")
    with ControlPlane.boot(
        folder / "control_plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as control_plane:
        control_plane.add_nodes(on_demand=2)
        control_plane.apply([each for each in manifests() if not is_policy(each)])
        yield control_plane


@pytest.fixture(scope="module")
def attempts(control_plane: ControlPlane) -> list[Attempt]:
    """The table, with objects that it refers to."""
    control_plane.kubectl("create", "deployment", "web", "--image=any")
    for namespace, name in (("kube-system", "dns"), ("default", "bare")):
        control_plane.kubectl("-n", namespace, "run", name, "--image=any")
    for name in (f"{LEDGER_PREFIX}1", "spotalis-ca-bundle"):
        control_plane.request("POST", CONFIG_MAPS, {"metadata": {"name": name}})
    control_plane.request("POST", EVENTS, an_event("own", OWN))
    control_plane.request("POST", EVENTS, an_event("other", "kubelet"))

    def ready(namespace: str, selector: str) -> list[Json]:
        return eventually(
            lambda: control_plane.ready_pods(namespace, selector), within=60, what=selector
        )

    pods = {
        "default": ready("default", "app=web")[0]["metadata"],
        "bare": ready("default", "run=bare")[0]["metadata"],
        "kube-system": ready("kube-system", "run=dns")[0]["metadata"],
        OPERATOR_NAMESPACE: ready(OPERATOR_NAMESPACE, "")[0]["metadata"],
    }
    return [
        *webhook_attempts(),
        *eviction_attempts(pods),
        *deletion_attempts(pods),
        *own_namespace_attempts(),
        *event_attempts(),
        *condition_attempts(),
    ]


def manifests() -> list[Json]:
    """The installation, and the permission that is granted for `pdb-override` only."""
    files = (K8S / "install.yaml", K8S / "optional" / "pdb-override.yaml")
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def is_policy(manifest: Json) -> bool:
    return str(manifest["kind"]).startswith("ValidatingAdmissionPolicy")


def test_the_policies_deny_what_the_operator_never_does_and_allow_its_own_requests(
    control_plane: ControlPlane, attempts: list[Attempt]
) -> None:
    allowed = dict.fromkeys([each.name for each in attempts], "")
    assert {each.name: each.outcome(control_plane) for each in attempts} == allowed
    control_plane.apply([each for each in manifests() if is_policy(each)])
    expected = {each.name: each.denied_by for each in attempts}
    policies = set(expected.values()) - {""}
    eventually(
        lambda: policies <= {each.outcome(control_plane) for each in attempts if each.denied_by},
        within=30,
        what="the API server uses all policies",
    )
    assert {each.name: each.outcome(control_plane) for each in attempts} == expected
    assert policies == {
        each["metadata"]["name"] for each in manifests() if each["kind"] == POLICY_KIND
    }


POLICY_KIND = "ValidatingAdmissionPolicy"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


def test_the_api_server_finds_no_error_in_the_types_of_the_expressions(
    control_plane: ControlPlane,
) -> None:
    control_plane.apply([each for each in manifests() if is_policy(each)])

    def statuses() -> list[Json]:
        found = control_plane.request("GET", POLICIES)["items"]
        own = [each for each in found if each["metadata"]["name"].startswith("spotalis-")]
        done = [each["status"] for each in own if "typeChecking" in each.get("status", {})]
        return done if len(done) == len(own) else []

    checked = eventually(statuses, within=60, what="types of expressions are checked")
    assert len(checked) == 6
    assert [status["typeChecking"] for status in checked] == [{}] * 6


@pytest.mark.parametrize(
    ("group", "schema", "policy", "free"),
    [
        pytest.param(
            "admissionregistration.k8s.io/v1",
            "io.k8s.api.admissionregistration.v1.MutatingWebhook",
            "admission-policy",
            {"clientConfig"},
            id="webhook",
        ),
        pytest.param(
            "admissionregistration.k8s.io/v1",
            "io.k8s.api.admissionregistration.v1.WebhookClientConfig",
            "admission-policy",
            {"caBundle"},
            id="client of the webhook",
        ),
        pytest.param(
            "apps/v1",
            "io.k8s.api.apps.v1.DeploymentStatus",
            "optional/conditions",
            {"conditions"},
            id="status",
        ),
    ],
)
def test_the_policies_compare_every_field_that_the_api_has(
    control_plane: ControlPlane, group: str, schema: str, policy: str, free: set[str]
) -> None:
    """A field that a later Kubernetes version adds must be added to the policy."""
    document = control_plane.request("GET", f"/openapi/v3/apis/{group}")
    fields = document["components"]["schemas"][schema]["properties"].keys() - free
    text = (K8S / f"{policy}.yaml").read_text()
    assert {field for field in fields if f".?{field} ==" not in text} - {"name"} == set()
