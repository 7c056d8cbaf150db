"""Which pods the rescue releases, and when the operator counts as absent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spotalis.controller.rescue import absence, waiting_pods
from spotalis.model.objects import Lease
from spotalis.model.timestamps import format_micro_time
from tests.support.builders import NOW, a_pod

WAITING: dict[str, Any] = {
    "ready": False,
    "phase": "Pending",
    "node": "",
    "unschedulable": True,
    "created_at": NOW - timedelta(minutes=10),
    "labels": {"spotalis.io/capacity-type": "spot"},
}


@pytest.mark.parametrize(
    ("change", "released"),
    [
        ({}, True),
        ({"created_at": NOW - timedelta(minutes=9, seconds=59)}, False),
        ({"node": "spot-1"}, False),
        ({"unschedulable": False}, False),
        ({"labels": {"spotalis.io/capacity-type": "on-demand"}}, False),
        ({"labels": {}}, False),
        ({"deleting_at": NOW}, False),
        ({"owner": None}, False),
    ],
)
def test_only_pods_that_wait_for_spot_and_are_replaced_are_released(
    change: dict[str, Any], released: bool
) -> None:
    assert bool(waiting_pods([a_pod(**(WAITING | change))], NOW)) is released


def test_the_operator_is_absent_since_the_last_renewal_of_its_lease() -> None:
    lease = Lease(
        namespace="spotalis-system",
        name="spotalis",
        renewed_at=format_micro_time(NOW - timedelta(minutes=11)),
    )
    assert absence(lease, NOW) == timedelta(minutes=11)
    assert absence(lease, NOW - timedelta(hours=1)) == timedelta(0)
    assert absence(None, NOW) is None
    assert absence(Lease(namespace="a", name="b"), NOW) is None
