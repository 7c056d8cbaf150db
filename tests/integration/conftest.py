"""The two beds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.real_bed import real_bed as real_bed
from tests.support.stage import Play


@pytest.fixture
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    """Plays a scenario on the bed that the test's mark names."""
    if request.param == "real":
        from tests.support import real_stage

        yield from real_stage.playing(tmp_path)
    else:
        from tests.support import embedded_stage

        yield from embedded_stage.playing()
