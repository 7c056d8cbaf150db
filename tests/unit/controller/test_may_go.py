"""How many replicas that serve may go at once, by what the list that authorises shows."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from spotalis.controller.evictor import _may_go
from spotalis.model.ledger import Intent, Ledger
from tests.support.builders import SPOT, a_pod, a_workload

INTENT = Intent(pod="evicted-uid", name="api-9", target=SPOT, instance="me")


@pytest.mark.parametrize(
    ("limit", "ready", "unready", "replacements", "may_go"),
    [
        pytest.param(
            2, 10, 0, 0, 1, id="all serve, one of them unreviewed in the place of one that went"
        ),
        pytest.param(2, 9, 1, 0, 1, id="one does not"),
        pytest.param(2, 8, 0, 0, 0, id="two are missing"),
        pytest.param(2, 5, 5, 0, -3, id="half are missing"),
        pytest.param(2, 9, 0, 1, 1, id="a replacement serves, and its move is not over"),
        pytest.param(2, 8, 0, 2, 0, id="two of them"),
    ],
)
def test_what_is_missing_and_what_is_not_over_is_in_flight(
    limit: int, ready: int, unready: int, replacements: int, may_go: int
) -> None:
    observed = a_workload(on_demand=10, moves=limit)
    pods = [a_pod(f"api-{number}") for number in range(ready)]
    pods += [a_pod(f"sick-{number}", ready=False) for number in range(unready)]
    pods += [a_pod(f"new-{number}", move=INTENT.move) for number in range(replacements)]
    assert _may_go(observed, Ledger(intents=(INTENT,)), pods) == may_go


def test_where_nothing_is_open_and_all_serve_as_many_may_go_as_are_allowed() -> None:
    observed = a_workload(on_demand=10, moves=2)
    assert _may_go(observed, Ledger(), [a_pod(f"api-{number}") for number in range(10)]) == 2


def test_pods_of_others_and_finished_ones_serve_nobody() -> None:
    observed = a_workload(on_demand=2, moves=1)
    stranger = msgspec.structs.replace(a_pod("other"), owner=None)
    finished = a_pod("done", phase="Succeeded")
    assert _may_go(observed, Ledger(), [a_pod("api-0"), stranger, finished]) == 0


def test_an_ordered_stateful_set_moves_one_at_a_time() -> None:
    observed = a_workload(kind="StatefulSet", on_demand=3, moves=9, ordered=True)
    pods = [r.pod for r in observed.replicas]
    assert _may_go(observed, Ledger(), pods) == 1
    assert _may_go(dataclasses.replace(observed), Ledger(), pods[1:]) == 0
