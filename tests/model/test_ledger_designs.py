"""The implemented eviction protocol protects the floor; simpler designs do not."""

from __future__ import annotations

import pytest

from tests.model.ledger_designs import CASES, Case
from tests.model.ledger_world import search

LARGE = 50_000
"""Number of states that take tens of seconds to search."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.name}: {case.about}",
            marks=[pytest.mark.long] if case.states > LARGE else [],
        )
        for case in CASES
        if case.states
    ],
)
def test_no_state_violates_the_floor(case: Case) -> None:
    result = search(case.design, case.bounds)
    print(f"{case.name}: {result.states:,} states, {result.steps:,} steps, no violation")
    assert result.trace == ()
    # Fewer states would mean that the model has lost a transition.
    assert result.states == case.states


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.about}") for case in CASES if case.steps]
)
def test_a_simpler_design_violates_the_floor(case: Case) -> None:
    result = search(case.design, case.bounds)
    print(f"{case.name}: violation in {case.steps} steps, {result.states:,} states")
    print("\n".join(f"  {step}" for step in result.trace))
    assert len(result.trace) == case.steps


@pytest.mark.parametrize("name", ["C", "D", "F", "N"])
def test_merging_states_that_differ_in_names_does_not_change_the_result(name: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    unmerged = search(case.design, case.bounds, by_name=True)
    merged = search(case.design, case.bounds)
    assert unmerged.states > 2 * merged.states
    assert len(unmerged.trace) == case.steps
    assert unmerged.clean == merged.clean
