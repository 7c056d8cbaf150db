"""Who leaves a node at the provider's notice (``interruption.evictEarly``)."""

from __future__ import annotations

import dataclasses

import pytest

from spotalis.model.configuration import FOREVER, Problem
from spotalis.planner.early import leaving_early
from spotalis.planner.observed import Observed
from tests.support.builders import LONG_AGO, NOW, a_budget, a_workload, with_replicas, with_workload


def on_a_leaving_node(**changes: object) -> Observed:
    """Of 7 + 3 replicas the first three stand on a node that is being taken."""
    return with_replicas(a_workload(spot=7, on_demand=3, **changes), range(3), leaving=True)  # type: ignore[arg-type]  # a builder


def names(observed: Observed) -> list[str]:
    return [replica.pod.name for replica in leaving_early(observed, NOW)]


def test_all_on_the_node_and_nobody_else() -> None:
    assert names(on_a_leaving_node()) == ["api-0", "api-1", "api-2"]
    assert names(a_workload(spot=7, on_demand=3)) == []


def test_no_more_than_a_budget_allows() -> None:
    assert names(on_a_leaving_node(budgets=(a_budget(2),))) == ["api-0", "api-1"]
    assert names(on_a_leaving_node(budgets=(a_budget(0),))) == []


@pytest.mark.parametrize(
    "over", [{"deleting_at": LONG_AGO}, {"phase": "Failed"}, {"evicted": True}, {"protected": True}]
)
def test_who_goes_already_or_asks_for_peace_is_left(over: dict[str, object]) -> None:
    assert names(with_replicas(on_a_leaving_node(), 1, **over)) == ["api-0", "api-2"]


def test_a_rollout_keeps_nobody_there() -> None:
    assert len(names(with_workload(on_a_leaving_node(), updated_replicas=4))) == 3


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param(on_a_leaving_node(paused_until=FOREVER), id="paused"),
        pytest.param(on_a_leaving_node(read_only=True), id="read-only"),
        pytest.param(on_a_leaving_node(synced=False), id="not synced"),
        pytest.param(on_a_leaving_node(implausible="gone in bulk"), id="implausible"),
        pytest.param(on_a_leaving_node(percent=None, floor=None), id="no policy"),
        pytest.param(
            dataclasses.replace(
                on_a_leaving_node(),
                configuration=dataclasses.replace(
                    on_a_leaving_node().configuration,
                    problems=(Problem(key="k", value="v", message="must", source="s"),),
                ),
            ),
            id="invalid",
        ),
    ],
)
def test_where_nothing_may_be_touched_nobody_is(observed: Observed) -> None:
    assert names(observed) == []
