"""Which replicas may be moved, and in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.ledger import Intent, Ledger
from spotalis.planner.candidates import candidates, ordinal
from spotalis.planner.observed import Observed, Replica
from tests.support.builders import (
    BOTH_KINDS,
    LONG_AGO,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    UNKNOWN,
    a_replica,
    a_workload,
    owner_of,
    with_replicas,
    with_workload,
)


def order(observed: Observed) -> list[str]:
    return [replica.pod.name for replica in candidates(observed, SPOT)]


def of(observed: Observed, *replicas: Replica) -> Observed:
    return dataclasses.replace(observed, replicas=replicas)


def a_spot(name: str, **changes: Any) -> Replica:
    """At 70 % with floor 2 the slots 0, 1, 6, 10, 13 and 16 of 20 are on-demand."""
    return a_replica(name=name, **changes)


FREE = {"slot": None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            {"ready": False, "slot": 2}, {"ready": True, "slot": 1}, id="not ready before ready"
        ),
        pytest.param(
            {"slot": 1, "other_pods": 9},
            {"slot": 2, "other_pods": 0},
            id="a slot of the other type",
        ),
        pytest.param({"slot": 0}, FREE, id="a slot of the other type before no slot"),
        pytest.param(FREE, {"slot": 2}, id="no slot before a slot of its own type"),
        pytest.param(
            {"slot": 0, "other_pods": 1},
            {"slot": 6, "other_pods": 2},
            id="a node with few other pods",
        ),
        pytest.param({"slot": 5}, {"slot": 4}, id="the highest slot"),
        pytest.param({"slot": 10}, {"slot": 6}, id="the highest slot of the other type"),
    ],
)
def test_the_eviction_order_of_two_replicas_of_a_deployment(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    observed = a_workload(spot=2)
    # By name and UID the order would be the opposite, so only the fields can decide.
    one, other = a_spot("z", **first), a_spot("a", **second)
    assert order(of(observed, one, other)) == order(of(observed, other, one)) == ["z", "a"]


def test_equal_replicas_are_ordered_by_uid() -> None:
    one, other = a_spot("a"), a_spot("b")
    observed = a_workload(spot=2)
    assert order(of(observed, one, other)) == order(of(observed, other, one)) == ["a", "b"]


def test_statefulset_ordinals_descend_and_slots_of_the_other_type_come_first() -> None:
    observed = a_workload(kind=STATEFUL_SET, spot=20)
    names = order(observed)
    assert names[:6] == [f"api-{number}" for number in (16, 13, 10, 6, 1, 0)]
    assert names[6:] == [f"api-{n}" for n in range(19, -1, -1) if n not in (16, 13, 10, 6, 1, 0)]
    crowd = with_replicas(observed, lambda r: r.pod.name != "api-0", other_pods=5, node="one")
    assert order(crowd) == names


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"user_pinned": True}, id="pinned by its owner"),
        pytest.param({"protected": True}, id="protected by an annotation"),
        pytest.param({"node_type": ON_DEMAND}, id="on the other type"),
        pytest.param({"node_type": UNKNOWN}, id="of unknown type"),
        pytest.param({"deleting_at": LONG_AGO}, id="terminating"),
        pytest.param({"phase": "Failed"}, id="failed"),
        pytest.param({"phase": "Succeeded"}, id="succeeded"),
        pytest.param({"on_terminating_node": True}, id="on a terminating node"),
        pytest.param({"counts_as_gone": True}, id="evicted a moment ago"),
    ],
)
def test_some_replicas_are_never_candidates(kind: str, change: Mapping[str, Any]) -> None:
    observed = a_workload(kind=kind, spot=3, percent=0)
    assert len(order(observed)) == 3
    assert sorted(order(with_replicas(observed, 1, **change))) == ["api-0", "api-2"]


def test_two_replicas_on_one_node_are_separated_by_others() -> None:
    observed = of(
        a_workload(spot=4),
        a_spot("a", node="one", slot=9),
        a_spot("b", node="one", slot=8),
        a_spot("c", node="two", slot=7),
        a_spot("d", node="two", slot=5),
    )
    assert order(observed) == ["a", "c", "b", "d"]


def test_replicas_on_a_node_that_is_losing_a_replica_come_later() -> None:
    for going in ({"counts_as_gone": True}, {"deleting_at": LONG_AGO}):
        observed = of(
            a_workload(spot=3),
            a_spot("a", node="one", slot=9, **going),
            a_spot("b", node="one", slot=8),
            a_spot("c", node="two", slot=7),
        )
        assert order(observed) == ["c", "b"]


def test_unready_replicas_come_first_even_on_one_node() -> None:
    observed = of(
        a_workload(spot=4),
        a_spot("a", node="one", ready=False),
        a_spot("b", node="one", ready=False),
        a_spot("c", node="one"),
        a_spot("d", node="two"),
    )
    assert order(observed) == ["a", "b", "d", "c"]


def test_replicas_without_a_node_do_not_share_one() -> None:
    observed = of(
        a_workload(spot=3),
        a_spot("a", node="", ready=False, slot=9),
        a_spot("b", node="", ready=False, slot=8),
        a_spot("c", node="one", ready=False, slot=7),
    )
    assert order(observed) == ["a", "b", "c"]


REPLICAS = st.lists(
    st.fixed_dictionaries(
        {
            "slot": st.none() | st.integers(0, 12),
            "ready": st.booleans(),
            "other_pods": st.integers(0, 2),
            "node": st.sampled_from(("one", "two", "three", "")),
            "protected": st.booleans(),
            "counts_as_gone": st.booleans(),
        }
    ),
    max_size=8,
)


@given(kind=st.sampled_from(BOTH_KINDS), fields=REPLICAS, data=st.data())
def test_the_eviction_order_does_not_depend_on_the_input_order(
    kind: str, fields: list[dict[str, Any]], data: st.DataObject
) -> None:
    replicas = [a_spot(f"api-{n}", owner=owner_of(kind), **one) for n, one in enumerate(fields)]
    observed = a_workload(kind=kind, replicas=8)
    shuffled = data.draw(st.permutations(replicas))
    assert order(of(observed, *replicas)) == order(of(observed, *shuffled))


def test_an_ordinal_is_relative_to_the_first_ordinal() -> None:
    assert ordinal("api-7", 0) == 7
    assert ordinal("api-v2-7", 5) == 2
    assert ordinal("api", 0) is None
    observed = with_workload(a_workload(kind=STATEFUL_SET, spot=20), first_ordinal=100)
    shifted = of(observed, *(a_spot(f"api-{100 + n}") for n in range(20)))
    assert order(shifted)[:3] == ["api-116", "api-113", "api-110"]


def test_unready_replacements_are_not_candidates() -> None:
    intent = Intent(pod="123456789", name="api-9", target=ON_DEMAND, instance="me")
    older = a_spot("older", ready=False, created_at=LONG_AGO)
    newer = a_spot("newer", ready=False, created_at=LONG_AGO + timedelta(hours=1))
    serves = a_spot("serves", created_at=LONG_AGO + timedelta(hours=2))
    observed = of(a_workload(spot=1), older, newer, serves)
    assert sorted(order(observed)) == ["newer", "older", "serves"]
    waiting = dataclasses.replace(observed, ledger=Ledger(intents=(intent,)))
    assert order(waiting) == ["older", "serves"]
