"""Compares the embedded cluster with the cached histories of the last run on a real control plane.

These tests need no control plane; see history_cache.py. ``make test`` updates the histories.
"""

from __future__ import annotations

import json

import pytest

from tests.conformance import history_cache
from tests.conformance.clusters import Script, run_on_embedded
from tests.conformance.differences import check
from tests.conformance.history import Difference, differences
from tests.conformance.random_scripts import a_random_script
from tests.conformance.scripts import ALONE, SCRIPTS
from tests.conformance.test_random_scripts import DEFAULT_SEEDS

NO_HISTORY = "no cached history of a real run; run pytest tests/conformance -m real"


def compare_with_cache(name: str, script: Script) -> list[Difference] | None:
    """The differences from the cached history; None without a valid history."""
    cached = history_cache.load(name, script)
    if cached is None:
        return None
    embedded = json.loads(json.dumps(run_on_embedded(script, cached.namespace)))
    return differences(embedded, cached.history)


@pytest.mark.parametrize("name", [*SCRIPTS, *ALONE])
def test_the_embedded_cluster_matches_the_last_real_run(name: str) -> None:
    found = compare_with_cache(name, (SCRIPTS | ALONE)[name])
    if found is None:
        pytest.skip(NO_HISTORY)
    check(name, found)


def test_the_embedded_cluster_matches_the_last_real_run_of_random_scripts() -> None:
    compared = {
        seed: compare_with_cache(f"random-{seed}", a_random_script(seed))
        for seed in range(DEFAULT_SEEDS)
    }
    known = {seed: found for seed, found in compared.items() if found is not None}
    if not known:
        pytest.skip(NO_HISTORY)
    failures = [f"seed {seed}: {one}" for seed, found in known.items() for one in found[:3]]
    assert not failures, "\n".join(failures)
