"""Mutants that take away a limit of what all objects of a tenant cost together."""

from __future__ import annotations

from tests.mutants.mutant import mutant

BUDGET = "tests/unit/planner/test_budget.py::"
FREE = "tests/unit/planner/test_free_capacity.py::"
BOUNDED = "tests/unit/kube/test_bounded_records.py::"
KNOWLEDGE = "tests/unit/planner/test_spot_knowledge.py::"
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
        "_assign_again(kinds, alike, allowed, pace)",
        "_assign_again(kinds, alike, allowed, _Limit(Effort(10**9)))",
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
    mutant(
        "a namespace has no share of the memory",
        "kube/decode/shared.py",
        "        if self._used[namespace] + size > self._max_bytes:\n",
        "        if False:\n",
        BOUNDED
        + "test_the_pods_of_a_namespace_beyond_its_share_are_kept_without_labels_and_constraints",
    ),
    mutant(
        "all namespaces have one share",
        "kube/decode/shared.py",
        "self._used[namespace] + size > self._max_bytes",
        "sum(self._used.values()) + size > self._max_bytes",
        BOUNDED + "test_a_namespace_has_a_share_and_values_give_theirs_back_with_their_last_use",
    ),
    mutant(
        "a share is used up by values that are gone",
        "kube/decode/shared.py",
        "        self._used[kept.namespace] -= kept.size\n",
        "",
        BOUNDED + "test_a_namespace_has_a_share_and_values_give_theirs_back_with_their_last_use",
    ),
    mutant(
        "the names of owners have any length",
        "kube/decode/metadata.py",
        "return owner if max(map(len, names)) <= MAX_NAME_LENGTH else None",
        "return owner if names else None",
        BOUNDED + "test_an_owner_whose_names_no_object_can_have_is_not_kept",
    ),
    mutant(
        "a pod whose constraints are not kept may be moved",
        "controller/observe.py",
        "            or pod.shape.unjudged == NOT_KEPT\n",
        "",
        "tests/integration/scenarios/test_tenants.py::"
        "test_replicas_whose_constraints_are_not_kept_are_not_moved",
    ),
    mutant(
        "a failure of one other namespace is believed",
        "planner/spot_knowledge.py",
        "    if len(others) >= MIN_NAMESPACES:\n",
        "    if others:\n",
        KNOWLEDGE + "test_what_other_namespaces_have_found_out",
    ),
    mutant(
        "a probe of another namespace that has landed ends the backoff",
        "planner/spot_knowledge.py",
        "        if one.found and _is_as_large(one, question) and _is_from(one, question)\n",
        "        if one.found and _is_as_large(one, question)\n",
        KNOWLEDGE + "test_what_other_namespaces_have_found_out",
    ),
    mutant(
        "a probe that has landed counts like a node that has joined",
        "planner/spot_knowledge.py",
        'namespace="" if node_joined else question.namespace,',
        'namespace="",',
        KNOWLEDGE + "test_a_record_names_the_namespace_that_has_found_it_out",
    ),
    mutant(
        "a namespace with many records displaces those of others",
        "planner/spot_knowledge.py",
        "sorted(range(len(records)), key=places.__getitem__)[:MAX_RECORDS]",
        "range(MAX_RECORDS)",
        KNOWLEDGE + "test_a_namespace_with_many_shapes_displaces_its_own_records_only",
    ),
)
