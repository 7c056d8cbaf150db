"""Runs random scripts on the embedded cluster and on a real control plane.

The histories must be equal. To run more of them: ``--conformance-seeds=1000``. To repeat one that
failed: ``--conformance-seeds=1 --conformance-first-seed=SEED``.
"""

from __future__ import annotations

import pytest

from tests.conformance import history_cache
from tests.conformance.clusters import RealCluster, run_on_embedded
from tests.conformance.history import History, differences
from tests.conformance.random_scripts import a_random_script

DEFAULT_SEEDS = 60
"""About half a minute on the real cluster."""
CONCURRENT = 16
"""Scripts that run concurrently on the real cluster, each in its own namespace."""


@pytest.mark.real
def test_both_clusters_answer_random_requests_alike(
    real: RealCluster, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--conformance-seeds") or DEFAULT_SEEDS
    first = request.config.getoption("--conformance-first-seed")
    failures = []
    for start in range(first, first + count, CONCURRENT):
        seeds = range(start, min(start + CONCURRENT, first + count))
        scripts = [(a_random_script(seed), f"random-{seed}") for seed in seeds]
        for (script, name), recorded in zip(scripts, real.run_all(scripts), strict=True):
            namespace = name
            history: History = recorded
            found = differences(run_on_embedded(script, name), history)
            if found:  # repeat it alone: timers of the real cluster may have interfered
                namespace = f"{name}-again"
                history = real.run(script, namespace)
                found = differences(run_on_embedded(script, namespace), history)
            history_cache.save(name, script, namespace, history)
            failures += [f"{name}: {one}" for one in found[:3]]
    assert not failures, "\n".join(failures)


def test_a_seed_determines_the_script() -> None:
    first, second = (run_on_embedded(a_random_script(7), "random-7") for _ in range(2))
    assert first == second
    assert first != run_on_embedded(a_random_script(8), "random-8")
