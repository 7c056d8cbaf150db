"""What PodDisruptionBudgets allow, computed before the API server is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from spotalis.model.objects import DisruptionBudget, Pod

MAX_COMPARISONS = 20_000
"""Of labels with requirements and their values, in one plan: a few milliseconds. The API server
alone judges the rest: it refuses an eviction that a budget does not allow."""


class DisruptionBudgets:
    """The PodDisruptionBudgets of a namespace, and the disruptions that one plan uses of them."""

    def __init__(self, budgets: Sequence[DisruptionBudget]) -> None:
        self._budgets = budgets
        self._index: _Index | None = None
        self._found: dict[int, list[DisruptionBudget]] = {}
        """What :meth:`_matching` has found, by the identity of the labels: pods share them."""
        self._spent: dict[str, int] = {}

    def objection(self, pod: Pod) -> str:
        """Why the API server would refuse to evict the pod now; empty if it would not.

        These are the rules of the eviction handler (registry/core/pod/storage/eviction.go): pods
        that are Pending or finished are always evicted; more than one matching budget is an
        error; an unready pod is evicted if the budget is met without it, or if the budget says
        AlwaysAllow.
        """
        matching = self._matching(pod)
        if len(matching) > 1:
            names = ", ".join(self.names(pod))
            return f"pod {pod.name} has more than one PodDisruptionBudget: {names}"
        for budget in matching:
            if self._exempts(budget, pod):
                continue
            if budget.observed_generation < budget.generation:
                return f"pdb/{budget.name} has changed and its status is not updated yet"
            if budget.disruptions_allowed - self._spent.get(budget.name, 0) <= 0:
                return f"pdb/{budget.name} allows {budget.disruptions_allowed} disruptions"
        return ""

    def names(self, pod: Pod) -> list[str]:
        """The budgets that count for the pod: none, one, or two of several."""
        return sorted(budget.name for budget in self._matching(pod))

    def spend(self, pod: Pod) -> None:
        """Count a planned eviction of the pod."""
        for budget in self._matching(pod):
            if not self._exempts(budget, pod):
                self._spent[budget.name] = self._spent.get(budget.name, 0) + 1

    def _matching(self, pod: Pod) -> list[DisruptionBudget]:
        """The budgets of a pod: none, one, or two of several."""
        if pod.phase == "Pending" or pod.finished:
            return []
        found = self._found.get(id(pod.labels))
        if found is None:
            if self._index is None:
                self._index = _Index(self._budgets)
            found = self._found[id(pod.labels)] = list(islice(self._index.find(pod.labels), 2))
        return found

    @staticmethod
    def _exempts(budget: DisruptionBudget, pod: Pod) -> bool:
        return not pod.ready and (
            budget.always_allow_unhealthy or budget.current_healthy >= budget.desired_healthy > 0
        )


class _Index:
    """Finds the budgets that may select a pod by one label that their selectors require.

    A namespace may have thousands of budgets, and a plan asks about each candidate.
    """

    def __init__(self, budgets: Iterable[DisruptionBudget]) -> None:
        self._by_label: dict[tuple[str, str], list[DisruptionBudget]] = {}
        self._others: list[DisruptionBudget] = []
        """Their selectors require no label."""
        self._comparisons_left = MAX_COMPARISONS
        for budget in budgets:
            if budget.selector is None:
                continue
            lists = [one for one in budget.selector.requirements if one.operator == "In"]
            shortest = min(lists, key=lambda one: len(one.values), default=None)
            if shortest is None:
                self._others.append(budget)
                continue
            for value in set(shortest.values):
                self._by_label.setdefault((shortest.key, value), []).append(budget)

    def find(self, labels: Mapping[str, str]) -> Iterator[DisruptionBudget]:
        """The budgets that select a pod with these labels, as far as they may be evaluated."""
        likely = (self._by_label.get(label, ()) for label in labels.items())
        for budget in chain(*likely, self._others):
            if budget.selector is None:
                continue
            self._comparisons_left -= budget.selector.comparisons
            if self._comparisons_left < 0:
                return
            if budget.selector.matches(labels):
                yield budget
