"""Every named script, once on each bed: the histories are the same but for known differences.

One script alone: ``pytest tests/conformance -k watches-from-now``.
"""

from __future__ import annotations

import pytest

from tests.conformance import recorded
from tests.conformance.beds import Real, Script, on_embedded
from tests.conformance.differences import KNOWN, outlived, unknown
from tests.conformance.history import Difference, differences
from tests.conformance.scripts import ALONE, SCRIPTS, SLOW

pytestmark = pytest.mark.real


ATTEMPTS = 3
"""Timers of the real bed fall where they like: a bookmark more when its API server is slow, a
budget that is counted between two writes. What the beds do not have in common comes every time.
"""


def compared(script: Script, name: str, real: Real) -> list[Difference]:
    """The differences of an attempt without surprises, or of the last one."""
    found: list[Difference] = []
    for attempt in range(ATTEMPTS):
        namespace = f"{name}-{attempt}" if attempt else name
        history = real.play(script, namespace)
        found = differences(on_embedded(script, namespace), history)
        if not unknown(name, found) and not outlived(name, found):
            recorded.save(name, script, namespace, history)
            break
    return found


@pytest.mark.parametrize("name", [*SCRIPTS, *ALONE])
def test_both_beds_tell_the_same_story(name: str, real: Real) -> None:
    found = compared((SCRIPTS | ALONE)[name], name, real)
    surprises = unknown(name, found)
    assert not surprises, "\n".join(str(one) for one in surprises)
    gone = outlived(name, found)
    assert not gone, f"these no longer differ, take them off the list: {gone}"


@pytest.mark.parametrize("name", SLOW)
def test_both_beds_tell_the_same_slow_story(
    name: str, real: Real, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--conformance-seeds"):
        pytest.skip("takes a minute; runs with --conformance-seeds")
    assert not compared(SLOW[name], name, real)


def test_every_known_difference_is_one_of_a_script() -> None:
    assert {one.script for one in KNOWN} <= {*SCRIPTS, *ALONE}
