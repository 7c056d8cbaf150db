"""The commands of the pages about the installation, as the pages say, on a real API server.

The operator runs as a process with the permissions and settings that the commands have installed,
because the pods of the test bed run no containers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.markdown_pages import ROOT, read_page
from testbed.programs import HELM
from tests.delivery.installed_operator import OPERATOR_NAMESPACE, installed_operator, wait_for_split
from tests.delivery.kubectl import Kubectl
from tests.delivery.pages import DOCS, Page
from tests.delivery.test_helm import (
    cluster_wide_objects,
    restore_service,
    settings,
    wait_for_condition,
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

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PLATFORMS = ("aks", "eks-karpenter", "eks-node-groups", "gke", "openshift")


class Reader:
    """Somebody with a checkout and a cluster."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        helm = Path(binaries_or_skip(HELM)["helm"])
        self.kubectl = Kubectl(plane, helm)
        for name in ("charts", "build"):
            shutil.copytree(ROOT / name, folder / name)

    def opens(self, page: str) -> Page:
        return Page(page, self.kubectl, self.folder)

    def deploys(self, name: str) -> None:
        body = workload_body("Deployment", name, 4, policy(50))
        self.plane.request("POST", DEPLOYMENTS, body)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without Spotalis, whose operator has no permissions yet."""
    folder = tmp_path_factory.mktemp("pages")
    with ControlPlane.boot(
        folder / "control_plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as plane:
        plane.add_nodes(spot=2, on_demand=3)
        yield plane


@pytest.fixture
def reader(plane: ControlPlane, tmp_path: Path) -> Reader:
    """A reader with an empty cluster."""
    plane.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found")
    plane.kubectl("delete", "deployments", "--all")
    return Reader(plane, tmp_path)


@pytest.fixture
def running(reader: Reader) -> Callable[[], Any]:
    """Runs the installed operator during a block."""

    def run() -> Any:
        folder = reader.folder / f"operator-{len(list(reader.folder.iterdir()))}"
        folder.mkdir()
        return installed_operator(reader.plane, folder)

    return run


def test_the_commands_for_helm_install_upgrade_and_uninstall(
    reader: Reader, running: Callable[[], Any]
) -> None:
    plane, before = reader.plane, cluster_wide_objects(reader.plane)
    install, leave = (
        reader.opens("install/helm.md"),
        reader.opens("install/upgrade-and-uninstall.md"),
    )
    install.follow()
    with running():
        assert "spotalis-" in install.follow()
        assert settings(plane)["readOnly"] is True
    restore_service(plane)
    install.follow()
    install.assert_finished()
    assert settings(plane)["readOnly"] is False
    leave.follow(2)  # upgrade and rollback
    assert settings(plane)["readOnly"] is False
    with running():
        reader.deploys("web")
        wait_for_split(plane, "web", on_demand=2, spot=2)
        wait_for_condition(plane, "True")
    restore_service(plane)
    pods = pods_of(plane, "web")
    leave.follow()
    with running():
        leave.follow()
    leave.follow()
    leave.assert_finished(before="## With Kustomize")
    assert cluster_wide_objects(plane) == before - {f"namespace/{OPERATOR_NAMESPACE}"}
    assert pods_of(plane, "web") == pods


def test_a_condition_that_has_remained_is_removed_by_the_command_for_it(
    reader: Reader, running: Callable[[], Any]
) -> None:
    plane, install = reader.plane, reader.opens("install/helm.md")
    leave = reader.opens("install/upgrade-and-uninstall.md")
    install.follow()
    with running():
        install.follow()
    restore_service(plane)
    install.follow()  # allows moves
    with running():
        reader.deploys("web")
        wait_for_condition(plane, "True")
    plane.request("POST", DEPLOYMENTS, workload_body("Deployment", "other", 1))
    leave.run("helm uninstall spotalis --namespace spotalis-system")
    wait_for_condition(plane, "True")  # nothing removes it by itself
    others = condition_types(plane, "web") - {"spotalis.io/Balanced"}
    leave.skip_to("## Remove a condition that has remained")
    assert leave.follow().splitlines() == ["deployment.apps/web patched"]
    leave.assert_finished()
    assert condition_types(plane, "web") == others != set()


def test_the_commands_for_kustomize_install_upgrade_and_uninstall(
    reader: Reader, running: Callable[[], Any]
) -> None:
    plane, before = reader.plane, cluster_wide_objects(reader.plane)
    install, leave = (
        reader.opens("install/install.md"),
        reader.opens("install/upgrade-and-uninstall.md"),
    )
    install.follow()
    assert install.follow() == ""  # no difference
    with running():
        reader.deploys("web")
        wait_for_split(plane, "web", on_demand=2, spot=2)
        assert "spotalis-" in install.follow()
        wait_for_condition(plane, "True")
    restore_service(plane)
    install.follow()
    install.assert_finished()
    assert settings(plane) == {"readOnly": True}
    pods = pods_of(plane, "web")
    leave.skip_to("## With Kustomize")
    leave.follow(2)
    with running():
        leave.follow()
    leave.follow(2)
    leave.assert_finished(before="## Remove a condition that has remained")
    assert cluster_wide_objects(plane) == before - {f"namespace/{OPERATOR_NAMESPACE}"}
    assert pods_of(plane, "web") == pods


def test_the_commands_for_namespaced_permissions(reader: Reader) -> None:
    plane, page = reader.plane, reader.opens("install/namespaced.md")
    for name in ("orders", "billing"):
        plane.kubectl("create", "namespace", name)
    page.follow(3)
    page.assert_finished()
    for name in ("orders", "billing"):
        roles = plane.kubectl("get", "roles", "--namespace", name, "-o", "name").split()
        assert roles, name
    plane.kubectl(
        "delete",
        "--ignore-not-found",
        "-f",
        str(reader.folder / "build/k8s/install-namespaced.yaml"),
    )


def test_the_commands_for_optional_permissions(reader: Reader) -> None:
    plane, page = reader.plane, reader.opens("install/optional-permissions.md")
    plane.kubectl("apply", "-k", str(reader.folder / "build/k8s"))
    page.follow()
    assert of_conditions(plane), "apply deletes nothing"
    page.follow()
    page.assert_finished()
    assert of_conditions(plane) == []
    page.run("kubectl apply -k .")
    assert of_conditions(plane) == []
    plane.kubectl("delete", "-k", str(reader.folder / "build/k8s"), "--ignore-not-found")


def test_the_commands_about_budgets_name_those_that_block_moves(reader: Reader) -> None:
    plane = reader.plane
    plane.request("POST", DEPLOYMENTS, workload_body("Deployment", "api", 10))
    eventually(lambda: len(plane.ready_pods("default", "app=api")) == 10, within=60, what="10 pods")
    plane.kubectl("create", "pdb", "api", "--selector=app=api", "--min-available=100%")
    page = reader.opens("operate/disruption-budgets.md")
    assert "pdb/api" in page.follow()
    page.assert_finished()


def test_the_commands_for_pauses_stop_and_resume_moves(
    reader: Reader, running: Callable[[], Any]
) -> None:
    plane, page = reader.plane, reader.opens("operate/pause.md")
    plane.kubectl("apply", "-k", str(reader.folder / "build/k8s"))
    with running():
        reader.deploys("api")
        wait_for_split(plane, "api", on_demand=2, spot=2)
        for _ in ("one workload", "everything", "everything, without the plugin"):
            page.follow()
            wait_for_reason(plane, "api", "Paused")
            page.follow()
            wait_for_reason(plane, "api", "Balanced")
    page.assert_finished()
    plane.kubectl("delete", "-k", str(reader.folder / "build/k8s"), "--ignore-not-found")


def test_the_commands_for_troubleshooting_show_the_reason(
    reader: Reader, running: Callable[[], Any]
) -> None:
    plane, page = reader.plane, reader.opens("operate/troubleshoot.md")
    plane.kubectl("apply", "-k", str(reader.folder / "build/k8s"))
    with running():
        reader.deploys("api")
        wait_for_reason(plane, "api", "Balanced")
        assert "Balanced" in page.follow()
    page.assert_finished()
    plane.kubectl("delete", "-k", str(reader.folder / "build/k8s"), "--ignore-not-found")


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_commands_of_a_platform_run_and_the_chart_accepts_its_values(
    reader: Reader, name: str
) -> None:
    page = reader.opens(f"install/{name}.md")
    page.follow()
    page.assert_finished()
    values = reader.folder / "values.yaml"
    if not values.exists():
        values.write_text("image: {repository: registry.example/spotalis}")
    assert "kind: Deployment" in page.run(
        "helm template spotalis charts/spotalis --kube-version 1.36 -f values.yaml"
    )


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("argo-cd", "Application", ("spec", "source", "helm", "valuesObject")),
        ("flux", "HelmRelease", ("spec", "values")),
    ],
)
def test_the_chart_accepts_the_values_for_argo_cd_and_flux(
    reader: Reader, name: str, kind: str, path: tuple[str, ...]
) -> None:
    """Their controllers do not run here: they render the chart and apply what it renders."""
    manifests = {
        each["kind"]: each
        for block in read_page(DOCS / "install" / f"{name}.md").blocks
        if block.language == "yaml"
        for each in yaml.safe_load_all(block.content)
    }
    manifest = manifests[kind]
    values: Json = manifest
    for key in path:
        values = values[key]
    (reader.folder / "values.yaml").write_text(yaml.safe_dump(values))
    page = reader.opens(f"install/{name}.md")
    page.assert_finished()  # no commands
    reader.plane.request("POST", "/api/v1/namespaces", namespace_of(manifests))
    render = (
        f"helm template spotalis charts/spotalis --namespace {OPERATOR_NAMESPACE} "
        "--kube-version 1.36 --values values.yaml > rendered.yaml"
    )
    page.run(render)
    page.run("kubectl apply --server-side --filename rendered.yaml")
    page.run(f"kubectl -n {OPERATOR_NAMESPACE} rollout status deployment/spotalis")
    page.run("kubectl delete --filename rendered.yaml")


def namespace_of(manifests: dict[str, Json]) -> Json:
    """The namespace of the operator, as the page lets Argo CD or Flux create it."""
    if "HelmRelease" in manifests:
        namespace = manifests["Namespace"]
        for kind in ("GitRepository", "HelmRelease"):
            assert manifests[kind]["metadata"]["namespace"] == namespace["metadata"]["name"]
        return namespace
    spec = manifests["Application"]["spec"]
    assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
    metadata = spec["syncPolicy"]["managedNamespaceMetadata"]
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": spec["destination"]["namespace"], **metadata},
    }


def condition_types(plane: ControlPlane, name: str) -> set[str]:
    status = plane.request("GET", f"{DEPLOYMENTS}/{name}")["status"]
    return {condition["type"] for condition in status.get("conditions", ())}


def wait_for_reason(plane: ControlPlane, name: str, reason: str) -> None:
    """Wait until the condition of a Deployment has this reason."""

    def is_reached() -> bool:
        status = plane.request("GET", f"{DEPLOYMENTS}/{name}")["status"]
        found = {each["type"]: each["reason"] for each in status.get("conditions", ())}
        return found.get("spotalis.io/Balanced") == reason

    eventually(is_reached, within=60, what=f"the reason of {name} is {reason}")


def of_conditions(plane: ControlPlane) -> list[str]:
    """The objects of the permission to write conditions."""
    return plane.kubectl(
        "get", "clusterroles,clusterrolebindings,validatingadmissionpolicies",
        "--selector=spotalis.io/optional=conditions", "--output=name",
    ).split()  # fmt: skip


def pods_of(plane: ControlPlane, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in plane.ready_pods("default", f"app={name}")}
