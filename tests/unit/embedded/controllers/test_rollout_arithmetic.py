"""The arithmetic of rollouts, with the examples of upstream's tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.embedded.controllers.rollout_arithmetic import (
    Limits,
    Size,
    limits,
    next_new_size,
    next_old_sizes,
    proportional_sizes,
)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        pytest.param(10, "25%", "25%", (3, 2), id="surge rounds up, unavailable rounds down"),
        pytest.param(2, "0%", "1%", (0, 1), id="two zeros by rounding become one unavailable"),
        pytest.param(1, "0%", "1%", (0, 1), id="so do two zeros of one replica"),
        pytest.param(2, "1%", "25%", (1, 0), id="a surge that rounds up to one is enough"),
        pytest.param(4, 0, 9, (0, 4), id="unavailable is at most the number of replicas"),
        pytest.param(0, "25%", "25%", (0, 0), id="no replicas"),
        pytest.param(3, 1, 0, (1, 0), id="numbers are not rounded"),
    ],
)
def test_surge_and_unavailable_are_resolved_together(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    bounds = limits(replicas, surge, unavailable)
    assert (bounds.surge, bounds.unavailable) == expected


def test_recreate_has_neither_surge_nor_unavailable() -> None:
    assert limits(5, "25%", "25%", rolling=False) == Limits(replicas=5)


@pytest.mark.parametrize(
    ("new", "total", "expected"),
    [
        pytest.param(0, 10, 3, id="starts with the surge"),
        pytest.param(3, 13, 3, id="waits at the maximum"),
        pytest.param(3, 11, 5, id="uses what the old sets have given up"),
        pytest.param(9, 9, 10, id="grows to the desired size at most"),
        pytest.param(12, 12, 10, id="shrinks to the desired size"),
    ],
)
def test_the_new_replicaset_grows_up_to_the_surge(new: int, total: int, expected: int) -> None:
    assert next_new_size(limits(10, "25%", "25%"), new, total) == expected


def test_unhealthy_pods_of_the_oldest_replicaset_are_removed_first() -> None:
    bounds = Limits(replicas=10, surge=3, unavailable=2)
    old = [
        Size(name="b", replicas=4, available=4, created="2"),
        Size(name="a", replicas=6, available=3, created="1"),
    ]
    new = Size(name="c", replicas=3, available=0, created="3")
    assert next_old_sizes(bounds, new, old) == {"a": 4}


def test_a_crashing_new_replicaset_does_not_shrink_the_old_one_further() -> None:
    bounds = Limits(replicas=10, surge=3, unavailable=2)
    old = [Size(name="old", replicas=8, available=7)]
    new = Size(name="new", replicas=5, available=0)
    assert next_old_sizes(bounds, new, old) == {}


def test_a_second_rollout_removes_the_unavailable_pods_of_the_first() -> None:
    bounds = Limits(replicas=10, surge=3, unavailable=2)
    old = [
        Size(name="good", replicas=8, available=8, created="1"),
        Size(name="crashing", replicas=5, available=0, created="2"),
    ]
    assert next_old_sizes(bounds, Size(name="new", replicas=0), old) == {"crashing": 0}


def test_nothing_shrinks_while_a_status_is_older_than_its_spec() -> None:
    bounds = Limits(replicas=10, surge=3, unavailable=2)
    old = [Size(name="old", replicas=8, available=10)]
    assert next_old_sizes(bounds, Size(name="new", replicas=3, available=3), old) == {}


@given(
    replicas=st.integers(1, 40),
    surge=st.integers(0, 100),
    unavailable=st.integers(0, 100),
    ready_at_once=st.integers(1, 10),
)
def test_every_rollout_ends_and_stays_within_its_bounds(
    replicas: int, surge: int, unavailable: int, ready_at_once: int
) -> None:
    bounds = limits(replicas, f"{surge}%", f"{unavailable}%")
    old, new, available = replicas, 0, 0
    for _ in range(20 * replicas + 20):
        if (old, new, available) == (0, replicas, replicas):
            break
        assert old + new <= bounds.max_total
        assert old + available >= bounds.min_available
        bigger = next_new_size(bounds, new, old + new)
        if bigger != new:
            new = bigger
            continue
        sizes = [Size(name="old", replicas=old, available=old)] if old else []
        smaller = next_old_sizes(bounds, Size(name="new", replicas=new, available=available), sizes)
        if smaller:
            old = smaller["old"]
            continue
        available = min(new, available + ready_at_once)
    assert (old, new, available) == (0, replicas, replicas)


@pytest.mark.parametrize(
    ("replicas", "sizes", "expected"),
    [
        pytest.param(
            15,
            {"new": (5, 13), "old": (8, 13)},
            {"new": 7, "old": 11},
            id="the example in the Kubernetes documentation",
        ),
        pytest.param(
            15,
            {"new": (3, 13), "old": (8, 13)},
            {"new": 4, "old": 14},
            id="the largest set gets the rest",
        ),
        pytest.param(
            5,
            {"new": (3, 13), "old": (8, 13)},
            {"new": 3, "old": 5},
            id="the largest set shrinks first",
        ),
        pytest.param(0, {"new": (3, 13), "old": (8, 13)}, {"new": 0, "old": 0}, id="to zero"),
        pytest.param(
            10, {"new": (5, 13), "old": (8, 13)}, {"new": 5, "old": 8}, id="nothing to add"
        ),
    ],
)
def test_scaling_during_a_rollout_is_proportional(
    replicas: int, sizes: dict[str, tuple[int, int]], expected: dict[str, int]
) -> None:
    bounds = Limits(replicas=replicas, surge=3, unavailable=2)
    given_sizes = [
        Size(name=name, replicas=size, max_replicas=maximum, created=name)
        for name, (size, maximum) in sizes.items()
    ]
    assert proportional_sizes(bounds, given_sizes, 11) == expected
