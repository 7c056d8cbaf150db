"""The moves to come: ``decide``, repeated until it has nothing to do or must wait for others."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from spotalis.model.decision import Reason
from spotalis.model.disruption import DisruptionWindow
from spotalis.model.ledger import Intent, Ledger
from spotalis.model.policy_values import FOREVER
from spotalis.planner.forecast import DEFAULT_START_TIME, Forecast, forecast, start_time_of
from spotalis.planner.observed import Observed
from tests.support.builders import (
    LONG_AGO,
    NOW,
    ON_DEMAND,
    a_budget,
    a_replica,
    a_workload,
    with_facts,
    with_replicas,
)

START = timedelta(seconds=20)


def of(observed: Observed) -> Forecast:
    return forecast(observed, NOW, START)


def test_a_balanced_workload_has_no_moves() -> None:
    found = of(a_workload(spot=7, on_demand=3))
    assert (found.steps, found.duration) == ((), timedelta(0))
    assert found.end.reason is Reason.BALANCED


@pytest.mark.parametrize(
    ("moves", "starts"), [(1, [0, 20, 40]), (2, [0, 20]), (20, [0])], ids=["one", "two", "all"]
)
def test_the_moves_go_at_the_pace_of_the_policy(moves: int, starts: list[int]) -> None:
    found = of(a_workload(spot=10, moves=moves))
    assert [step.after for step in found.steps] == [timedelta(seconds=s) for s in starts]
    assert len(found.moves) == 3
    assert len({move.pod.uid for move in found.moves}) == 3
    assert found.duration == timedelta(seconds=starts[-1]) + START
    assert found.end.reason is Reason.BALANCED


def test_a_budget_that_allows_nothing_ends_the_forecast() -> None:
    found = of(with_facts(a_workload(spot=10), budgets=(a_budget(allowed=0),)))
    assert found.steps == ()
    assert found.end.reason is Reason.BLOCKED_BY_PDB


def test_moves_wait_for_the_window_and_say_so() -> None:
    window = DisruptionWindow(
        schedule="0 12 * * *", duration=timedelta(hours=1), timezone=ZoneInfo("UTC")
    )
    found = of(a_workload(spot=8, on_demand=2, window=window))
    (step,) = found.steps
    assert step.after == timedelta(hours=2)
    assert step.waited_for is not None
    assert step.waited_for.reason is Reason.OUTSIDE_WINDOW


def test_a_pause_without_an_end_ends_the_forecast() -> None:
    found = of(a_workload(spot=10, paused_until=FOREVER))
    assert found.steps == ()
    assert found.end.reason is Reason.PAUSED


@pytest.mark.parametrize("probe", [False, True])
def test_open_moves_end_first_and_give_their_places_back(probe: bool) -> None:
    observed = a_workload(spot=10, moves=1)
    moving = observed.replicas[0]
    intent = Intent(
        pod=moving.pod.uid, name=moving.pod.name, target=ON_DEMAND, instance="other", probe=probe
    )
    observed = with_facts(
        with_replicas(observed, 0, counts_as_gone=True),
        ledger=Ledger(intents=(intent,)),
        moves_free=0,
        holders=frozenset({moving.pod.uid}),
        probe_free=not probe,
    )
    found = of(observed)
    assert [step.after for step in found.steps] == [START, 2 * START]
    assert found.steps[0].waited_for is not None
    assert found.steps[0].waited_for.message == "1 move in progress"
    assert moving.pod.name not in [move.pod.name for move in found.moves]
    assert found.end.reason is Reason.BALANCED


def test_a_replica_takes_the_median_time_of_the_workload_to_start() -> None:
    replicas = [
        a_replica(name=f"api-{n}", created_at=LONG_AGO, ready_at=LONG_AGO + timedelta(seconds=n))
        for n in (5, 9, 60)
    ]
    assert start_time_of(replicas) == timedelta(seconds=9)
    assert start_time_of([]) == DEFAULT_START_TIME
