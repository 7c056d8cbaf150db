"""Mutants of promises that several layers keep: each layer has a test of its own."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

LIST_CHECKS = "tests/integration/test_list_checks.py"
LEDGERS = "a_ledger_that_another_instance_has_extended_is_not_deleted"

SAFETY_MUTANTS = (
    # Checks against the list of pods that authorizes evictions
    mutant(
        "ready pods are evicted beyond the limit of their workload",
        "controller/evictor.py",
        "            left -= pod.ready\n",
        "",
        f"{LIST_CHECKS}::test_pods_that_become_ready_between_plan_and_list_move_one_at_a_time",
    ),
    mutant(
        "readiness in the list does not matter",
        "controller/evictor.py",
        "if pod.ready and left <= 0:",
        "if False:",
        f"{LIST_CHECKS}::test_pods_that_become_ready_between_plan_and_list_move_one_at_a_time",
    ),
    mutant(
        "a plan moves ready pods beyond the limit of their workload",
        "planner/moves.py",
        "            self._free -= 1\n",
        "            pass\n",
        "tests/unit/planner/test_moves.py",
    ),
    mutant(
        "ready pods on nodes that are being reclaimed count toward the minimum",
        "controller/evictor.py",
        "if on_demand and not nodes.is_terminating(pod.node):",
        "if on_demand:",
        f"{LIST_CHECKS}::"
        "test_a_node_announced_between_plan_and_list_does_not_count_toward_the_minimum",
    ),
    mutant(
        "a plan counts replicas on nodes that are being reclaimed toward the minimum",
        "planner/observed.py",
        "sum(1 for r in self.replicas if r.is_ready and r.node_type is NodeType.ON_DEMAND)",
        "sum(1 for r in self.replicas if r.pod.ready and r.node_type is NodeType.ON_DEMAND)",
        "tests/unit/planner/test_moves.py",
    ),
    mutant(
        "a ledger is deleted whatever another instance has written",
        "controller/ledgers.py",
        "            resource_version=found.resource_version,\n",
        "",
        f"{LIST_CHECKS}::test_{LEDGERS}",
    ),
    mutant(
        "a ledger is replaced whatever another instance has written",
        "controller/config_maps.py",
        '        metadata["resourceVersion"] = before.resource_version\n',
        "",
        f"{LIST_CHECKS}::test_a_ledger_that_another_instance_has_extended_is_not_overwritten",
    ),
    mutant(
        "each announcement of a node counts as a loss",
        "controller/nodes.py",
        "if self._types.get(node.name) is NodeType.SPOT and node.uid not in self._lost:",
        "if self._types.get(node.name) is NodeType.SPOT:",
        "tests/unit/controller/test_interruptions.py",
    ),
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
