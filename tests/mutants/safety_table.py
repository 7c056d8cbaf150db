"""Mutants of promises that several layers keep: each layer has a test of its own."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

SAFETY_MUTANTS = (
    # S6: the webhook never widens where a pod can run.
    mutant(
        "the fields of a pod's own terms are lost when a pin is added",
        "webhook/pod_patch.py",
        '            {**term, "matchExpressions": [*(term.get',
        '            {"matchExpressions": [*(term.get',
        scenario("bound_pods", "pods_bound_to_two_nodes_by_name_are_placed_and_moved_only_there"),
    ),
    mutant(
        "terms with fields only are dropped when a pin is added",
        "webhook/pod_patch.py",
        't.get("matchExpressions") or t.get("matchFields")]',
        't.get("matchExpressions")]',
        "tests/unit/webhook/test_pod_patch.py",
    ),
    mutant(
        "removing a pin from a term with fields allows any node",
        "webhook/reinvocation.py",
        ' and not term.get("matchFields")',
        "",
        "tests/unit/webhook/test_pod_patch.py",
    ),
    mutant(
        "capacity is counted without the names of nodes",
        "model/objects.py",
        "node_matches({**self.labels, NODE_NAME_FIELD: self.name}, terms)",
        "node_matches(self.labels, terms)",
        scenario("bound_pods", "pods_bound_to_two_nodes_by_name_are_placed_and_moved_only_there"),
    ),
)
