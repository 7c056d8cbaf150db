"""The clusters on which scenarios run."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.transport import InProcessTransport
from tests.support import embedded_cluster, real_cluster
from tests.support.control_plane import control_plane as control_plane
from tests.support.recorded_requests import RecordedRequests
from tests.support.scenarios import ScenarioRunner


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> ScenarioRunner:
    """Runs a scenario on the bed that ``@on_both_beds`` and its siblings select."""
    if request.param == "real":
        return real_cluster.scenario_runner(tmp_path)
    return embedded_cluster.run_scenario


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> RecordedRequests:
    """The connections between operators and the embedded API server."""
    recorded, plain = RecordedRequests(), EmbeddedCluster.transport

    def tapped(cluster: EmbeddedCluster, user: str) -> InProcessTransport:
        transport = plain(cluster, user)
        if user != "admin":
            transport.on_request = recorded.record
        return transport

    monkeypatch.setattr(EmbeddedCluster, "transport", tapped)
    return recorded
