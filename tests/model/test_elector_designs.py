"""Two replicas never lead at the same instant, as long as clocks run alike enough (safety.md D)."""

from __future__ import annotations

import pytest

from tests.model.elector_designs import CASES, Case
from tests.model.elector_world import Bounds, Design, search


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.says}") for case in CASES if case.states]
)
def test_nothing_that_can_happen_makes_two_lead_at_once(case: Case) -> None:
    explored = search(case.design, case.bounds)
    print(f"{case.name}: {explored.states:,} states, {explored.steps:,} steps, no way in")
    assert explored.trace == ()
    # The world that was meant is the one that was seen: a step that is lost would show here.
    assert explored.states == case.states


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.says}") for case in CASES if case.steps]
)
def test_outside_of_what_is_promised_two_do(case: Case) -> None:
    explored = search(case.design, case.bounds)
    print(f"{case.name}: broken in {case.steps} steps, {explored.states:,} states seen")
    print("\n".join(f"  {step}" for step in explored.trace))
    assert len(explored.trace) == case.steps


def test_a_lease_that_somebody_deletes_is_outside_of_it() -> None:
    """Nobody is there to say how long its holder may still lead; the ledger keeps the floor."""
    bounds = Bounds(clocks=(1, 1), known=True, deletions=1)
    trace = search(Design(), bounds).trace
    assert "somebody deletes the Lease" in trace
    assert trace[-1].endswith("two lead at once")
