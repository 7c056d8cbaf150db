"""Stories beside the real controller of Argo Rollouts, on the real control plane."""

from __future__ import annotations

import pytest

from testbed.programs import ROLLOUTS
from tests.support.control_plane import binaries_or_skip


@pytest.fixture(scope="session", autouse=True)
def rollouts_binary() -> None:
    """Builds the controller if necessary; skips the stories where it cannot be built."""
    binaries_or_skip(ROLLOUTS)
