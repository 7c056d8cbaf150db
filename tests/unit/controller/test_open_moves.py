"""How the places of the cluster-wide limit are divided between namespaces."""

from __future__ import annotations

import pytest

from spotalis.controller.open_moves import free_places


def moves(**counts: int) -> dict[str, set[str]]:
    return {name: {f"{name}-{number}" for number in range(n)} for name, n in counts.items()}


@pytest.mark.parametrize(
    ("open_moves", "limit", "is_shared", "free", "is_share"),
    [
        pytest.param(moves(), 20, False, 20, False, id="one namespace: all places"),
        pytest.param(moves(a=7), 20, False, 13, False, id="one namespace: what is left"),
        pytest.param(moves(a=20), 20, False, 0, False, id="one namespace: none is left"),
        pytest.param(moves(), 20, True, 10, True, id="several: half of the places"),
        pytest.param(moves(a=10), 20, True, 0, True, id="several: the share is used"),
        pytest.param(moves(b=10), 20, True, 10, False, id="several: the other half is free"),
        pytest.param(moves(b=30), 20, True, 10, False, id="more than a share takes no more"),
        pytest.param(moves(b=10, c=10), 20, True, 0, False, id="two others use both halves"),
        pytest.param(moves(a=2, b=10, c=5), 20, True, 3, False, id="the cluster is the limit"),
        pytest.param(moves(a=12, b=3), 20, True, -2, True, id="more than the share of its own"),
        pytest.param(moves(b=1), 1, True, 0, False, id="a single place is not divided"),
        pytest.param(moves(), 3, True, 2, True, id="half is rounded up"),
    ],
)
def test_a_namespace_uses_half_of_the_places_at_most(
    open_moves: dict[str, set[str]], limit: int, is_shared: bool, free: int, is_share: bool
) -> None:
    assert free_places(open_moves, "a", limit, is_shared=is_shared) == (free, is_share)
