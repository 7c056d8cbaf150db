"""What PodDisruptionBudgets say about one more eviction, before the API server is asked."""

from __future__ import annotations

from collections.abc import Sequence

from spotalis.model.objects import DisruptionBudget, Pod


class Budgets:
    """The budgets of a namespace, with what has been spent of them within one plan."""

    def __init__(self, budgets: Sequence[DisruptionBudget]) -> None:
        self._budgets = budgets
        self._spent: dict[str, int] = {}

    def refuses(self, pod: Pod) -> str:
        """Why the API server would refuse to evict ``pod`` now; empty if it would not.

        The rules are the eviction handler's (registry/core/pod/storage/eviction.go): pods that
        are pending or finished pass; two budgets are an error; an unready pod passes if the
        budget is met without it, or says AlwaysAllow.
        """
        matching = self._asked(pod)
        if len(matching) > 1:
            names = ", ".join(sorted(budget.name for budget in matching))
            return f"pod {pod.name} is under more than one PodDisruptionBudget: {names}"
        for budget in matching:
            if self._ignores(budget, pod):
                continue
            if budget.observed_generation < budget.generation:
                return f"pdb/{budget.name} has changed and is not counted anew yet"
            if budget.disruptions_allowed - self._spent.get(budget.name, 0) <= 0:
                return f"pdb/{budget.name} allows {budget.disruptions_allowed} disruptions"
        return ""

    def spend(self, pod: Pod) -> None:
        """Count an eviction of ``pod`` that the plan will make."""
        for budget in self._asked(pod):
            if not self._ignores(budget, pod):
                self._spent[budget.name] = self._spent.get(budget.name, 0) + 1

    def _asked(self, pod: Pod) -> list[DisruptionBudget]:
        if pod.phase == "Pending" or pod.finished:
            return []
        return [
            b for b in self._budgets if b.selector is not None and b.selector.matches(pod.labels)
        ]

    @staticmethod
    def _ignores(budget: DisruptionBudget, pod: Pod) -> bool:
        return not pod.ready and (
            budget.always_allow_unhealthy or budget.current_healthy >= budget.desired_healthy > 0
        )
