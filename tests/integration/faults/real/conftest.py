"""The control plane of a module, and a cluster of each story's own on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.faults.real.cluster import RIGHTS, FaultTestCluster
from tests.support.control_plane import ControlPlane, ControlPlaneConfig, binaries_or_skip
from tests.support.real_cluster import RBAC

PROGRESS = ("--watch-progress-notify-interval=5s",)
"""As kubeadm sets it. By etcd's own default of 10 min the API server sends no bookmark on the watch
of a kind that nobody has changed since, and what is quiet looks as if it were dead."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Two nodes of each class."""
    folder = tmp_path_factory.mktemp("faults")
    config = ControlPlaneConfig(rbac=RBAC, etcd_args=PROGRESS)
    with ControlPlane.boot(folder, config, binaries=binaries_or_skip()) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=2)
        control_plane.apply(RIGHTS)
        yield control_plane


@pytest.fixture
async def cluster(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultTestCluster]:
    """Namespaces of the story's own; what runs there ends with it."""
    async with FaultTestCluster(control_plane, tmp_path, f"story-{next(_numbers)}") as cluster:
        yield cluster
