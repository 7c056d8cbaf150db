"""The bed of a module, and a stage of each story's own on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.faults.real.stage import RIGHTS, Stage
from tests.support.real_bed import BedConfig, RealBed, binaries_or_skip
from tests.support.real_stage import RBAC

PROGRESS = ("--watch-progress-notify-interval=5s",)
"""As kubeadm sets it. By etcd's own default of 10 min the API server sends no bookmark on the watch
of a kind that nobody has changed since, and what is quiet looks as if it were dead."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBed]:
    """Two nodes of each class."""
    folder = tmp_path_factory.mktemp("faults")
    config = BedConfig(rbac=RBAC, etcd_args=PROGRESS)
    with RealBed.boot(folder, config, binaries=binaries_or_skip()) as bed:
        bed.add_nodes(spot=2, on_demand=2)
        bed.apply(RIGHTS)
        yield bed


@pytest.fixture
async def stage(bed: RealBed, tmp_path: Path) -> AsyncIterator[Stage]:
    """Namespaces of the story's own; what runs there ends with it."""
    async with Stage(bed, tmp_path, f"story-{next(_numbers)}") as stage:
        yield stage
