"""What PodDisruptionBudgets allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from spotalis.model.objects import DisruptionBudget, LabelSelector, Pod, Requirement
from spotalis.planner.budget import MAX_COMPARISONS, DisruptionBudgets
from tests.support.builders import a_budget, a_pod

EVERYTHING = LabelSelector()
BOTH = [a_budget(9, name="b"), a_budget(9, name="a")]
TWO = "pod api-0 has more than one PodDisruptionBudget: a, b"


@pytest.mark.parametrize(
    ("pod", "budgets", "refusal"),
    [
        pytest.param(a_pod(), [], "", id="no budget"),
        pytest.param(a_pod(), [a_budget(1)], "", id="one allowed"),
        pytest.param(a_pod(), [a_budget(0)], "pdb/api allows 0 disruptions", id="none allowed"),
        pytest.param(
            a_pod(), [a_budget(0, selects={"app": "web"})], "", id="a budget for other pods"
        ),
        pytest.param(
            a_pod(),
            [a_budget(0, selector=EVERYTHING)],
            "pdb/api allows 0 disruptions",
            id="a budget for all pods",
        ),
        pytest.param(a_pod(), [a_budget(0, selector=None)], "", id="a budget without a selector"),
        pytest.param(a_pod(), BOTH, TWO, id="two budgets"),
        pytest.param(
            a_pod(ready=False),
            BOTH,
            TWO,
            id="two budgets, an unready pod",
        ),
        pytest.param(
            a_pod(),
            [a_budget(5, generation=2, observed_generation=1)],
            "pdb/api has changed and its status is not updated yet",
            id="a budget whose status is out of date",
        ),
        pytest.param(
            a_pod(ready=False), [a_budget(0)], "", id="an unready pod, the budget met without it"
        ),
        pytest.param(
            a_pod(ready=False),
            [a_budget(0, generation=2, observed_generation=1)],
            "",
            id="an unready pod, and a status that is out of date",
        ),
        pytest.param(
            a_pod(ready=False),
            [a_budget(0, healthy=8, desired=9)],
            "pdb/api allows 0 disruptions",
            id="an unready pod, the budget not met",
        ),
        pytest.param(
            a_pod(ready=False),
            [a_budget(0, healthy=0, desired=0)],
            "pdb/api allows 0 disruptions",
            id="an unready pod, a budget that requires no healthy pod",
        ),
        pytest.param(
            a_pod(ready=False),
            [a_budget(0, healthy=8, desired=9, always_allow_unhealthy=True)],
            "",
            id="an unready pod under AlwaysAllow",
        ),
        pytest.param(
            a_pod(),
            [a_budget(0, always_allow_unhealthy=True)],
            "pdb/api allows 0 disruptions",
            id="a ready pod under AlwaysAllow",
        ),
        pytest.param(
            a_pod(ready=False, phase="Pending"),
            [a_budget(0, name="a"), a_budget(0, name="b")],
            "",
            id="a pending pod",
        ),
        pytest.param(a_pod(phase="Failed"), [a_budget(0)], "", id="a failed pod"),
    ],
)
def test_a_budget_refuses_as_the_eviction_api_would(
    pod: Pod, budgets: Sequence[DisruptionBudget], refusal: str
) -> None:
    assert DisruptionBudgets(budgets).objection(pod) == refusal


def test_planned_evictions_use_the_budget() -> None:
    budgets = DisruptionBudgets([a_budget(2), a_budget(0, name="web", selects={"app": "web"})])
    for name in ("api-0", "api-1"):
        assert not budgets.objection(a_pod(name))
        budgets.spend(a_pod(name))
    assert budgets.objection(a_pod("api-2"))


@pytest.mark.parametrize(
    "free",
    [
        pytest.param(a_pod(ready=False), id="an unready pod"),
        pytest.param(a_pod(ready=False, phase="Pending"), id="a pending pod"),
    ],
)
def test_exempt_pods_do_not_use_the_budget(free: Pod) -> None:
    budgets = DisruptionBudgets([a_budget(1)])
    budgets.spend(free)
    assert not budgets.objection(a_pod("api-1"))


class CountedLabels(dict[str, str]):
    """Labels that count how often a selector reads one."""

    reads = 0

    def get(self, key: str, default: Any = None) -> Any:
        type(self).reads += 1
        return super().get(key, default)


def test_of_thousands_of_budgets_only_those_for_a_label_of_the_pod_are_evaluated() -> None:
    many = [a_budget(0, name=f"pdb-{n}", selects={"app": f"app-{n}"}) for n in range(5_000)]
    budgets = DisruptionBudgets([*many, a_budget(0)])
    labels = CountedLabels(app="api")
    for name in ("api-0", "api-1", "api-2"):
        assert budgets.objection(a_pod(name, labels=labels)) == "pdb/api allows 0 disruptions"
    assert CountedLabels.reads == 1


def test_of_thousands_of_budgets_for_one_pod_two_are_named() -> None:
    many = [a_budget(1, name=f"pdb-{n}", selector=EVERYTHING) for n in range(5_000)]
    refusal = DisruptionBudgets(many).objection(a_pod())
    assert refusal == "pod api-0 has more than one PodDisruptionBudget: pdb-0, pdb-1"


def any_of(*values: str, key: str = "app") -> Requirement:
    return Requirement(key, "In", values)


def test_of_budgets_with_many_values_only_those_with_a_label_of_the_pod_are_evaluated() -> None:
    """300 budgets with 1,300 values each; the pod's own label is in the list of one."""
    lists = ([f"app-{n}-{k}" for k in range(1_300)] for n in range(300))
    many = [
        a_budget(0, name=f"pdb-{n}", selector=LabelSelector((any_of(*values),)))
        for n, values in enumerate(lists)
    ]
    CountedLabels.reads = 0
    budgets = DisruptionBudgets(many)
    pods = [a_pod(f"api-{n}", labels=CountedLabels(app="api", pod=f"api-{n}")) for n in range(3)]
    assert [budgets.objection(pod) for pod in pods] == ["", "", ""]
    assert CountedLabels.reads == 0
    listed = a_pod(labels=CountedLabels(app="app-7-1299"))
    assert budgets.objection(listed) == "pdb/pdb-7 allows 0 disruptions"
    assert CountedLabels.reads == 1


@pytest.mark.parametrize(
    "requirements",
    [
        pytest.param((Requirement("app", "NotIn", ("api", "web")),), id="no label is required"),
        pytest.param(
            (any_of("api"), any_of(*(f"x-{n}" for n in range(1_000)), key="pod")),
            id="a second requirement that fails",
        ),
    ],
)
def test_the_comparisons_of_one_plan_are_bounded_and_the_api_server_judges_the_rest(
    requirements: tuple[Requirement, ...],
) -> None:
    many = [
        a_budget(0, name=f"pdb-{n}", selector=LabelSelector(requirements)) for n in range(5_000)
    ]
    CountedLabels.reads = 0
    budgets = DisruptionBudgets([*many, a_budget(0)])
    pods = [a_pod(str(n), labels=CountedLabels(app="api", pod=f"api-{n}")) for n in range(100)]
    for pod in pods:
        budgets.objection(pod)
    assert 0 < CountedLabels.reads <= MAX_COMPARISONS // 2
