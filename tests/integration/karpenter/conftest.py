"""Stories beside real Karpenter, on the real control plane."""

from __future__ import annotations

import pytest

from testbed.programs import KARPENTER
from tests.support.control_plane import binaries_or_skip


@pytest.fixture(scope="session", autouse=True)
def karpenter_binary() -> None:
    """Builds Karpenter if necessary; skips the stories where it cannot be built."""
    binaries_or_skip(KARPENTER)
