"""The chart, installed by the real Helm on a real API server, and removed without a trace.

The operator runs as a process with exactly the permissions of the chart, as in test_install.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.manifests import K8S
from tests.delivery.helm import Helm
from tests.delivery.installed_operator import (
    CONFIGURATION,
    DEADLINE,
    OPERATOR_NAMESPACE,
    installed_operator,
    wait_for_split,
)
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    WITHOUT_PERMISSIONS,
    ControlPlane,
    Json,
    binaries_or_skip,
    eventually,
)

pytestmark = pytest.mark.real

SECRET = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets/spotalis-webhook-tls"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
IMAGE = ("--set", "image.repository=registry.example/spotalis")
NO_CONDITIONS = "settings.status.conditions=false"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without Spotalis, whose operator has no permissions yet."""
    folder = tmp_path_factory.mktemp("helm")
    with ControlPlane.boot(
        folder / "control_plane",
        WITHOUT_PERMISSIONS,
        binaries=binaries_or_skip(),
    ) as plane:
        plane.add_nodes(spot=2, on_demand=3)
        yield plane


def test_helm_installs_upgrades_rolls_back_and_leaves_no_trace(
    plane: ControlPlane, tmp_path: Path
) -> None:
    helm = Helm(plane, tmp_path)
    before = cluster_wide_objects(plane)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    plane.kubectl("label", "namespace", OPERATOR_NAMESPACE, restricted)

    notes = helm.install(*IMAGE)
    assert "rollout status deployment/spotalis" in notes
    assert "WARNING" not in notes
    with installed_operator(plane, tmp_path):
        plane.request("POST", DEPLOYMENTS, workload_body("Deployment", "web", 4, policy(50)))
        wait_for_split(plane, "web", on_demand=2, spot=2)
        wait_for_condition(plane, "True")
    restore_service(plane)
    assert_tools_find_no_difference(plane, helm, tmp_path)

    first = operator_pods(plane)
    helm.upgrade("--reuse-values", "--set", "settings.maxMovesInFlight=5")
    second = operator_pods(plane)
    assert len(second) == 2
    assert not first & second, "a changed setting restarts the pods"
    helm("rollback", "spotalis", "--wait")
    assert not second & operator_pods(plane)
    assert settings(plane)["maxMovesInFlight"] == 20
    assert_certificate_is_kept(plane)

    helm.upgrade("--reuse-values", "--set", NO_CONDITIONS)
    pods = pods_of_web(plane)
    (tmp_path / "again").mkdir()
    with installed_operator(plane, tmp_path / "again"):
        wait_for_condition(plane, "")
    helm("uninstall", "spotalis", "--wait")
    plane.kubectl("delete", "namespace", OPERATOR_NAMESPACE)
    assert cluster_wide_objects(plane) == before - {f"namespace/{OPERATOR_NAMESPACE}"}
    assert pods_of_web(plane) == pods
    assert denied(plane) == {}


def test_kubectl_delete_leaves_no_trace(plane: ControlPlane, tmp_path: Path) -> None:
    plane.kubectl("delete", "deployment", "web", "--ignore-not-found")
    plane.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found")
    before = cluster_wide_objects(plane)
    plane.kubectl("apply", "-k", str(K8S))
    set_settings(plane, {"status": {"conditions": True}})
    with installed_operator(plane, tmp_path):
        plane.request("POST", DEPLOYMENTS, workload_body("Deployment", "web", 4, policy(50)))
        wait_for_split(plane, "web", on_demand=2, spot=2)
        wait_for_condition(plane, "True")
    pods = pods_of_web(plane)
    set_settings(plane, {"status": {"conditions": False}})
    (tmp_path / "again").mkdir()
    with installed_operator(plane, tmp_path / "again"):
        wait_for_condition(plane, "")
    plane.kubectl("delete", "-k", str(K8S))
    assert cluster_wide_objects(plane) == before
    assert pods_of_web(plane) == pods


