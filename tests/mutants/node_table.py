"""Mutants of the rule about what a pod can run on."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

NODE_MUTANTS = (
    mutant(
        "names of nodes are not a pin",
        "model/classification.py",
        "return types_of_named_nodes(requirements, known, rule_keys) or by_rules",
        "return by_rules",
        scenario(
            "named_nodes",
            "a_template_that_names_nodes_of_one_type_is_a_pin_at_birth_and_on_adoption",
        ),
        scenario(
            "named_nodes",
            "a_template_that_names_a_gke_node_pool_is_pinned_to_the_type_of_its_nodes",
        ),
        "tests/unit/model/test_pinned_to.py",
    ),
    mutant(
        "the name of a host is not a pin",
        "model/possible_types.py",
        '        NODE_NAME_FIELD,\n        "kubernetes.io/hostname",\n',
        "",
        "tests/unit/model/test_pinned_to.py",
    ),
    mutant(
        "values that no rule names are not tried",
        "model/possible_types.py",
        "for value in (None, *named, _ANY_OTHER_VALUE):",
        "for value in (None, *named):",
        "tests/unit/model/test_pinned_to.py",
    ),
    mutant(
        "a contradictory alternative makes the answer unknown",
        "model/possible_types.py",
        "    if not all(values.values()):\n        return frozenset()\n",
        "    if not all(values.values()):\n        return KNOWN_TYPES\n",
        "tests/unit/model/test_pinned_to.py",
    ),
    mutant(
        "a shortage of spot nodes turns own labels into pins",
        "model/possible_types.py",
        "return types if any(node_type in KNOWN_TYPES - types for _, node_type in known) else",
        "return types if known else",
        "tests/unit/model/test_pinned_to.py",
    ),
    mutant(
        "ready replicas move to on-demand without a node that could hold them",
        "planner/spot_capacity.py",
        "on_demand_could_hold=has_provisioner or question.on_demand_could_hold(shape),",
        "on_demand_could_hold=True,",
        scenario(
            "named_nodes",
            "ready_replicas_stay_on_spot_until_an_on_demand_node_could_hold_them",
        ),
    ),
    mutant(
        "waiting for on-demand nodes is balanced",
        "planner/moves.py",
        "(stuck := _wait_for_on_demand(observed, now)) is not None:",
        "(stuck := _wait_for_on_demand(observed, now)) is not None and not state.is_balanced:",
        scenario(
            "named_nodes",
            "a_workload_whose_replicas_wait_for_an_on_demand_node_is_not_balanced",
        ),
    ),
    mutant(
        "only present on-demand nodes allow the fallback",
        "planner/spot_capacity.py",
        "possible = nodes.pinned_to(state.workload.shape) is not NodeType.SPOT",
        "possible = has_provisioner or could_hold(nodes.of_type(NodeType.ON_DEMAND), shape, Pin())",
        scenario(
            "named_nodes",
            "replicas_fall_back_although_no_present_on_demand_node_could_hold_them",
        ),
    ),
    mutant(
        "further replicas move to on-demand while one waits for a node",
        "planner/moves.py",
        "    if stuck is not None and stuck.reason is Reason.NO_ON_DEMAND_CAPACITY:\n",
        "    if stuck is not None and stuck.reason is Reason.BALANCED:\n",
        scenario(
            "named_nodes",
            "without_an_on_demand_node_one_replica_moves_and_the_reason_is_named",
        ),
    ),
    mutant(
        "what cannot be judged moves without a probe beside Karpenter",
        "planner/moves.py",
        "    judged = not spot.unjudged or waits_forever\n",
        "    judged = True\n",
        "tests/unit/planner/test_move_capacity.py",
    ),
    mutant(
        "the failure of a replica with an unbound claim counts for other workloads",
        "planner/fallback.py",
        "replica.volume_affinity or replica.pod.claims for",
        "replica.volume_affinity for",
        "tests/unit/planner/test_fallback.py",
    ),
    mutant(
        "a ready replica moves in the place of one that waits for a node",
        "planner/moves.py",
        "surplus -= not replica.pod.node",
        "pass",
        "tests/unit/planner/test_moves.py",
        "tests/unit/planner/test_move_capacity.py",
    ),
    mutant(
        "unknown replicas without a node are subtracted from n",
        "planner/observed.py",
        " if r.node_type is not NodeType.UNKNOWN or r.pod.node]",
        "]",
        "tests/unit/planner/test_observed.py",
    ),
    mutant(
        "a pod does not count as what the webhook sent it to",
        "controller/observe.py",
        "sent_to = _sent_to(pod) if pinned is NodeType.UNKNOWN else pinned",
        "sent_to = pinned",
        scenario("named_nodes", "a_pod_counts_as_the_capacity_type_that_it_was_sent_to"),
    ),
    mutant(
        "a served API does not put its provider group in use",
        "model/classification.py",
        "or served.get(group.api_group, group.name in remembered)",
        "or group.name in remembered",
        scenario("clusters_at_zero", "pods_are_placed_at_birth_on_a_cluster_without_nodes"),
        scenario(
            "clusters_at_zero",
            "pods_beside_a_node_group_may_also_run_on_the_nodes_that_karpenter_adds",
        ),
    ),
    mutant(
        "provider groups are forgotten with their last node",
        "controller/nodes.py",
        "memory = remembered(self._memory, today)",
        "memory = frozenset[str]()",
        scenario(
            "clusters_at_zero",
            "a_cluster_that_is_at_zero_at_night_keeps_its_provider_across_a_restart",
        ),
    ),
    mutant(
        "the next process does not read the provider groups",
        "app/watches.py",
        "self._cluster.nodes.recall(change.new.group_memory if change.new else None)",
        "pass",
        scenario(
            "clusters_at_zero",
            "a_cluster_that_is_at_zero_at_night_keeps_its_provider_across_a_restart",
        ),
    ),
    mutant(
        "the provider groups are written at every resync",
        "controller/ledgers.py",
        "if memory == (held.group_memory if held is not None else {}):",
        "if not memory:",
        scenario(
            "clusters_at_zero",
            "a_cluster_that_is_at_zero_at_night_keeps_its_provider_across_a_restart",
        ),
    ),
    mutant(
        "a provider group is remembered although its API is gone",
        "model/classification.py",
        "or served.get(group.api_group, group.name in remembered)",
        "or served.get(group.api_group) or group.name in remembered",
        "tests/unit/model/test_pinned_shapes.py",
    ),
    mutant(
        "APIs are asked for only at the start",
        "controller/groups_in_use.py",
        "            await self.discover()\n            if self._can_write()",
        "            if self._can_write()",
        scenario(
            "clusters_at_zero", "placement_follows_the_api_of_karpenter_while_the_operator_runs"
        ),
    ),
    mutant(
        "an error counts as an API that is not served",
        "controller/groups_in_use.py",
        "            raise error_from(response, self._client.clock.now())\n",
        "            return False, ()\n",
        "tests/unit/controller/test_groups_in_use.py",
    ),
    mutant(
        "the terms for Karpenter come in the order of the groups",
        "model/classification.py",
        "(last if group.api_group else terms).extend(found)",
        "terms.extend(found)",
        "tests/unit/model/test_nodes.py",
        scenario(
            "clusters_at_zero",
            "pods_beside_a_node_group_may_also_run_on_the_nodes_that_karpenter_adds",
        ),
    ),
    mutant(
        "only the present nodes of a NodePool tell its capacity types",
        "model/classification.py",
        "if pools := requirements_of_named_pools(requirements, node_pools):",
        "if pools := requirements_of_named_pools(requirements, ()):",
        scenario("clusters_at_zero", "a_template_that_names_a_node_pool_of_both_types_is_split"),
        scenario(
            "clusters_at_zero",
            "a_template_that_names_a_node_pool_of_one_type_is_pinned_before_its_first_node",
        ),
    ),
    mutant(
        "the API of Karpenter counts without a NodePool",
        "controller/groups_in_use.py",
        "return bool(pools), tuple(pools)",
        "return True, tuple(pools)",
        scenario("clusters_at_zero", "an_api_of_karpenter_without_a_node_pool_does_not_count"),
    ),
    mutant(
        "pods of a ComputeClass are pinned",
        "webhook/admission.py",
        "if pinned is NodeType.UNKNOWN and selects_compute_class(constraints):",
        "if False:",
        scenario(
            "compute_classes", "pods_that_select_a_compute_class_are_counted_where_it_puts_them"
        ),
    ),
    mutant(
        "a pin stays beside a ComputeClass that was added later",
        "webhook/reinvocation.py",
        "return placed_on if selects_compute_class(constraints) else None",
        "return None",
        scenario("compute_classes", "a_compute_class_that_a_later_webhook_adds_replaces_the_pin"),
    ),
    mutant(
        "pods of a ComputeClass are moved",
        "controller/observe.py",
        "                    or selects_compute_class(pod.shape)\n",
        "",
        scenario(
            "compute_classes", "pods_that_select_a_compute_class_are_counted_where_it_puts_them"
        ),
    ),
    mutant(
        "the present nodes of a ComputeClass are a pin",
        "model/possible_types.py",
        "        COMPUTE_CLASS,\n    }",
        "    }",
        "tests/unit/model/test_pinned_to.py::test_the_present_nodes_of_a_compute_class_are_no_pin",
        scenario(
            "compute_classes", "pods_that_select_a_compute_class_are_counted_where_it_puts_them"
        ),
    ),
    mutant(
        "a replica falls back before the scheduler can bind it to a new node",
        "planner/capacity.py",
        "now - since >= SCHEDULING_GRACE",
        "now >= since",
        "tests/integration/scenarios/test_fallback.py::"
        "test_the_scheduler_has_time_to_bind_pods_to_a_node_that_has_just_been_initialized",
    ),
    mutant(
        "only the first change of a node opens it for pods",
        "controller/nodes.py",
        "            if self.store.synced and _gates(old) != _gates(new):\n",
        "            if self.store.synced and old is None:\n",
        "tests/integration/scenarios/test_fallback.py::"
        "test_the_scheduler_has_time_to_bind_pods_to_a_node_that_has_just_been_initialized",
    ),
)
