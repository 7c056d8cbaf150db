"""Mutants that let work or memory grow with what a tenant writes."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

CONFIGURATION = "tests/unit/model/test_configuration.py::"
PLACEMENT = "tests/unit/planner/test_placement.py::"
VIEW = "tests/unit/controller/test_nodes_view.py::"
FREE = "tests/unit/planner/test_free_capacity.py::"
SPOT = "tests/unit/planner/test_spot_capacity.py::"
EFFORT = "tests/unit/app/test_effort.py"
BOUNDED = "tests/unit/kube/test_bounded_records.py::"
TRACKED = "tests/unit/controller/test_tracked_owners.py"
BURST = "tests/unit/webhook/test_burst_cost.py"
AT_REST = "tests/unit/controller/test_at_rest.py"
IN_USE = (
    "tests/unit/controller/test_groups_in_use.py::"
    "test_the_groups_in_use_follow_nodes_apis_the_memory_and_the_day"
)
QUESTION = "(today, seen, tuple(self.served.items()), self._memory)"

COST_MUTANTS = (
    mutant(
        "a policy value of any length is parsed",
        "model/configuration.py",
        "            return parse(check_length(text).strip())\n",
        "            return parse(text.strip())\n",
        CONFIGURATION + "test_a_value_above_256_characters_is_not_parsed_and_its_length_is_named",
    ),
    mutant(
        "every key that is not read is named",
        "model/configuration.py",
        "        for key, text, source in unread[:MAX_NAMED_KEYS]:\n",
        "        for key, text, source in unread:\n",
        CONFIGURATION
        + "test_of_many_keys_that_are_not_read_five_are_named_and_the_rest_is_counted",
    ),
    mutant(
        "a placement enumerates the desired replicas",
        "planner/placement.py",
        "_slots_of(node_type, percent, floor, 1 << taken.bit_count().bit_length())",
        "_slots_of(node_type, percent, floor, min(highest, 1 << 16))",
        PLACEMENT + "test_a_placement_takes_the_same_memory_for_any_number_of_desired_replicas",
    ),
    mutant(
        "every pod of an owner is evaluated for each new one",
        "controller/tracked_owners.py",
        "changed = tracked.held, self._cluster.changed_pods.take(key)",
        "changed = tracked.held, self._cluster.pods_by_uid(*key).keys()",
        BURST,
    ),
    mutant(
        "changes of pods are kept forever for owners without placements",
        "controller/changed_pods.py",
        "        if len(changed) > pods:\n",
        "        if len(changed) > 100 + pods:\n",
        TRACKED + "::test_an_owner_for_which_no_placement_is_asked_again_takes_no_memory",
    ),
    mutant(
        "replicas of owners without placements are kept forever",
        "controller/tracked_owners.py",
        "        self._cluster.changed_pods.unfollow(key)\n",
        "",
        TRACKED + "::test_nothing_is_kept_of_owners_that_are_forgotten",
    ),
    mutant(
        "a placement does not see that a node has changed",
        "controller/cluster.py",
        "            for pod in self.placed.pods_on(latest.name):\n",
        "            for pod in ():\n",
        TRACKED,
    ),
    mutant(
        "a placement does not see that a notice has expired",
        "controller/tracked_owners.py",
        "            and (until is None or self._clock.now() < until)\n",
        "",
        TRACKED + "::test_the_replicas_of_a_node_whose_notice_has_expired_hold_their_slots_again",
    ),
    mutant(
        "a placement does not see that other nodes change what a pod may run on",
        "controller/tracked_owners.py",
        "            and self._has_same_types(tracked)\n",
        "",
        TRACKED,
    ),
    mutant(
        "a placement does not see that a pod was evicted",
        "controller/tracked_owners.py",
        "        if tracked.terminated != self._terminations.uids:\n",
        "        if False:\n",
        TRACKED,
    ),
    mutant(
        "a slot that two replicas hold is free when one of them is gone",
        "planner/held.py",
        "self.slots | bit if self._holders[bit] else",
        "self.slots | bit if by > 0 else",
        TRACKED,
    ),
    mutant(
        "the newest pod is not looked for after it is gone",
        "planner/held.py",
        "        if self._newest is not None and self._newest.uid == uid:\n",
        "        if False:\n",
        TRACKED + "::test_the_newest_pod_is_known_after_a_newer_one_is_gone",
    ),
    mutant(
        "the resync computes workloads at rest again",
        "app/reconcile_loop.py",
        "            if before is None or before != self.reconciler.versions(key):\n",
        "            if True:\n",
        scenario("at_rest", "a_resync_skips_workloads_at_rest_until_something_changes"),
    ),
    mutant(
        "workloads that are not at rest are skipped too",
        "controller/result.py",
        "            self.reason is Reason.BALANCED\n            and self.requeue_after is None\n",
        "            self.reason is not None\n",
        scenario("at_rest", "a_resync_reconciles_workloads_that_are_not_at_rest"),
    ),
    mutant(
        "a workload stays at rest although a notice of a node has expired",
        "controller/observe.py",
        "(pod.uid, pod.resource_version, nodes.end_of(pod.node), ",
        "(pod.uid, pod.resource_version, ",
        AT_REST,
    ),
    mutant(
        "a workload stays at rest although a pod was evicted",
        "controller/observe.py",
        "nodes.end_of(pod.node), pod.uid in self._terminations)",
        "nodes.end_of(pod.node))",
        AT_REST,
    ),
    mutant(
        "a workload stays at rest although nodes have changed",
        "controller/observe.py",
        "(nodes.changes, nodes.node_pools, ",
        "(nodes.node_pools, ",
        AT_REST,
    ),
    mutant(
        "a workload stays at rest although NodePools have changed",
        "controller/observe.py",
        "(nodes.changes, nodes.node_pools, ",
        "(nodes.changes, ",
        AT_REST + "::test_a_workload_is_not_at_rest_after_the_node_pools_have_changed",
    ),
    mutant(
        "a failed write of the condition is not tried again",
        "controller/condition.py",
        "            return RETRY_TIME\n",
        "",
        "tests/unit/controller/test_condition_writer.py",
    ),
    *(
        mutant(
            f"the groups in use do not follow {what}", "controller/nodes.py", QUESTION, read, IN_USE
        )
        for what, read in (
            ("the day", "(seen, tuple(self.served.items()), self._memory)"),
            ("the nodes", "(today, tuple(self.served.items()), self._memory)"),
            ("the APIs", "(today, seen, self._memory)"),
            ("the memory", "(today, seen, tuple(self.served.items()))"),
        )
    ),
    mutant(
        "every node of the first list enqueues every workload",
        "controller/cluster.py",
        "        if enqueue and self.health.is_settled():\n",
        "        if enqueue:\n",
        "tests/unit/controller/test_cluster.py",
    ),
    mutant(
        "a new node enqueues no workload",
        "controller/cluster.py",
        "        if enqueue and self.health.is_settled():\n",
        "        if enqueue and not self.health.is_settled():\n",
        "tests/unit/controller/test_cluster.py",
    ),
    mutant(
        "labels are kept after their last pod is gone",
        "kube/decode/shared.py",
        "        self._kept[key] = kept\n",
        "        self._kept[key] = lambda: found\n",
        BOUNDED + "test_a_pod_that_is_relabelled_again_and_again_keeps_only_its_last_labels",
    ),
    mutant(
        "every annotation under the prefix is kept",
        "kube/decode/metadata.py",
        "                continue\n        kept[key] = cut(value)\n",
        "                pass\n        kept[key] = cut(value)\n",
        BOUNDED + "test_annotations_that_are_not_read_are_not_kept",
    ),
    mutant(
        "the free capacity is computed for each workload",
        "controller/nodes_view.py",
        "            if self._version >= version:\n",
        "            if self._version > version:\n",
        VIEW + "test_the_free_capacity_is_computed_once_per_change_and_not_per_workload",
    ),
    mutant(
        "gated pods take capacity",
        "controller/placed_pods.py",
        "pod.finished or pod.gated)",
        "pod.finished)",
        VIEW + "test_gated_pods_take_no_capacity",
    ),
    mutant(
        "the computation of free capacity blocks the event loop",
        "controller/nodes_view.py",
        "                await asyncio.sleep(0)\n",
        "",
        VIEW + "test_other_tasks_run_while_thousands_of_different_pods_are_judged",
    ),
    mutant(
        "every node is judged for every waiting pod",
        "planner/free_capacity.py",
        'name = node.name if NODE_NAME_FIELD in keys else ""',
        "name = node.name",
        FREE + "test_nodes_that_are_alike_for_a_pod_are_judged_once",
    ),
    mutant(
        "pods are judged although no node has resources for them",
        "planner/free_capacity.py",
        "        if largest.fits(shape):\n",
        "        if shape:\n",
        FREE + "test_pods_are_not_judged_if_no_node_has_resources_for_them",
    ),
    mutant(
        "a host port can be used twice",
        "planner/free_capacity.py",
        "        if shape.host_ports:\n",
        "        if False:\n",
        FREE + "test_a_host_port_can_be_used_once_on_a_node",
    ),
    mutant(
        "the anti-affinity of the pods that exist is ignored",
        "planner/anti_affinity.py",
        "        if concerned and term.selector.matches(labels):\n",
        "        if False:\n",
        FREE + "test_other_pods_keep_these_away_by_their_anti_affinity",
    ),
    mutant(
        "constraints that cannot be judged count as met",
        "planner/spot_capacity.py",
        "        if shape.unjudged:\n            return 0\n",
        "",
        SPOT + "test_constraints_that_cannot_be_judged_leave_no_free_capacity",
    ),
    mutant(
        "selectors that admission adds are ignored",
        "planner/spot_capacity.py",
        "dict(admitted.node_selector) | dict(own.node_selector)",
        "dict(own.node_selector)",
        SPOT + "test_a_selector_that_admission_adds_limits_the_free_capacity",
    ),
    mutant(
        "a request with a UID of megabytes is read",
        "webhook/admission_review.py",
        "        _check_lengths(request)\n",
        "",
        "tests/contract/test_malformed_requests.py::test_names_that_no_object_can_have_are_refused",
    ),
    mutant(
        "every budget of the namespace is evaluated for every candidate",
        "planner/budget.py",
        'if one.operator == "In"]',
        'if one.operator == "Equals"]',
        "tests/unit/planner/test_budget.py::"
        "test_of_thousands_of_budgets_only_those_for_a_label_of_the_pod_are_evaluated",
    ),
    mutant(
        "host ports of pods are not read",
        "kube/decode/pod_shape.py",
        "        host_ports=_host_ports(key),\n",
        "",
        scenario("can_hold", "a_host_port_that_is_in_use_on_every_spot_node_stops_further_moves"),
    ),
    mutant(
        "pods whose anti-affinity keeps others away are not looked at",
        "controller/placed_pods.py",
        "                if pod.shape.anti_affinity:\n",
        "                if False:\n",
        scenario("can_hold", "replicas_do_not_move_to_nodes_whose_pods_keep_them_away"),
    ),
    mutant(
        "a scheduling gate is not read",
        "kube/decode/pods.py",
        'gated=bytes(written.spec.scheduling_gates) not in (b"null", b"[]"),',
        "gated=False,",
        scenario("can_hold", "pods_with_a_scheduling_gate_do_not_take_the_free_capacity"),
    ),
    mutant(
        "the constraints of the newest pod are ignored",
        "planner/spot_capacity.py",
        "    own, admitted = workload.shape, without_pins(newest)\n",
        "    own, admitted = workload.shape, workload.shape\n",
        scenario("can_hold", "a_node_selector_that_admission_adds_limits_the_nodes_that_count"),
    ),
    mutant(
        "a watch handles 25 events of any size before other tasks run",
        "kube/watch/reflector.py",
        "1 + size_bytes // _EVENT_BYTES",
        "1",
        "tests/unit/kube/test_watch.py::"
        "test_other_tasks_run_after_a_slice_of_events_or_after_a_few_large_ones",
    ),
    mutant(
        "each reconcile reads all ledgers",
        "controller/ledgers.py",
        "        if self._open_as_of != self.store.changes:\n",
        "        if True:\n",
        EFFORT,
    ),
    mutant(
        "each reconcile groups all nodes",
        "planner/free_capacity.py",
        "_finish(kinds.bindable(shape, pin, pace))",
        "_finish(_Kinds(kinds.rooms).bindable(shape, pin, pace))",
        EFFORT,
    ),
    mutant(
        "the help of the operator loads the library of schedules",
        "model/disruption.py",
        "from dataclasses import dataclass\n",
        "from dataclasses import dataclass\nimport cronsim\n",
        "tests/unit/cli/test_config.py::test_printing_commands_do_not_import_what_they_do_not_need",
    ),
    mutant(
        "a command frees all objects when it ends",
        "__main__.py",
        "    gc.freeze()\n",
        "",
        "tests/unit/cli/test_main.py",
    ),
)