def assert_tools_find_no_difference(plane: ControlPlane, helm: Helm, folder: Path) -> None:
    """What Argo CD and Flux compare, after the operator has written caBundle and certificate."""
    objects = helm("get", "manifest", "spotalis")
    file = folder / "manifest.yaml"
    file.write_text(objects)
    assert plane.kubectl("diff", "-f", str(file)) == ""
    server_side = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
    assert plane.kubectl("diff", *server_side, "-f", str(file)) == ""
    before = versions(plane, file)
    assert len(before) == len(list(yaml.safe_load_all(objects)))
    helm.upgrade(*IMAGE)
    assert versions(plane, file) == before


def versions(plane: ControlPlane, file: Path) -> dict[str, str]:
    """The generations of the objects of a file; without one, their content."""
    found = json.loads(plane.kubectl("get", "-f", str(file), "-o", "json"))["items"]
    return {
        f"{each['kind']} {each['metadata']['name']}": str(
            each["metadata"].get("generation") or each["metadata"]["resourceVersion"]
        )
        for each in found
    }


def cluster_wide_objects(plane: ControlPlane) -> set[str]:
    """Every object without a namespace, as ``kind/name``, without those that come by themselves."""
    kinds = plane.kubectl("api-resources", "--namespaced=false", "--verbs=list", "-o", "name")
    listed = ",".join(kind for kind in kinds.split() if not kind.startswith("componentstatus"))
    return {
        name for name in plane.kubectl("get", listed, "-o", "name").split() if "spotalis" in name
    }


def restore_service(plane: ControlPlane) -> None:
    """Write the Service into the webhook configuration again, in place of the process."""
    webhook = plane.request("GET", CONFIGURATION)["webhooks"][0]
    [manifest] = yaml.safe_load((K8S / "webhook.yaml").read_text())["webhooks"]
    client = manifest["clientConfig"] | {"caBundle": webhook["clientConfig"]["caBundle"]}
    patch = [{"op": "replace", "path": "/webhooks/0/clientConfig", "value": client}]
    plane.request("PATCH", CONFIGURATION, patch, content_type="application/json-patch+json")


def assert_certificate_is_kept(plane: ControlPlane) -> None:
    webhook = plane.request("GET", CONFIGURATION)["webhooks"][0]
    assert webhook["clientConfig"]["caBundle"]
    assert {"tls.crt", "tls.key"} <= plane.request("GET", SECRET)["data"].keys()


def operator_pods(plane: ControlPlane) -> set[str]:
    pods = plane.ready_pods(OPERATOR_NAMESPACE, "app.kubernetes.io/name=spotalis")
    return {pod["metadata"]["uid"] for pod in pods}


def pods_of_web(plane: ControlPlane) -> set[str]:
    return {pod["metadata"]["uid"] for pod in plane.ready_pods("default", "app=web")}


def settings(plane: ControlPlane) -> Json:
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps/spotalis-settings"
    found: Json = yaml.safe_load(plane.request("GET", path)["data"]["spotalis.yaml"])
    return found


def set_settings(plane: ControlPlane, changed: Json) -> None:
    text = yaml.safe_dump(settings(plane) | changed)
    plane.request(
        "PATCH",
        f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps/spotalis-settings",
        {"data": {"spotalis.yaml": text}},
        content_type="application/merge-patch+json",
    )


def wait_for_condition(plane: ControlPlane, status: str) -> None:
    """Wait until the condition of ``web`` has this status; empty: until it is removed."""

    def is_reached() -> bool:
        conditions = plane.request("GET", f"{DEPLOYMENTS}/web")["status"].get("conditions", ())
        found = [c["status"] for c in conditions if c["type"] == "spotalis.io/Balanced"]
        return found == ([status] if status else [])

    eventually(is_reached, within=DEADLINE, what=f"the condition is {status or 'removed'}")


def denied(plane: ControlPlane) -> Counter[tuple[str, str, int]]:
    requests = plane.audit(user="spotalis", stage=None)
    return Counter((e.verb, e.kind, e.code) for e in requests if e.code in (401, 403))
