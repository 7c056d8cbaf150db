"""Replicas that wait for a spot node, fall back to on-demand and return."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from spotalis.model.decision import Defer, Evict, Reason
from spotalis.model.disruption import DisruptionPolicy, MoveLimit
from spotalis.model.ledger import Ledger
from spotalis.model.objects import Requirement
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.decide import decide
from spotalis.planner.fallback import record_fallback, waiting_for_spot
from spotalis.planner.observed import Observed, VolumeCapacity
from spotalis.planner.placement import NewPod, place
from spotalis.planner.spot_knowledge import ALWAYS_SECONDS, NOTHING_KNOWN, SpotQuestion, SpotView
from tests.support.builders import (
    BOTH_KINDS,
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_workload,
    decision_of,
    is_on_demand,
    is_spot,
    owner_of,
    plan_of,
    with_configuration,
    with_facts,
    with_replicas,
)
from tests.unit.planner.ledgers import AVAILABLE, EXHAUSTED, an_exhausted_ledger, an_intent

TOO_LONG = timedelta(seconds=121)
"""A second longer than the default of spot-fallback."""
IN_ZONE_B = ((Requirement("topology.kubernetes.io/zone", "In", ("b",)),),)


def waits(observed: Observed, since: datetime | None = NOW - TOO_LONG) -> Observed:
    """The same workload, where every spot replica waits for a node."""
    return with_replicas(
        observed,
        is_spot,
        node="",
        phase="Pending",
        ready=False,
        unschedulable=True,
        unschedulable_since=since,
    )


class TestWaiting:
    def test_replicas_that_wait_longer_than_spot_fallback_are_due(self) -> None:
        found = waiting_for_spot(waits(a_workload(spot=7, on_demand=3)), NOW)
        assert len(found.due) == len(found.replicas) == 7

    def test_other_replicas_are_due_after_the_rest_of_spot_fallback(self) -> None:
        since = NOW - timedelta(seconds=100)
        found = waiting_for_spot(waits(a_workload(spot=7, on_demand=3), since), NOW)
        assert (len(found.due), found.due_in) == (0, timedelta(seconds=20))

    def test_without_a_transition_time_the_wait_starts_when_the_pod_is_first_seen(self) -> None:
        observed = waits(a_workload(spot=1, on_demand=1), None)
        (replica,) = waiting_for_spot(observed, NOW).replicas
        assert waiting_for_spot(observed, NOW).due == ()
        first_seen = {replica.pod.uid: NOW - TOO_LONG}
        seen = dataclasses.replace(observed, first_unschedulable=first_seen)
        assert waiting_for_spot(seen, NOW).due == (replica,)

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            pytest.param({"node_arriving": True}, "a spot node is starting", id="node starting"),
            pytest.param(
                {"on_demand_possible": False}, "no on-demand node could hold", id="spot only"
            ),
            pytest.param({"read_only": True}, "nothing may be changed", id="read-only"),
            pytest.param({"suspect_list": "x"}, "nothing may be changed", id="suspect list"),
            pytest.param({"synced": False}, "nothing may be changed", id="not synced"),
        ],
    )
    def test_no_clock_runs(self, facts: dict[str, Any], reason: str) -> None:
        found = waiting_for_spot(with_facts(waits(a_workload(spot=7, on_demand=3)), **facts), NOW)
        assert (found.due, found.due_in) == ((), None)
        assert reason in found.reason

    @pytest.mark.parametrize(
        ("in_zone_b", "due", "reason"),
        [
            pytest.param(VolumeCapacity(where="in b"), 7, "", id="on-demand can hold the pod"),
            pytest.param(
                VolumeCapacity(where="in b", node_types={SPOT}),
                5,
                "no on-demand node in b could hold the pod either",
                id="the zone has no on-demand node",
            ),
            pytest.param(
                VolumeCapacity(where="in b", node_arriving=True),
                5,
                "a spot node in b is starting",
                id="a node is starting in the zone",
            ),
        ],
    )
    def test_the_clock_depends_on_the_nodes_that_can_attach_the_volume(
        self, in_zone_b: VolumeCapacity, due: int, reason: str
    ) -> None:
        observed = waits(a_workload(spot=7, on_demand=3, by_volume={IN_ZONE_B: in_zone_b}))
        with_volume = [i for i, r in enumerate(observed.replicas) if r.node_type is SPOT][:2]
        observed = with_replicas(observed, with_volume, volume_affinity=IN_ZONE_B)
        found = waiting_for_spot(observed, NOW)
        assert (len(found.replicas), len(found.due), found.reason) == (7, due, reason)

    def test_a_replica_with_a_volume_falls_back_even_if_others_can_run_on_spot_only(self) -> None:
        capacity = {IN_ZONE_B: VolumeCapacity(where="in b")}
        observed = a_workload(spot=1, on_demand=1, on_demand_possible=False, by_volume=capacity)
        assert waiting_for_spot(waits(observed), NOW).due == ()
        observed = with_replicas(waits(observed), is_spot, volume_affinity=IN_ZONE_B)
        assert len(waiting_for_spot(observed, NOW).due) == 1

    def test_with_spot_fallback_never_no_replica_is_due(self) -> None:
        observed = waits(a_workload(spot=7, on_demand=3))
        observed = with_configuration(observed, spot_fallback=timedelta.max)
        assert waiting_for_spot(observed, NOW).due == ()

    def test_a_rollout_does_not_stop_the_fallback(self) -> None:
        observed = waits(a_workload(spot=7, on_demand=3))
        workload = msgspec.structs.replace(observed.workload, updated_replicas=1, generation=9)
        observed = dataclasses.replace(observed, workload=workload)
        assert len(waiting_for_spot(observed, NOW).due) == 7

    def test_a_replica_pinned_by_the_template_does_not_fall_back(self) -> None:
        observed = with_replicas(waits(a_workload(spot=2, on_demand=1)), is_spot, user_pinned=True)
        assert waiting_for_spot(observed, NOW).replicas == ()

    def test_a_replica_with_an_announced_node_is_not_due(self) -> None:
        waiting = waiting_for_spot(waits(a_workload(spot=2, on_demand=1)), NOW)
        first, second = waiting.due
        announced = waiting.with_autoscaler({first.pod.uid})
        assert (announced.due, announced.announced) == ((second,), (first,))

    def test_a_workload_that_waits_for_spot_is_not_balanced(self) -> None:
        since = NOW - timedelta(seconds=100)
        decision = decision_of(waits(a_workload(spot=7, on_demand=3), since))
        assert isinstance(decision, Defer)
        assert decision.reason is Reason.NO_SPOT_CAPACITY
        assert decision.message == (
            "7 spot replicas wait for a node; the next one starts on on-demand in 20 s"
        )
        assert decision.requeue_after == timedelta(seconds=20)


class TestLedger:
    def test_a_fallback_of_a_workload_without_moves_changes_no_ledger(self) -> None:
        found = waiting_for_spot(waits(a_workload(spot=7, on_demand=3)), NOW)
        assert record_fallback(Ledger(), found.due, NOW) == Ledger()

    def test_a_probe_that_falls_back_is_over(self) -> None:
        ledger = Ledger(intents=(an_intent(probe=True),))
        observed = with_replicas(waits(a_workload(spot=1)), is_spot, move="api-3-ui")
        assert record_fallback(ledger, waiting_for_spot(observed, NOW).due, NOW) == Ledger()

    def test_a_move_that_falls_back_was_futile(self) -> None:
        ledger = Ledger(intents=(an_intent(),))
        observed = with_replicas(waits(a_workload(spot=1)), is_spot, move="api-3-ui")
        after = record_fallback(ledger, waiting_for_spot(observed, NOW).due, NOW)
        assert after == Ledger(futile_moves=1)


class TestEvidence:
    def test_replicas_that_waited_say_how_long(self) -> None:
        (record,) = plan_of(waits(a_workload(spot=7, on_demand=3))).learned
        assert (record.at, record.waited_seconds, record.failed_probes) == (NOW, 120, 1)
        assert record.cause == "7 replicas waited 121 s"

    @pytest.mark.parametrize(
        ("is_probe", "failed_probes"), [pytest.param(True, 2, id="probe"), (False, 1)]
    )
    def test_only_a_probe_that_falls_back_doubles_the_wait_for_the_next_probe(
        self, is_probe: bool, failed_probes: int
    ) -> None:
        ledger = Ledger(intents=(an_intent(probe=is_probe),))
        observed = with_replicas(waits(a_workload(spot=1)), is_spot, move="api-3-ui")
        (record,) = plan_of(with_facts(observed, ledger=ledger, spot_view=EXHAUSTED)).learned
        assert record.failed_probes == failed_probes

    def test_a_replica_with_a_volume_says_nothing_about_other_workloads(self) -> None:
        capacity = {IN_ZONE_B: VolumeCapacity(where="in b")}
        observed = waits(a_workload(spot=1, on_demand=1, by_volume=capacity))
        question = SpotQuestion(shape="shared", own="own")
        observed = with_facts(observed, spot_view=SpotView(question=question))
        assert [record.shape for record in plan_of(observed).learned] == ["shared"]
        observed = with_replicas(observed, is_spot, volume_affinity=IN_ZONE_B)
        assert [record.shape for record in plan_of(observed).learned] == ["own"]
        unbound = with_replicas(observed, is_spot, volume_affinity=(), claims=("data",))
        assert [record.shape for record in plan_of(unbound).learned] == ["own"]

    def test_replicas_that_the_autoscaler_refuses_fall_back_at_once(self) -> None:
        observed = waits(a_workload(spot=2, on_demand=1), NOW - timedelta(seconds=3))
        waiting = waiting_for_spot(observed, NOW)
        first, second = waiting.replicas
        refused = {first.pod.uid: "karpenter says: no", second.pod.uid: "karpenter says: no"}
        found = waiting.with_autoscaler({second.pod.uid}, refused)
        assert (found.due, found.announced) == ((first,), (second,))
        plan = decide(observed, found, now=NOW, instance="me", can_evict=True)
        assert plan.decision.message == (
            "no spot node for 1 replica: karpenter says: no; starting on on-demand"
        )
        assert [(r.waited_seconds, r.cause) for r in plan.learned] == [
            (ALWAYS_SECONDS, "karpenter says: no")
        ]

    def test_a_refusal_does_not_start_a_clock_that_does_not_run(self) -> None:
        observed = with_facts(waits(a_workload(spot=2, on_demand=1)), node_arriving=True)
        waiting = waiting_for_spot(observed, NOW)
        refused = {replica.pod.uid: "no" for replica in waiting.replicas}
        assert waiting.with_autoscaler(set(), refused).due == ()

    def test_the_ledger_of_an_older_version_is_taken_over_and_cleared(self) -> None:
        ledger = an_exhausted_ledger(failed_probes=2, next_probe_at=NOW + timedelta(minutes=4))
        plan = plan_of(after_fallback(free=0, ledger=ledger))
        assert plan.ledger.spot_availability is SpotAvailability.UNKNOWN
        assert (plan.ledger.failed_probes, plan.ledger.next_probe_at) == (0, None)
        (record,) = plan.learned
        assert (record.at, record.failed_probes) == (NOW - timedelta(minutes=6), 2)


class TestPlacement:
    @pytest.mark.parametrize("kind", BOTH_KINDS)
    def test_while_spot_is_exhausted_a_spot_slot_starts_on_on_demand(self, kind: str) -> None:
        observed = a_workload(kind=kind, on_demand=3, replicas=10)
        pod = NewPod(owner=owner_of(kind).uid, name="api-4" if kind == STATEFUL_SET else "")
        before = place(observed, pod)
        after = place(with_facts(observed, spot_view=EXHAUSTED), pod)
        assert (before.node_type, after.node_type) == (SPOT, ON_DEMAND)
        assert after.rule == "fallback"
        assert after.slot == before.slot

    @pytest.mark.parametrize("kind", BOTH_KINDS)
    def test_while_spot_is_exhausted_only_the_replacement_of_a_move_goes_to_spot(
        self, kind: str
    ) -> None:
        ledger = Ledger(intents=(an_intent(probe=True),))
        observed = with_replicas(a_workload(kind=kind, on_demand=10), 3, counts_as_gone=True)
        observed = with_facts(observed, ledger=ledger, spot_view=EXHAUSTED)
        pod = NewPod(owner=owner_of(kind).uid, name="api-3" if kind == STATEFUL_SET else "")
        first = place(observed, pod)
        assert (first.node_type, first.move) == (SPOT, "api-3-ui")
        replaced = with_replicas(observed, 9, node_type=SPOT, move="api-3-ui")
        assert place(replaced, pod).node_type is ON_DEMAND

    def test_a_move_whose_pod_still_runs_has_no_replacement(self) -> None:
        ledger = Ledger(intents=(an_intent(),))
        observed = a_workload(on_demand=10, replicas=12, ledger=ledger, spot_view=EXHAUSTED)
        assert place(observed, NewPod(owner=owner_of("Deployment").uid)).rule == "fallback"


def after_fallback(**facts: Any) -> Observed:
    """Ten replicas on on-demand, seven of which fell back."""
    observed = with_replicas(a_workload(on_demand=10, moves=9), range(3, 10), rule="fallback")
    return with_facts(observed, **({"spot_view": EXHAUSTED} | facts))


UP_TO_10 = DisruptionPolicy(moves_in_flight=MoveLimit(count=10))


def probes(observed: Observed) -> list[bool]:
    """Of each move whether it is a probe."""
    decision = decision_of(observed)
    assert isinstance(decision, Evict)
    return [move.probe for move in decision.moves]


class TestReturn:
    def test_as_many_replicas_return_as_fit(self) -> None:
        assert probes(after_fallback(free=4)) == [False] * 4

    def test_without_evidence_one_replica_probes(self) -> None:
        assert probes(after_fallback(free=0)) == [True]

    def test_only_one_probe_runs_in_the_cluster(self) -> None:
        decision = decision_of(after_fallback(free=0, probe_free=False))
        assert isinstance(decision, Defer)
        assert decision.reason is Reason.NO_SPOT_CAPACITY

    def test_a_failed_probe_delays_the_next_one(self) -> None:
        due_at = NOW + timedelta(minutes=4)
        view = dataclasses.replace(EXHAUSTED, next_probe_at=due_at)
        decision = decision_of(after_fallback(free=0, spot_view=view))
        assert isinstance(decision, Defer)
        assert decision.requeue_after == timedelta(minutes=4)
        assert decision.message == (
            "7 replicas to move from on-demand to spot; no Ready spot node has free resources for "
            "it; spot has been exhausted since 2026-11-23T09:54:00Z (7 replicas waited 120 s); "
            "next probe in 240 s"
        )

    def test_a_spot_node_that_joins_after_the_failed_wait_makes_spot_available_even_if_it_is_full(
        self,
    ) -> None:
        view = dataclasses.replace(EXHAUSTED, next_probe_at=NOW + timedelta(minutes=4))
        before, after = NOW - timedelta(minutes=7), NOW - timedelta(seconds=30)
        observed = after_fallback(free=0, spot_view=view, recent_pods=32)
        assert isinstance(decision_of(with_facts(observed, node_joined_at=before)), Defer)
        plan = plan_of(with_facts(observed, node_joined_at=after))
        assert isinstance(plan.decision, Evict)
        assert [move.probe for move in plan.decision.moves] == [False] * 7
        assert plan.decision.message == (
            "7 replicas to move from on-demand to spot; 32 pods got spot nodes in the last 10 "
            "minutes"
        )
        assert [(record.found, record.at) for record in plan.learned] == [(True, after)]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"ready": False}, id="not ready"),
            pytest.param({"node": "", "phase": "Pending", "ready": False}, id="pending"),
        ],
    )
    def test_no_probe_starts_while_a_replica_is_missing(self, change: dict[str, Any]) -> None:
        decision = decision_of(with_replicas(after_fallback(free=0), 0, **change))
        assert isinstance(decision, Defer)
        assert decision.reason is Reason.NO_SPOT_CAPACITY
        assert "no probe while 1 of 10 replicas are missing" in decision.message

    def test_a_replica_that_has_no_on_demand_node_either_probes_while_others_are_missing(
        self,
    ) -> None:
        pending: dict[str, Any] = {
            "node": "",
            "phase": "Pending",
            "ready": False,
            "unschedulable": True,
        }
        observed = with_replicas(after_fallback(free=0), [8, 9], **pending)
        decision = decision_of(with_configuration(observed, disruption=UP_TO_10))
        assert isinstance(decision, Evict)
        assert [(move.pod.name, move.probe) for move in decision.moves] == [("api-9", True)]

    def test_after_a_successful_probe_all_replicas_return(self) -> None:
        assert probes(after_fallback(free=0, spot_view=AVAILABLE)) == [False] * 7

    def test_karpenter_is_evidence_until_spot_is_exhausted(self) -> None:
        unknown = after_fallback(free=0, has_provisioner=True, spot_view=NOTHING_KNOWN)
        assert probes(unknown) == [False] * 7
        assert probes(after_fallback(free=0, has_provisioner=True)) == [True]

    def test_fallback_replicas_that_wait_for_an_on_demand_node_return_first(self) -> None:
        pending: dict[str, Any] = {"node": "", "phase": "Pending", "ready": False}
        decision = decision_of(with_replicas(after_fallback(free=9), range(3, 10), **pending))
        assert isinstance(decision, Evict)
        assert [move.pod.ready for move in decision.moves] == [False] * 7

    def test_no_ready_replica_probes_for_fallback_replicas_that_wait_for_a_node(self) -> None:
        pending: dict[str, Any] = {"node": "", "phase": "Pending", "ready": False}
        observed = with_replicas(after_fallback(free=0), range(3, 10), **pending)
        decision = decision_of(with_configuration(observed, disruption=UP_TO_10))
        assert isinstance(decision, Defer)
        assert decision.reason is Reason.NO_SPOT_CAPACITY

    def test_replicas_with_a_spot_slot_return_first(self) -> None:
        observed = after_fallback(free=2)
        assert all(is_on_demand(replica) for replica in observed.replicas)
        decision = decision_of(observed)
        assert isinstance(decision, Evict)
        assert [move.pod.name for move in decision.moves] == ["api-9", "api-8"]
