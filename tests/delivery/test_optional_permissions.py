"""An installation without the optional permissions, on a real API server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.manifests import K8S, OPTIONAL
from tests.delivery.installed_operator import DEADLINE, installed_operator
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    CAPACITY_TYPE_LABEL,
    WITHOUT_PERMISSIONS,
    ControlPlane,
    binaries_or_skip,
    eventually,
)

pytestmark = pytest.mark.real

DELETION = """$patch: delete
apiVersion: any
kind: any
metadata: {name: any}
"""
"""As in docs/install/optional-permissions.md."""


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane.boot(
        tmp_path / "control_plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=2)
        yield control_plane


def test_without_the_optional_permissions_pods_are_placed_and_moved(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    patches = [
        {"target": {"labelSelector": f"spotalis.io/optional={name}"}, "patch": DELETION}
        for name in OPTIONAL
    ]
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        yaml.dump({"resources": [os.path.relpath(K8S, overlay)], "patches": patches})
    )
    rendered = list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(overlay))))
    complete = list(yaml.safe_load_all((K8S / "install.yaml").read_text()))
    left_out = [each for each in complete if "spotalis.io/optional" in each["metadata"]["labels"]]
    assert len(left_out) == 14  # roles and bindings of five files, policies and bindings of two
    assert len(rendered) == len(complete) - len(left_out)
    control_plane.apply(rendered)

    deployments = "/apis/apps/v1/namespaces/default/deployments"
    with installed_operator(control_plane, tmp_path):
        control_plane.request("POST", deployments, workload_body("Deployment", "web", 4, policy(0)))
        wait_for_split(control_plane, 4, 0)
        control_plane.request(
            "PATCH",
            f"{deployments}/web",
            {"metadata": {"annotations": {"spotalis.io/spot-percentage": "50"}}},
            content_type="application/merge-patch+json",
        )
        wait_for_split(control_plane, 2, 2)
    assert len(control_plane.evictions("spotalis")) == 2
    denied = {
        (event.verb, event.kind)
        for event in control_plane.audit(user="spotalis")
        if event.code in (401, 403)
    }
    assert denied == {("create", "events"), ("patch", "deployments/status")}


def wait_for_split(control_plane: ControlPlane, on_demand: int, spot: int) -> None:
    def is_split() -> bool:
        nodes = control_plane.request("GET", "/api/v1/nodes")["items"]
        types = {n["metadata"]["name"]: n["metadata"]["labels"][CAPACITY_TYPE_LABEL] for n in nodes}
        pods = control_plane.ready_pods("default", "app=web")
        found = [types[pod["spec"]["nodeName"]] for pod in pods]
        return (found.count("on-demand"), found.count("spot")) == (on_demand, spot)

    eventually(is_split, within=DEADLINE, what=f"{on_demand} + {spot}")
