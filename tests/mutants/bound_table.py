"""Mutants that take away a limit of what all objects of a tenant cost together."""

from __future__ import annotations

from tests.mutants.mutant import mutant

BUDGET = "tests/unit/planner/test_budget.py::"
FREE = "tests/unit/planner/test_free_capacity.py::"
SPOT = "tests/unit/planner/test_spot_capacity.py::"
VIEW = "tests/unit/controller/test_nodes_view.py::"

BOUND_MUTANTS = (
    mutant(
        "budgets are found by the first of their values only",
        "planner/budget.py",
        "            for value in set(shortest.values):\n",
        "            for value in shortest.values[:1]:\n",
        BUDGET
        + "test_of_budgets_with_many_values_only_those_with_a_label_of_the_pod_are_evaluated",
    ),
    mutant(
        "a plan evaluates any number of budgets",
        "planner/budget.py",
        "            if self._comparisons_left < 0:\n",
        "            if False:\n",
        BUDGET + "test_the_comparisons_of_one_plan_are_bounded_and_the_api_server_judges_the_rest",
    ),
    mutant(
        "an anti-affinity term concerns the namespace of its pod whatever it names",
        "model/anti_affinity.py",
        "        if not self.names_namespaces:\n            return namespace == own\n",
        "        if namespace == own:\n            return True\n",
        "tests/unit/kube/test_pod_shape.py::"
        "test_an_anti_affinity_term_concerns_the_namespaces_that_it_names",
    ),
    mutant(
        "an empty namespace selector is taken for none",
        "kube/decode/pod_shape.py",
        "            None if term.namespace_selector is None else",
        "            None if term.namespace_selector in (None, Selector()) else",
        "tests/unit/kube/test_pod_shape.py::"
        "test_an_anti_affinity_term_concerns_the_namespaces_that_it_names",
    ),
    mutant(
        "the anti-affinity of other namespaces has the limit of the own one",
        "planner/anti_affinity.py",
        "    foreign = Effort(MAX_FOREIGN_COMPARISONS)\n",
        "    foreign = Effort()\n",
        FREE + "test_the_terms_of_other_namespaces_are_evaluated_up_to_a_limit",
    ),
    mutant(
        "the anti-affinity of the own namespace has no limit",
        "planner/anti_affinity.py",
        "        effort.spend(term.comparisons)\n        concerned",
        "        concerned",
        FREE + "test_the_terms_of_the_own_namespace_are_evaluated_up_to_a_limit",
    ),
    mutant(
        "labels are compared with the terms once for each pod",
        "planner/anti_affinity.py",
        "groups.setdefault(id(labels), (labels, {}))",
        "groups.setdefault(len(groups), (labels, {}))",
        FREE + "test_labels_that_pods_share_are_compared_with_the_terms_once",
    ),
    mutant(
        "pods that wait with the same anti-affinity are assigned again without a limit",
        "planner/free_capacity.py",
        "                pace.is_over(allowed.comparisons)\n                room.take",
        "                room.take",
        FREE + "test_waiting_pods_with_the_same_anti_affinity_are_assigned_again_up_to_a_limit",
    ),
    mutant(
        "the nodes are judged for a workload without a limit",
        "planner/free_capacity.py",
        "        self._effort.spend(comparisons)\n",
        "        pass\n",
        FREE + "test_the_nodes_are_judged_for_one_workload_up_to_a_limit",
    ),
    mutant(
        "too many comparisons fail the reconcile",
        "planner/spot_capacity.py",
        "        except TooMuchWorkError:\n            return 0\n",
        "        except ZeroDivisionError:\n            return 0\n",
        SPOT + "test_what_would_take_too_many_comparisons_leaves_no_free_capacity",
    ),
    mutant(
        "finished pods keep others away",
        "controller/placed_pods.py",
        "self._index_avoiding(pod, present and not pod.finished)",
        "self._index_avoiding(pod, present)",
        VIEW + "test_bound_pods_with_the_same_anti_affinity_are_one_group_per_namespace",
    ),
)
