"""What the planner's input derives from its fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import (
    LONG_AGO,
    NOW,
    ON_DEMAND,
    SPOT,
    UNKNOWN,
    a_replica,
    a_workload,
    is_on_demand,
    with_replicas,
)

GONE = [
    pytest.param({"deleting_at": LONG_AGO}, id="terminating"),
    pytest.param({"phase": "Failed"}, id="failed"),
    pytest.param({"phase": "Succeeded"}, id="succeeded"),
    pytest.param({"on_terminating_node": True}, id="on a leaving node"),
    pytest.param({"counts_as_gone": True}, id="just evicted"),
]


@pytest.mark.parametrize("change", GONE)
def test_a_leaving_replica_holds_no_slot_and_is_not_available(
    change: Mapping[str, Any],
) -> None:
    replica = a_replica(**change)
    assert not replica.is_active
    assert not replica.is_ready
    assert not replica.is_available(timedelta(0), NOW)
    observed = with_replicas(a_workload(spot=7, on_demand=3), is_on_demand, **change)
    assert len(observed.active) == 7
    assert (observed.state.spot, observed.state.on_demand) == (7, 0)
    assert observed.ready_on_demand == 0
    assert observed.missing(NOW) == 3


def test_unknown_replicas_without_a_node_are_part_of_n_and_no_reason_to_move_others() -> None:
    """They may still start on either type: 7 of 10 on spot are not too many."""
    observed = a_workload(spot=7, on_demand=2, unknown=1)
    assert observed.state.surplus_type is SPOT
    observed = with_replicas(observed, 9, node="", phase="Pending", ready=False)
    assert (observed.state.known, observed.state.surplus_type) == (10, None)
    assert not observed.state.is_balanced


def test_an_unready_replica_holds_a_slot_and_is_not_available() -> None:
    observed = with_replicas(a_workload(spot=7, on_demand=3), is_on_demand, ready=False)
    assert (observed.state.spot, observed.state.on_demand) == (7, 3)
    assert observed.ready_on_demand == 0
    assert observed.missing(NOW) == 3


@pytest.mark.parametrize(
    ("ready_for", "available"),
    [
        pytest.param(timedelta(seconds=29), False, id="ready for less than minReadySeconds"),
        pytest.param(timedelta(seconds=30), True, id="ready for minReadySeconds"),
        pytest.param(None, True, id="ready for an unknown time"),
    ],
)
def test_a_replica_is_available_after_min_ready_seconds(
    ready_for: timedelta | None, available: bool
) -> None:
    since = None if ready_for is None else NOW - ready_for
    observed = with_replicas(
        a_workload(spot=7, on_demand=3, min_ready_seconds=30), 0, ready_at=since
    )
    assert observed.missing(NOW) == (0 if available else 1)


def test_replicas_of_unknown_type_do_not_count_toward_the_floor() -> None:
    observed = a_workload(spot=6, on_demand=3, unknown=1)
    assert observed.state.known == 9
    assert observed.state.is_balanced
    assert observed.ready_on_demand == 3
    assert observed.missing(NOW) == 0
    changed = with_replicas(observed, is_on_demand, node_type=UNKNOWN)
    assert changed.ready_on_demand == 0


def test_no_replica_is_missing_if_there_are_more_than_desired() -> None:
    assert a_workload(replicas=3, spot=2, on_demand=2).missing(NOW) == 0


@pytest.mark.parametrize(
    ("workload", "left"),
    [
        pytest.param({"moves": 3}, 3, id="a number"),
        pytest.param({"moves": 3, "replicas": 12}, 1, id="less what is missing"),
        pytest.param({"moves": 1, "replicas": 12}, -1, id="more missing than may be"),
        pytest.param({"moves": 3, "kind": "StatefulSet"}, 3, id="a parallel StatefulSet"),
        pytest.param(
            {"moves": 3, "kind": "StatefulSet", "ordered": True}, 1, id="an ordered one: one"
        ),
    ],
)
def test_the_number_of_ready_replicas_that_may_move(workload: dict[str, Any], left: int) -> None:
    assert a_workload(spot=7, on_demand=3, **workload).moves_left(NOW) == left


def test_a_ready_pod_counts_for_its_type() -> None:
    assert a_workload(spot=1, on_demand=2).ready_on_demand == 2
    assert a_replica(node_type=ON_DEMAND).is_ready


def test_without_min_ready_seconds_clock_skew_does_not_matter() -> None:
    replica = a_replica(ready_at=NOW + timedelta(hours=1))
    assert replica.is_available(timedelta(0), NOW)
    assert not replica.is_available(timedelta(seconds=1), NOW)
