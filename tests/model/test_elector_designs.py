"""At most one instance leads at any instant, as long as clock rates differ by at most 2:3."""

from __future__ import annotations

import pytest

from tests.model.elector_designs import CASES, Case
from tests.model.elector_world import Bounds, Design, search


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.about}") for case in CASES if case.states]
)
def test_no_state_has_two_leaders(case: Case) -> None:
    result = search(case.design, case.bounds)
    print(f"{case.name}: {result.states:,} states, {result.steps:,} steps, no violation")
    assert result.trace == ()
    # Fewer states would mean that the model has lost a transition.
    assert result.states == case.states


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.name}: {case.about}") for case in CASES if case.steps]
)
def test_outside_the_bounds_two_instances_lead(case: Case) -> None:
    result = search(case.design, case.bounds)
    print(f"{case.name}: violation in {case.steps} steps, {result.states:,} states")
    print("\n".join(f"  {step}" for step in result.trace))
    assert len(result.trace) == case.steps


def test_after_another_client_deletes_the_lease_two_instances_lead() -> None:
    """A new holder cannot know how long the previous one leads. The ledger protects the floor."""
    bounds = Bounds(clocks=(1, 1), known=True, deletions=1)
    trace = search(Design(), bounds).trace
    assert "another client deletes the Lease" in trace
    assert trace[-1].endswith("two instances lead")
