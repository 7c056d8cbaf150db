"""The manifests on a real API server, with an operator that has exactly the permissions they grant.

The operator runs as a process next to the control plane, not in its pods. Therefore the tests write
its address into the webhook configuration in place of the Service.
"""

from __future__ import annotations

import json
import os  # a process needs PATH
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from tests.delivery.installed_operator import (
    CONFIGURATION,
    DEADLINE,
    OPERATOR_NAMESPACE,
    installed_operator,
)
from tests.delivery.permissions import documented_as_used, granted
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    CAPACITY_TYPE_LABEL,
    WITHOUT_PERMISSIONS,
    AuditEvent,
    ControlPlane,
    Json,
    binaries_or_skip,
    eventually,
)
from tests.support.volumes import a_claim, a_volume

pytestmark = pytest.mark.real

K8S = Path(__file__).parents[2] / "build" / "k8s"
INSTALL = K8S / "install.yaml"
CLUSTER_SCOPED = {
    "nodes",
    "namespaces",
    "persistentvolumes",
    "nodepools",
    "mutatingwebhookconfigurations",
}


@contextmanager
def _without_permissions(folder: Path) -> Iterator[ControlPlane]:
    with ControlPlane.boot(
        folder / "control_plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=3)
        yield control_plane


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster in which the operator has no permissions yet."""
    with _without_permissions(tmp_path_factory.mktemp("install")) as control_plane:
        yield control_plane


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The cluster after `kubectl apply` of install.yaml."""
    control_plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(INSTALL))
    control_plane.kubectl("apply", "-f", str(INSTALL))
    return control_plane


def test_kubectl_diff_after_the_installation_is_empty(installed: ControlPlane) -> None:
    """The webhook configuration states all defaults, so that tools report no difference."""
    assert installed.kubectl("diff", "-f", str(INSTALL)) == ""
    stored = installed.request("GET", CONFIGURATION)
    [webhook] = yaml.safe_load((K8S / "webhook.yaml").read_text())["webhooks"]
    assert stored["webhooks"] == [webhook]


