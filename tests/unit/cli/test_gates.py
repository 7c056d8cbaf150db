"""The object or condition that a workload, and each planned move, waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spotalis.cli.next_commands import next_commands
from spotalis.cli.output import Style
from spotalis.cli.plan import plan_text
from spotalis.cli.views import WorkloadPlan, workload_plan, workload_split
from spotalis.cli.waiting import _WORDS, last_move_at, waiting_for
from spotalis.model.decision import Decision, Defer, Evict, Hold, Reason
from spotalis.model.ledger import Intent, Ledger
from spotalis.model.objects import DisruptionBudget
from spotalis.model.policy_values import FOREVER
from spotalis.planner.forecast import forecast
from spotalis.planner.observed import Observed
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    a_budget,
    a_workload,
    decision_of,
    plan_of,
    with_configuration,
    with_facts,
    with_replicas,
)

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        pytest.param(Hold(Reason.BALANCED, ""), "", id="nothing to wait for"),
        pytest.param(Evict((), Reason.REBALANCING, ""), "", id="it moves now"),
        pytest.param(Defer(Reason.NOT_MANAGED, ""), "", id="not managed"),
        pytest.param(Defer(Reason.PAUSED, ""), "pause", id="forever"),
        pytest.param(Defer(Reason.PAUSED, "", 3 * HOUR), "pause-3h", id="until a time"),
        pytest.param(Defer(Reason.OUTSIDE_WINDOW, "", 4 * HOUR), "window-4h", id="window"),
        pytest.param(
            Defer(Reason.COOLDOWN, "", timedelta(seconds=18)), "cooldown-18s", id="cooldown"
        ),
        pytest.param(
            Defer(Reason.FUTILE, "", timedelta(minutes=4)), "backoff-4m", id="futile moves"
        ),
        pytest.param(
            Defer(Reason.BLOCKED_BY_PDB, "", HOUR, gate="pdb/kafka"), "pdb/kafka", id="an object"
        ),
    ],
)
def test_the_column_names_what_a_workload_waits_for(decision: Decision, text: str) -> None:
    assert waiting_for(decision) == text


def test_every_reason_that_defers_has_a_word_or_an_object() -> None:
    objects = {Reason.BLOCKED_BY_PDB, Reason.EVICTION_REFUSED}
    assert set(Reason) - objects - {Reason.BALANCED, Reason.NOT_MANAGED} == set(_WORDS)


@pytest.mark.parametrize(
    ("budgets", "gate"),
    [
        ([a_budget(allowed=0, name="strict")], "pdb/strict"),
        ([a_budget(name="b"), a_budget(name="a")], "pdb/a,pdb/b"),
    ],
)
def test_a_blocked_workload_names_its_budgets(budgets: list[DisruptionBudget], gate: str) -> None:
    decision = decision_of(a_workload(spot=10, budgets=budgets))
    assert (decision.reason, waiting_for(decision)) == (Reason.BLOCKED_BY_PDB, gate)


def test_the_last_move_is_that_of_the_youngest_replacement_or_of_an_open_move() -> None:
    balanced = a_workload(spot=7, on_demand=3)
    assert last_move_at(balanced) is None
    replaced = with_replicas(balanced, [2], move="move-1", created_at=NOW - HOUR)
    replaced = with_replicas(replaced, [5], move="move-2", created_at=NOW - 2 * HOUR)
    assert last_move_at(replaced) == NOW - HOUR
    intent = Intent(
        pod="gone", name="api-9", target=ON_DEMAND, instance="me", created_at=NOW - HOUR / 2
    )
    moving = with_facts(replaced, ledger=Ledger(intents=(intent,)))
    assert last_move_at(moving) == NOW - HOUR / 2


def planned(observed: Observed) -> WorkloadPlan:
    found = forecast(observed, NOW, timedelta(seconds=20))
    return workload_plan(workload_split(plan_of(observed), NOW), found, observed.budgets)


def test_every_planned_move_names_the_objects_that_gate_it() -> None:
    plan = planned(a_workload(spot=10, budgets=[a_budget(name="strict")]))
    pods = [move.pod for move in plan.moves]
    assert [move.gates for move in plan.moves] == [
        ["pdb/strict"],
        [f"pod/{pods[0]}", "pdb/strict"],
        [f"pod/{pods[1]}", "pdb/strict"],
    ]
    ends = [line.partition("  from ")[2] for line in plan_text([plan], Style()).splitlines()[1:4]]
    assert ends == [
        f"node-of-{pods[0]}  if pdb/strict allows",
        f"node-of-{pods[1]}  after pod/{pods[0]}, if pdb/strict allows",
        f"node-of-{pods[2]}  after pod/{pods[1]}, if pdb/strict allows",
    ]


def test_a_move_after_several_names_the_first_of_them() -> None:
    plan = planned(a_workload(spot=10, moves=2))
    first = plan.moves[0].pod
    assert plan.moves[2].gates == [f"pod/{move.pod}" for move in plan.moves[:2]]
    assert f"  after pod/{first} and 1 more\n" in plan_text([plan], Style())


def test_a_move_after_a_pause_names_the_reason_and_no_earlier_pod() -> None:
    paused = a_workload(spot=10, moves=20, paused_until=NOW + HOUR)
    plan = planned(paused)
    assert [(move.waits_for, move.gates) for move in plan.moves] == [("Paused", [])] * 3
    assert plan_text([plan], Style()).count("  after Paused\n") == 3
    assert workload_split(plan_of(paused), NOW).waiting_for == "pause-60m"


@pytest.mark.parametrize(
    ("source", "command"),
    [
        (
            "annotation on deploy/api",
            "End the pause: spotalis resume deploy/api -n shop --context c",
        ),
        (
            "annotation on namespace/shop",
            "End the pause of the namespace: spotalis resume ns/shop --context c",
        ),
        (
            "annotation on namespace/spotalis-system",
            "End the pause of the cluster: spotalis resume --all --context c",
        ),
    ],
)
def test_a_paused_workload_names_the_command_that_ends_the_pause(source: str, command: str) -> None:
    paused = a_workload(spot=10, paused_until=FOREVER)
    paused = with_configuration(paused, sources={"paused-until": source})
    split = workload_split(plan_of(paused), NOW)
    found = next_commands(
        split, moves=False, operator_namespace="spotalis-system", flags=" --context c"
    )
    assert list(found) == [command]


def test_a_pause_in_the_settings_has_no_command() -> None:
    paused = a_workload(spot=10, paused_until=FOREVER)
    split = workload_split(plan_of(paused), NOW)
    assert split.status == "Paused"
    assert not list(next_commands(split, moves=False, operator_namespace="", flags=""))


def test_moves_to_come_can_be_seen_and_stopped() -> None:
    split = workload_split(plan_of(a_workload(spot=10)), NOW)
    assert list(next_commands(split, moves=True, operator_namespace="", flags="")) == [
        "See all moves: spotalis plan deploy/api -n shop",
        "Stop them: spotalis pause deploy/api -n shop --for 1h",
    ]
