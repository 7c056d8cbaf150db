"""What a snapshot says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.support.builders import (
    LONG_AGO,
    NOW,
    ON_DEMAND,
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
    pytest.param({"counts_as_gone": True}, id="evicted by us just now"),
]


@pytest.mark.parametrize("change", GONE)
def test_who_is_on_the_way_out_holds_no_slot_and_is_neither_ready_nor_available(
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


def test_who_is_not_ready_holds_a_slot_but_does_not_serve() -> None:
    observed = with_replicas(a_workload(spot=7, on_demand=3), is_on_demand, ready=False)
    assert (observed.state.spot, observed.state.on_demand) == (7, 3)
    assert observed.ready_on_demand == 0
    assert observed.missing(NOW) == 3


@pytest.mark.parametrize(
    ("ready_for", "available"),
    [
        pytest.param(timedelta(seconds=29), False, id="ready for less than minReadySeconds"),
        pytest.param(timedelta(seconds=30), True, id="ready for minReadySeconds"),
        pytest.param(None, True, id="ready since nobody knows when"),
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


def test_unknown_replicas_never_help_the_floor_and_are_left_out_of_n() -> None:
    observed = a_workload(spot=6, on_demand=3, unknown=1)
    assert observed.state.known == 9
    assert observed.state.is_balanced
    assert observed.ready_on_demand == 3
    assert observed.missing(NOW) == 0
    turned = with_replicas(observed, is_on_demand, node_type=UNKNOWN)
    assert turned.ready_on_demand == 0


def test_more_replicas_than_wanted_are_none_missing() -> None:
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
def test_so_many_ready_replicas_may_still_be_moved(workload: dict[str, Any], left: int) -> None:
    assert a_workload(spot=7, on_demand=3, **workload).moves_left(NOW) == left


def test_a_pod_seen_ready_counts_for_its_class() -> None:
    assert a_workload(spot=1, on_demand=2).ready_on_demand == 2
    assert a_replica(node_type=ON_DEMAND).is_ready


def test_without_min_ready_seconds_a_clock_that_is_behind_hides_no_replica() -> None:
    replica = a_replica(ready_at=NOW + timedelta(hours=1))
    assert replica.is_available(timedelta(0), NOW)
    assert not replica.is_available(timedelta(seconds=1), NOW)
