"""The order in which a ReplicaSet deletes pods."""

from __future__ import annotations

from itertools import pairwise

import pytest

from spotalis.embedded.controllers.scale_down_order import pods_to_delete
from spotalis.embedded.objects.resources import Object
from tests.unit.embedded.controllers.builders import NOON, a_pod, ago

ORDER = [
    a_pod("unassigned", node="", phase="Pending", ready=False, cost="9"),
    a_pod("pending", node="n1", phase="Pending", ready=False, cost="9"),
    a_pod("unknown", node="n1", phase="Unknown", ready=False, cost="9"),
    a_pod("not-ready", node="n1", ready=False, cost="9"),
    a_pod("low-cost", node="n2", cost="-1", ready_at=ago(days=9)),
    a_pod("surplus_type", node="n1", ready_at=ago(days=9)),
    a_pod("ready-for-a-minute", node="n3", ready_at=ago(minutes=1)),
    a_pod("restarted", node="n4", restarts=3, created_at=ago(days=9)),
    a_pod("young", node="n5", created_at=ago(minutes=40)),
    a_pod("old", node="n6", created_at=ago(hours=9)),
    a_pod("high-cost", node="n7", cost="1", ready_at=ago(seconds=1)),
]


def names(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


@pytest.mark.parametrize("count", range(1, len(ORDER)))
def test_the_order_does_not_depend_on_the_order_of_the_input(count: int) -> None:
    given = [*ORDER[count::2], *ORDER[:count], *ORDER[count + 1 :: 2]]
    assert names(pods_to_delete(given, given, count, NOON)) == names(ORDER)[:count]


@pytest.mark.parametrize(
    ("first", "second"), list(pairwise(ORDER)), ids=lambda pod: pod["metadata"]["name"]
)
def test_each_pod_is_deleted_before_the_next(first: Object, second: Object) -> None:
    assert pods_to_delete([second, first], ORDER, 1, NOON) == [first]


def test_pods_of_similar_age_are_ordered_by_uid() -> None:
    older = a_pod("a", node="n1", ready_at=ago(seconds=65))
    newer = a_pod("b", node="n2", ready_at=ago(seconds=60))
    assert pods_to_delete([newer, older], [], 1, NOON) == [older]


def test_pods_of_a_sibling_replicaset_count_on_their_node() -> None:
    alone, beside = a_pod("alone", node="n1"), a_pod("beside", node="n2")
    sibling = a_pod("sibling", node="n2", owner="other")
    related = [alone, beside, sibling]
    assert pods_to_delete([alone, beside], related, 1, NOON) == [beside]


def test_finished_and_terminating_pods_do_not_count_on_their_node() -> None:
    alone, beside = a_pod("a", node="n1", cost="0"), a_pod("b", node="n2", cost="0")
    gone = a_pod("gone", node="n2", phase="Failed")
    going = a_pod("going", node="n2")
    going["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert pods_to_delete([alone, beside], [alone, beside, gone, going], 1, NOON) == [alone]


def test_an_invalid_deletion_cost_counts_as_0() -> None:
    broken, cheap = a_pod("broken", node="n1", cost="much"), a_pod("low-cost", node="n2", cost="-1")
    assert pods_to_delete([broken, cheap], [], 1, NOON) == [cheap]
