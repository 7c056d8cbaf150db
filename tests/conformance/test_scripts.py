"""Runs every named script on the embedded cluster and on a real control plane.

The histories must be equal except for known differences. To run one script:
``pytest tests/conformance -k watches-from-now``.
"""

from __future__ import annotations

import pytest

from tests.conformance import history_cache
from tests.conformance.clusters import RealCluster, Script, run_on_embedded
from tests.conformance.differences import KNOWN, check, resolved, unexpected
from tests.conformance.history import Difference, differences
from tests.conformance.scripts import ALONE, SCRIPTS, SLOW

ATTEMPTS = 3
"""Some timings of the real cluster are arbitrary: an additional bookmark if its API server is slow,
or a budget that is counted between two writes. Genuine differences occur in every attempt.
"""


def compare(script: Script, name: str, real: RealCluster) -> list[Difference]:
    """The differences in the first attempt without unexpected ones, or in the last attempt."""
    found: list[Difference] = []
    for attempt in range(ATTEMPTS):
        namespace = f"{name}-{attempt}" if attempt else name
        recorded = real.run(script, namespace)
        history_cache.save(name, script, namespace, recorded)
        found = differences(run_on_embedded(script, namespace), recorded)
        if not unexpected(name, found) and not resolved(name, found):
            break
    return found


@pytest.mark.real
@pytest.mark.parametrize("name", [*SCRIPTS, *ALONE])
def test_both_clusters_have_the_same_history(name: str, real: RealCluster) -> None:
    check(name, compare((SCRIPTS | ALONE)[name], name, real))


@pytest.mark.real
@pytest.mark.parametrize("name", SLOW)
def test_both_clusters_have_the_same_history_of_a_slow_script(
    name: str, real: RealCluster, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--conformance-seeds"):
        pytest.skip("takes a minute; runs with --conformance-seeds")
    assert not compare(SLOW[name], name, real)


def test_every_known_difference_belongs_to_a_script() -> None:
    assert {one.script for one in KNOWN} <= {*SCRIPTS, *ALONE}
