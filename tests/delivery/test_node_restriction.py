"""The settings of the threat model that classify nodes by labels that no kubelet can set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spotalis.kube import decode
from spotalis.model.classification import NodeClassification
from spotalis.model.nodes import NodeType
from spotalis.settings.sources import Sources
from tests.support.control_plane import (
    CAPACITY_TYPE_LABEL,
    ApiError,
    ControlPlane,
    ControlPlaneConfig,
    binaries_or_skip,
)

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "threat-model.md"
RESTRICTED = "node-restriction.kubernetes.io/capacity-type"
MERGE_PATCH = "application/merge-patch+json"


def classification(file: Path, text: str) -> NodeClassification:
    file.write_text(text)
    return Sources(file=file, environment={}, flags={}).load().settings.controller.classification


@pytest.fixture
def documented(tmp_path: Path) -> NodeClassification:
    """With the settings that the page shows."""
    [text] = re.findall(r"```yaml\n(nodeGroups:.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return classification(tmp_path / "documented.yaml", text)


@pytest.fixture
def default(tmp_path: Path) -> NodeClassification:
    return classification(tmp_path / "default.yaml", "{}")


@pytest.mark.parametrize(
    ("labels", "node_type"),
    [
        pytest.param({RESTRICTED: "spot"}, NodeType.SPOT, id="spot"),
        pytest.param({RESTRICTED: "on-demand"}, NodeType.ON_DEMAND, id="on-demand"),
        pytest.param(
            {RESTRICTED: "spot", CAPACITY_TYPE_LABEL: "on-demand", "lifecycle": "normal"},
            NodeType.SPOT,
            id="spot that claims to be on-demand",
        ),
        pytest.param(
            {CAPACITY_TYPE_LABEL: "on-demand"}, NodeType.UNKNOWN, id="without the restricted label"
        ),
        pytest.param({RESTRICTED: "reserved"}, NodeType.UNKNOWN, id="another value"),
    ],
)
def test_only_restricted_labels_tell_the_capacity_type(
    documented: NodeClassification, labels: dict[str, str], node_type: NodeType
) -> None:
    assert documented.classify(labels) is node_type


@pytest.mark.real
def test_a_kubelet_cannot_change_the_capacity_type_that_restricted_labels_tell(
    tmp_path: Path, documented: NodeClassification, default: NodeClassification
) -> None:
    kubelet = "system:node:spot-1"
    config = ControlPlaneConfig(
        users={kubelet: ["system:nodes"]},
        api_server_args=(
            "--authorization-mode=Node",
            "--enable-admission-plugins=NodeRestriction",
        ),
    )
    with ControlPlane.boot(tmp_path / "bed", config, binaries=binaries_or_skip()) as control_plane:
        control_plane.add_nodes(spot=2, labels={RESTRICTED: "spot"})

        def set_label(node: str, key: str) -> None:
            body = {"metadata": {"labels": {key: "on-demand"}}}
            path = f"/api/v1/nodes/{node}"
            control_plane.request("PATCH", path, body, user=kubelet, content_type=MERGE_PATCH)

        set_label("spot-1", CAPACITY_TYPE_LABEL)
        with pytest.raises(ApiError, match="not allowed to modify labels"):
            set_label("spot-1", RESTRICTED)
        with pytest.raises(ApiError, match="not allowed to modify node"):
            set_label("spot-2", CAPACITY_TYPE_LABEL)
        raw = control_plane.request("GET", "/api/v1/nodes/spot-1")
    labels = decode.node(json.dumps(raw).encode()).labels
    assert default.classify(labels) is NodeType.ON_DEMAND
    assert documented.classify(labels) is NodeType.SPOT
