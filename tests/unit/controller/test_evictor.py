"""How many ready pods may be evicted at once, according to the list that authorizes evictions."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from spotalis.controller.evictor import _ready_pods_left
from spotalis.model.ledger import Intent, Ledger
from tests.support.builders import SPOT, a_pod, a_workload

INTENT = Intent(pod="evicted-uid", name="api-9", target=SPOT, instance="me")


@pytest.mark.parametrize(
    ("limit", "ready", "unready", "replacements", "left"),
    [
        pytest.param(
            2,
            10,
            0,
            0,
            1,
            id="all are ready, one of them a replacement without an admission request",
        ),
        pytest.param(2, 9, 1, 0, 1, id="one is not ready"),
        pytest.param(2, 8, 0, 0, 0, id="two are missing"),
        pytest.param(2, 5, 5, 0, -3, id="half are missing"),
        pytest.param(2, 9, 0, 1, 1, id="a replacement is ready and its move is open"),
        pytest.param(2, 8, 0, 2, 0, id="two replacements are ready"),
    ],
)
def test_missing_pods_and_open_moves_use_the_limit(
    limit: int, ready: int, unready: int, replacements: int, left: int
) -> None:
    observed = a_workload(on_demand=10, moves=limit)
    pods = [a_pod(f"api-{number}") for number in range(ready)]
    pods += [a_pod(f"sick-{number}", ready=False) for number in range(unready)]
    pods += [a_pod(f"new-{number}", move=INTENT.move) for number in range(replacements)]
    assert _ready_pods_left(observed, Ledger(intents=(INTENT,)), pods) == left


def test_without_open_moves_the_limit_is_free() -> None:
    observed = a_workload(on_demand=10, moves=2)
    assert (
        _ready_pods_left(observed, Ledger(), [a_pod(f"api-{number}") for number in range(10)]) == 2
    )


def test_pods_of_other_owners_and_finished_pods_do_not_count_as_ready() -> None:
    observed = a_workload(on_demand=2, moves=1)
    stranger = msgspec.structs.replace(a_pod("other"), owner=None)
    finished = a_pod("done", phase="Succeeded")
    assert _ready_pods_left(observed, Ledger(), [a_pod("api-0"), stranger, finished]) == 0


def test_an_ordered_stateful_set_moves_one_at_a_time() -> None:
    observed = a_workload(kind="StatefulSet", on_demand=3, moves=9, ordered=True)
    pods = [r.pod for r in observed.replicas]
    assert _ready_pods_left(observed, Ledger(), pods) == 1
    assert _ready_pods_left(dataclasses.replace(observed), Ledger(), pods[1:]) == 0