def test_pods_pass_the_restricted_profile_and_run_on_different_on_demand_nodes(
    installed: ControlPlane,
) -> None:
    selector = "app.kubernetes.io/name=spotalis"
    pods = eventually(
        lambda: (
            found if len(found := installed.ready_pods(OPERATOR_NAMESPACE, selector)) == 2 else []
        ),
        within=DEADLINE,
        what="both instances are ready",
    )
    nodes = [pod["spec"]["nodeName"] for pod in pods]
    assert len(set(nodes)) == 2
    assert {name.rpartition("-")[0] for name in nodes} == {"on-demand"}
    unrestricted = _pod_without_security_context()
    with pytest.raises(Exception, match="violates PodSecurity"):
        installed.request("POST", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods", unrestricted)


def test_kustomize_accepts_the_folder_as_a_base(installed: ControlPlane, tmp_path: Path) -> None:
    overlay = {
        "resources": [os.path.relpath(K8S, tmp_path)],
        "images": [{"name": "spotalis", "newName": "registry.example/spotalis", "newTag": "9"}],
        "replicas": [{"name": "spotalis", "count": 3}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    objects = list(yaml.safe_load_all(installed.kubectl("kustomize", str(tmp_path))))
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/spotalis:9"
    assert deployment["spec"]["replicas"] == 3
    assert len(objects) == len(list(yaml.safe_load_all(INSTALL.read_text())))


@pytest.mark.parametrize("file", sorted((K8S / "optional").iterdir()), ids=lambda file: file.stem)
def test_the_api_server_accepts_the_optional_manifest(installed: ControlPlane, file: Path) -> None:
    installed.kubectl("apply", "--dry-run=server", "-f", str(file))


def test_the_service_account_uses_exactly_the_documented_permissions(
    installed: ControlPlane, tmp_path: Path
) -> None:
    with installed_operator(installed, tmp_path):
        _exercise(installed)
    _apply_again(installed)
    requests = [e for e in installed.audit(user="spotalis", stage=None) if e.resource]
    assert requests
    assert _denied(requests) == {}
    used = {
        ("own namespace" if e.namespace == OPERATOR_NAMESPACE else "cluster",
         e.api_group or "core", e.kind, e.verb)
        for e in requests
    }  # fmt: skip
    assert used <= granted()
    assert documented_as_used() - used == set()


def test_with_cert_manager_the_operator_requests_no_secrets_and_webhook_configurations(
    installed: ControlPlane, tmp_path: Path
) -> None:
    """The test does cert-manager's work; test_cert_manager.py runs the real one."""
    objects = list(yaml.safe_load_all((K8S / "install-cert-manager.yaml").read_text()))
    installed.apply(
        [each for each in objects if not each["apiVersion"].startswith("cert-manager.io/")]
    )
    [leaf] = [each["spec"] for each in objects if each["kind"] == "Certificate"
              and each["metadata"]["name"] == "spotalis-webhook"]  # fmt: skip
    authority = trustme.CA()
    pair = authority.issue_cert(*leaf["dnsNames"], "127.0.0.1")
    (tmp_path / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    installed.add_nodes(spot=1)
    before = len(installed.audit(user="spotalis", stage=None))

    with installed_operator(installed, tmp_path, bundle=authority.cert_pem.bytes()):
        _create(installed, workload_body("Deployment", "shop", 4, policy(50)))
        _wait_for_split(installed, "shop", on_demand=2, spot=2)

    requests = installed.audit(user="spotalis", stage=None)[before:]
    assert _denied(requests) == {}
    assert not {"secrets", "mutatingwebhookconfigurations"} & {e.resource for e in requests}


def test_the_namespaced_installation_manages_its_namespace_and_requests_nothing_elsewhere(
    tmp_path: Path,
) -> None:
    with _without_permissions(tmp_path) as control_plane:
        control_plane.kubectl("create", "namespace", "shop")
        control_plane.kubectl("apply", "-f", str(K8S / "install-namespaced.yaml"))
        assert control_plane.kubectl("diff", "-f", str(K8S / "install-namespaced.yaml")) == ""
        another = ("apply", "--dry-run=server", "-f", str(K8S / "managed-namespace.yaml"))
        assert control_plane.kubectl("-n", "default", *another).count("created") == 10
        elsewhere = workload_body("Deployment", "elsewhere", 5, policy(100))
        _create(control_plane, elsewhere, "default")
        _wait_for_split(
            control_plane, "elsewhere", "default", on_demand=3, spot=2
        )  # the scheduler's default
        before = {pod["metadata"]["uid"] for pod in control_plane.ready_pods("default")}
        with installed_operator(control_plane, tmp_path):
            _exercise(
                control_plane,
                "shop",
                before_spot_is_lost=lambda: _assert_same_pods(control_plane, "default", before),
            )
            _create(control_plane, workload_body("Deployment", "later", 5, policy(100)), "default")
            _wait_for_split(control_plane, "later", "default", on_demand=5, spot=0)
        requests = [e for e in control_plane.audit(user="spotalis", stage=None) if e.resource]
        unmanaged = [pod["metadata"] for pod in control_plane.ready_pods("default")]

    assert _denied(requests) == {}
    assert {event.namespace for event in requests if event.resource not in CLUSTER_SCOPED} == {
        "shop",
        OPERATOR_NAMESPACE,
    }
    assert [m for m in unmanaged if "spotalis.io/" in json.dumps(m)] == []
    used = {(e.api_group or "core", e.kind, e.verb) for e in requests}
    assert {permission[1:] for permission in documented_as_used()} - used == set()


def _assert_same_pods(control_plane: ControlPlane, namespace: str, uids: set[str]) -> None:
    assert {pod["metadata"]["uid"] for pod in control_plane.ready_pods(namespace)} == uids


def _denied(requests: Sequence[AuditEvent]) -> Counter[tuple[str, str, int]]:
    return Counter((e.verb, e.kind, e.code) for e in requests if e.code in (401, 403))


def _apply_again(control_plane: ControlPlane) -> None:
    """Apply the manifests again and assert that caBundle and the certificate are unchanged."""
    webhook = control_plane.request("GET", CONFIGURATION)["webhooks"][0]
    [manifest] = yaml.safe_load((K8S / "webhook.yaml").read_text())["webhooks"]
    bundle = webhook["clientConfig"]["caBundle"]
    restore = [{"op": "replace", "path": "/webhooks/0/clientConfig",
             "value": manifest["clientConfig"] | {"caBundle": bundle}}]  # fmt: skip
    control_plane.request(
        "PATCH", CONFIGURATION, restore, content_type="application/json-patch+json"
    )
    secret = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/spotalis-webhook-tls"
    certificate = control_plane.request("GET", secret)["data"]
    assert {"tls.crt", "tls.key"} <= certificate.keys()
    control_plane.kubectl("apply", "-f", str(INSTALL))
    assert (
        control_plane.request("GET", CONFIGURATION)["webhooks"][0]["clientConfig"]["caBundle"]
        == bundle
    )
    assert control_plane.request("GET", secret)["data"] == certificate


def _exercise(
    control_plane: ControlPlane,
    namespace: str = "default",
    *,
    before_spot_is_lost: Callable[[], None] = lambda: None,
) -> None:
    """Create workloads, change their policy, and lose all spot nodes: what an ordinary run does."""
    managed = policy(50, 1, spot_fallback="2s", max_moves_in_flight="4")
    _create(control_plane, workload_body("Deployment", "web", 6, managed), namespace)
    _create_with_a_volume(control_plane, "db", namespace)
    _wait_for_split(control_plane, "web", namespace, on_demand=3, spot=3)
    _wait_for_split(control_plane, "db", namespace, on_demand=1, spot=1)
    assert control_plane.evictions("spotalis") == []

    _annotate(control_plane, "web", namespace, {"spot-percentage": "0"})
    _wait_for_split(control_plane, "web", namespace, on_demand=6, spot=0)
    assert len(control_plane.evictions("spotalis")) == 3
    eventually(
        lambda: _balanced_status(control_plane, "web", namespace) == "True",
        within=DEADLINE,
        what="Balanced",
    )

    _annotate(control_plane, "web", namespace, {"spot-percentage": "50"})
    _wait_for_split(control_plane, "web", namespace, on_demand=3, spot=3)
    before_spot_is_lost()
    control_plane.remove_nodes("spot-1", "spot-2")
    _wait_for_split(control_plane, "web", namespace, on_demand=6, spot=0)
    _annotate(control_plane, "web", namespace, {"spot-percentage": "0"})
    eventually(
        lambda: _balanced_status(control_plane, "web", namespace) == "True",
        within=DEADLINE,
        what="Balanced without spot",
    )
    eventually(
        lambda: control_plane.audit(user="spotalis", verb="delete", kind="configmaps"),
        within=DEADLINE,
        what="the empty ledger is deleted",
    )


def _create(control_plane: ControlPlane, body: Json, namespace: str = "default") -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/{body['kind'].lower()}s"
    control_plane.request("POST", path, body)


def _create_with_a_volume(control_plane: ControlPlane, name: str, namespace: str) -> None:
    """Create a StatefulSet of two pods that share a volume available on all nodes."""
    volume = f"{name}-of-{namespace}"
    control_plane.request("POST", "/api/v1/persistentvolumes", a_volume(volume, ""))
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    control_plane.request("POST", path, a_claim(name, volume))
    body = workload_body("StatefulSet", name, 2, policy(50))
    source = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    body["spec"]["template"]["spec"]["volumes"] = [source]
    _create(control_plane, body, namespace)


def _annotate(
    control_plane: ControlPlane, name: str, namespace: str, values: dict[str, str]
) -> None:
    annotations = {f"spotalis.io/{key}": value for key, value in values.items()}
    control_plane.request(
        "PATCH",
        f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
        {"metadata": {"annotations": annotations}},
        content_type="application/merge-patch+json",
    )


def _wait_for_split(
    control_plane: ControlPlane, name: str, namespace: str = "default", *, on_demand: int, spot: int
) -> None:
    expected = Counter({"on-demand": on_demand, "spot": spot})

    def is_split() -> bool:
        nodes = control_plane.request("GET", "/api/v1/nodes")["items"]
        types = {n["metadata"]["name"]: n["metadata"]["labels"][CAPACITY_TYPE_LABEL] for n in nodes}
        pods = control_plane.ready_pods(namespace, f"app={name}")
        found = Counter(types.get(pod["spec"]["nodeName"], "gone") for pod in pods)
        return found == expected

    eventually(is_split, within=DEADLINE, what=f"{name} is {on_demand} + {spot}")


def _balanced_status(control_plane: ControlPlane, name: str, namespace: str) -> str:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    status = control_plane.request("GET", path)["status"]
    found = [c for c in status.get("conditions", ()) if c["type"] == "spotalis.io/Balanced"]
    return str(found[0]["status"]) if found else ""


def _pod_without_security_context() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unrestricted"},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
    }
