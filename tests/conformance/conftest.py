"""The real cluster of the conformance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.clusters import RealCluster
from tests.support.control_plane import binaries_or_skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A real control plane with nodes and webhooks, one per module."""
    with RealCluster.boot(tmp_path_factory.mktemp("control-plane"), binaries_or_skip()) as real:
        yield real
