"""The floor holds for the design that is built, and for none that is simpler (safety.md D.4)."""

from __future__ import annotations

import pytest

from tests.model.ledger_designs import CASES, Case
from tests.model.ledger_world import search


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.says}") for case in CASES if case.states]
)
def test_nothing_that_can_happen_breaks_the_floor(case: Case) -> None:
    explored = search(case.design, case.bounds)
    print(f"{case.name}: {explored.states:,} states, {explored.steps:,} steps, no way in")
    assert explored.trace == ()
    # The world that was meant is the one that was seen: a step that is lost would show here.
    assert explored.states == case.states


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.says}") for case in CASES if case.steps]
)
def test_a_simpler_design_breaks_it(case: Case) -> None:
    explored = search(case.design, case.bounds)
    print(f"{case.name}: broken in {case.steps} steps, {explored.states:,} states seen")
    print("\n".join(f"  {step}" for step in explored.trace))
    assert len(explored.trace) == case.steps


@pytest.mark.parametrize("name", ["C", "D", "F", "N"])
def test_names_make_no_difference(name: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    every, one = search(case.design, case.bounds, by_name=True), search(case.design, case.bounds)
    assert every.states > 2 * one.states
    assert len(every.trace) == case.steps
    assert every.clean == one.clean
