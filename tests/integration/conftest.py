"""The clusters on which scenarios run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import embedded_cluster, real_cluster
from tests.support.control_plane import control_plane as control_plane
from tests.support.scenarios import ScenarioRunner


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> ScenarioRunner:
    """Runs a scenario on the bed that ``@on_both_beds`` and its siblings select."""
    if request.param == "real":
        return real_cluster.scenario_runner(tmp_path)
    return embedded_cluster.run_scenario
