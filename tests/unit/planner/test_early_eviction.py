"""Early evictions from spot nodes that are being reclaimed (``interruption.evictEarly``)."""

from __future__ import annotations

import dataclasses

import pytest

from spotalis.model.configuration import Problem
from spotalis.model.policy_values import FOREVER
from spotalis.planner.early_eviction import early_evictions
from spotalis.planner.observed import Observed
from tests.support.builders import (
    LONG_AGO,
    NOW,
    a_budget,
    a_workload,
    is_on_demand,
    is_spot,
    with_replicas,
    with_workload,
)

RECLAIMED = {"on_terminating_node": True, "on_reclaimed_node": True}


def on_a_leaving_node(**changes: object) -> Observed:
    """7 spot and 3 on-demand replicas; three spot replicas are on a node that is reclaimed."""
    observed = a_workload(spot=7, on_demand=3, **changes)  # type: ignore[arg-type]  # a builder
    spot = [replica.pod.name for replica in observed.replicas if is_spot(replica)][:3]
    return with_replicas(observed, lambda replica: replica.pod.name in spot, **RECLAIMED)


def names(observed: Observed) -> list[str]:
    return [replica.pod.name for replica in early_evictions(observed, NOW)]


def test_all_pods_on_the_terminating_spot_nodes_are_evicted() -> None:
    assert names(on_a_leaving_node()) == ["api-2", "api-3", "api-4"]
    assert names(a_workload(spot=7, on_demand=3)) == []


def test_pods_on_a_node_that_an_autoscaler_removes_are_not_evicted_early() -> None:
    observed = with_replicas(on_a_leaving_node(), is_spot, on_reclaimed_node=False)
    assert names(observed) == []


def test_on_demand_replicas_are_not_evicted_early() -> None:
    observed = with_replicas(a_workload(spot=7, on_demand=3), is_on_demand, **RECLAIMED)
    assert names(observed) == []


def test_a_budget_limits_early_evictions() -> None:
    assert names(on_a_leaving_node(budgets=(a_budget(2),))) == ["api-2", "api-3"]
    assert names(on_a_leaving_node(budgets=(a_budget(0),))) == []


@pytest.mark.parametrize(
    "over",
    [{"deleting_at": LONG_AGO}, {"phase": "Failed"}, {"counts_as_gone": True}, {"protected": True}],
)
def test_terminating_and_protected_pods_are_not_evicted_early(over: dict[str, object]) -> None:
    assert names(with_replicas(on_a_leaving_node(), 3, **over)) == ["api-2", "api-4"]


def test_a_rollout_does_not_stop_early_evictions() -> None:
    assert len(names(with_workload(on_a_leaving_node(), updated_replicas=4))) == 3


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param(on_a_leaving_node(paused_until=FOREVER), id="paused"),
        pytest.param(on_a_leaving_node(read_only=True), id="read-only"),
        pytest.param(on_a_leaving_node(synced=False), id="not synced"),
        pytest.param(on_a_leaving_node(suspect_list="gone in bulk"), id="implausible"),
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
def test_basic_guards_stop_early_evictions(observed: Observed) -> None:
    assert names(observed) == []
