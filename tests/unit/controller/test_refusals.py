"""What is remembered of refused evictions."""

from __future__ import annotations

import pytest

from spotalis.controller import refusals as module
from spotalis.controller.refusals import Refusals
from spotalis.kube.eviction import EvictionOutcome, EvictionResult
from tests.support.builders import NOW

REFUSED = EvictionResult(EvictionOutcome.FORBIDDEN, "no")


@pytest.mark.parametrize("outcome", EvictionOutcome)
def test_only_refusals_that_concern_the_pod_are_remembered(outcome: EvictionOutcome) -> None:
    refusals = Refusals()
    refusals.record("a", EvictionResult(outcome, "no"), NOW)
    remembered = {EvictionOutcome.FORBIDDEN: True, EvictionOutcome.UNKNOWN: False}
    found = refusals.get("a")
    assert (found and found.is_certain) == remembered.get(outcome)


@pytest.mark.parametrize("outcome", [EvictionOutcome.EVICTED, EvictionOutcome.GONE])
def test_a_pod_that_ends_is_forgotten(outcome: EvictionOutcome) -> None:
    refusals = Refusals()
    refusals.record("a", REFUSED, NOW)
    refusals.record("a", EvictionResult(outcome), NOW)
    assert refusals.of(["a"]) == {}


def test_a_budget_that_blocks_later_does_not_reset_the_backoff() -> None:
    refusals = Refusals()
    refusals.record("a", REFUSED, NOW)
    refusals.record("a", EvictionResult(EvictionOutcome.BLOCKED), NOW)
    refusals.record("a", REFUSED, NOW)
    found = refusals.get("a")
    assert found is not None
    assert found.failures == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REFUSALS", 3)
    refusals = Refusals()
    for uid in "abcda":
        refusals.record(uid, EvictionResult(EvictionOutcome.FORBIDDEN, "x" * 10_000), NOW)
    assert set(refusals.of("abcd")) == {"c", "d", "a"}
    assert {len(one.message) for one in refusals.of("abcd").values()} == {300}
    refusals.retain({"d"})
    assert set(refusals.of("abcd")) == {"d"}
