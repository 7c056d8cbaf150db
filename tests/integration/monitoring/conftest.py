"""Stories beside real Prometheus, on the real control plane."""

from __future__ import annotations

import pytest

from testbed.programs import PROMETHEUS
from tests.support.control_plane import binaries_or_skip


@pytest.fixture(scope="session", autouse=True)
def prometheus_binaries() -> None:
    """Builds Prometheus if necessary; skips the stories where it cannot be built."""
    binaries_or_skip(PROMETHEUS)
