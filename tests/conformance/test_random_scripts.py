"""Scripts made by rng, once on each bed: the histories are the same.

More of them: ``--conformance-seeds=1000``. One that failed: ``--conformance-seeds=1
--conformance-first-seed=SEED``.
"""

from __future__ import annotations

import pytest

from tests.conformance.beds import Real, on_embedded
from tests.conformance.history import differences
from tests.conformance.random_scripts import a_random_script

FEW_SEEDS = 60
"""About half a minute on the real bed."""
AT_ONCE = 16
"""Scripts that run side by side on the real bed, each in its namespace."""


@pytest.mark.real
def test_both_beds_answer_random_requests_alike(real: Real, request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--conformance-seeds") or FEW_SEEDS
    first = request.config.getoption("--conformance-first-seed")
    told = []
    for start in range(first, first + count, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, first + count))
        scripts = [(a_random_script(seed), f"random-{seed}") for seed in seeds]
        for seed, (script, name), history in zip(
            seeds, scripts, real.play_all(scripts), strict=True
        ):
            found = differences(on_embedded(script, name), history)
            if found:  # once more and alone: timers of the real bed may have fallen badly
                again = f"{name}-again"
                found = differences(on_embedded(script, again), real.play(script, again))
            told += [f"seed {seed}: {one}" for one in found[:3]]
    assert not told, "\n".join(told)


def test_a_seed_is_the_same_script_again() -> None:
    once, again = (on_embedded(a_random_script(7), "random-7") for _ in range(2))
    assert once == again
    assert once != on_embedded(a_random_script(8), "random-8")
