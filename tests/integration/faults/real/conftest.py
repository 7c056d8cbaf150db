"""Fixtures: a control plane for each module, and a test cluster for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scripts.manifests import K8S, OPTIONAL
from tests.integration.faults.real.cluster import PERMISSIONS, FaultTestCluster
from tests.support.control_plane import ControlPlane, ControlPlaneConfig, binaries_or_skip

PROGRESS = ("--watch-progress-notify-interval=5s",)
"""As kubeadm sets it. With etcd's default of 10 min the API server sends no bookmarks on watches of
resources without changes, and an idle watch cannot be distinguished from a dead one."""

RBAC = (K8S / "rbac.yaml", *(K8S / "optional" / f"{name}.yaml" for name in OPTIONAL))
"""Without admission-policy.yaml, because each test has an operator namespace of its own."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with two spot nodes and two on-demand nodes."""
    folder = tmp_path_factory.mktemp("faults")
    config = ControlPlaneConfig(rbac=RBAC, etcd_args=PROGRESS)
    with ControlPlane.boot(folder, config, binaries=binaries_or_skip()) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=2)
        control_plane.apply(PERMISSIONS)
        yield control_plane


@pytest.fixture
async def cluster(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultTestCluster]:
    """A test cluster with its own namespaces; its operators end with the test."""
    async with FaultTestCluster(control_plane, tmp_path, f"fault-{next(_numbers)}") as cluster:
        yield cluster
