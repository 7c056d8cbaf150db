"""The two beds, and how many random scripts run on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.beds import Real
from tests.support.control_plane import binaries_or_skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """A real bed with nodes and webhooks, the module's own."""
    with Real.boot(tmp_path_factory.mktemp("real-bed"), binaries_or_skip()) as real:
        yield real
