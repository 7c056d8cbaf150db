"""What PodDisruptionBudgets allow, computed before the API server is asked."""

from __future__ import annotations

from collections.abc import Sequence

from spotalis.model.objects import DisruptionBudget, Pod


class DisruptionBudgets:
    """The PodDisruptionBudgets of a namespace, and the disruptions that one plan uses of them."""

    def __init__(self, budgets: Sequence[DisruptionBudget]) -> None:
        self._budgets = budgets
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
            names = ", ".join(sorted(budget.name for budget in matching))
            return f"pod {pod.name} has more than one PodDisruptionBudget: {names}"
        for budget in matching:
            if self._exempts(budget, pod):
                continue
            if budget.observed_generation < budget.generation:
                return f"pdb/{budget.name} has changed and its status is not updated yet"
            if budget.disruptions_allowed - self._spent.get(budget.name, 0) <= 0:
                return f"pdb/{budget.name} allows {budget.disruptions_allowed} disruptions"
        return ""

    def spend(self, pod: Pod) -> None:
        """Count a planned eviction of the pod."""
        for budget in self._matching(pod):
            if not self._exempts(budget, pod):
                self._spent[budget.name] = self._spent.get(budget.name, 0) + 1

    def _matching(self, pod: Pod) -> list[DisruptionBudget]:
        if pod.phase == "Pending" or pod.finished:
            return []
        return [
            b for b in self._budgets if b.selector is not None and b.selector.matches(pod.labels)
        ]

    @staticmethod
    def _exempts(budget: DisruptionBudget, pod: Pod) -> bool:
        return not pod.ready and (
            budget.always_allow_unhealthy or budget.current_healthy >= budget.desired_healthy > 0
        )
