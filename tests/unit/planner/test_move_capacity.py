"""Moves that the capacity of on-demand nodes, or replicas that wait, prevent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spotalis.model.decision import Defer, Evict, Reason
from tests.support.builders import (
    NOW,
    a_workload,
    decision_of,
    is_on_demand,
    with_configuration,
    with_facts,
    with_replicas,
)


class TestOnDemandCapacity:
    @pytest.mark.parametrize(
        ("moves", "waited", "reason", "again_in"),
        [
            (5, 29, None, None),
            (5, 30, Reason.NO_ON_DEMAND_CAPACITY, None),
            (1, 29, Reason.MOVES_IN_FLIGHT, timedelta(seconds=1)),
            (1, 30, Reason.NO_ON_DEMAND_CAPACITY, None),
        ],
    )
    def test_no_further_replica_moves_while_one_waits_for_an_on_demand_node(
        self, moves: int, waited: int, reason: Reason | None, again_in: timedelta | None
    ) -> None:
        observed = with_replicas(
            with_configuration(
                a_workload(spot=8, on_demand=2, moves=moves), spot_fallback=timedelta(seconds=30)
            ),
            is_on_demand,
            unschedulable=True,
            unschedulable_since=NOW - timedelta(seconds=waited),
            node="",
            phase="Pending",
            ready=False,
        )
        decision = decision_of(observed)
        if reason is None:
            assert isinstance(decision, Evict)
            return
        assert isinstance(decision, Defer)
        assert (decision.reason, decision.requeue_after) == (reason, again_in)
        assert decision.message.startswith("1 replica to move from spot to on-demand; ")

    def test_ready_replicas_stay_if_no_on_demand_node_could_hold_them(self) -> None:
        observed = a_workload(spot=10, on_demand_could_hold=False)
        decision = decision_of(observed)
        assert isinstance(decision, Defer)
        assert decision.reason is Reason.NO_ON_DEMAND_CAPACITY
        assert decision.message == (
            "3 replicas to move from spot to on-demand; no on-demand node could hold the pod"
        )
        assert isinstance(decision_of(with_facts(observed, on_demand_could_hold=True)), Evict)

    @pytest.mark.parametrize(
        ("patience", "waited", "reason"),
        [
            (timedelta(seconds=30), 29, Reason.WAITING_FOR_PODS),
            (timedelta(seconds=30), 30, Reason.NO_ON_DEMAND_CAPACITY),
            (timedelta.max, 119, Reason.WAITING_FOR_PODS),
            (timedelta.max, 120, Reason.NO_ON_DEMAND_CAPACITY),
        ],
    )
    def test_replicas_that_wait_for_an_on_demand_node_are_reported(
        self, patience: timedelta, waited: int, reason: Reason
    ) -> None:
        since = NOW - timedelta(seconds=waited)
        pending: dict[str, Any] = {"node": "", "phase": "Pending", "ready": False}
        observed = with_replicas(
            with_configuration(a_workload(spot=7, on_demand=3), spot_fallback=patience),
            is_on_demand,
            unschedulable=True,
            unschedulable_since=since,
            **pending,
        )
        decision = decision_of(observed)
        assert isinstance(decision, Defer)
        assert decision.reason is reason
        left = None if reason is Reason.NO_ON_DEMAND_CAPACITY else timedelta(seconds=1)
        assert decision.requeue_after == left


@pytest.mark.parametrize(
    ("unjudged", "fallback", "moves", "probe"),
    [
        ("", timedelta(minutes=2), 5, False),
        ("resource claims", timedelta(minutes=2), 1, True),
        # A probe would wait forever if it failed, and the provisioner judges all constraints.
        ("resource claims", timedelta.max, 5, False),
    ],
)
def test_beside_a_provisioner_what_cannot_be_judged_begins_with_a_probe(
    unjudged: str, fallback: timedelta, moves: int, probe: bool
) -> None:
    observed = with_configuration(
        a_workload(on_demand=10, percent=70, moves=5), spot_fallback=fallback
    )
    decision = decision_of(
        with_facts(observed, free=0, has_provisioner=True, unjudged=unjudged), NOW
    )
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [probe] * moves
