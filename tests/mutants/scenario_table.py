"""Mutants that scenarios must find: at least one for each row of docs/contributing/scenarios.md."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

SCENARIO_MUTANTS = (
    mutant(
        "the interruption breaker never opens",
        "planner/breaker.py",
        "    if len(recent) >= breaker.interruptions:",
        "    if len(recent) > 99:",
        scenario(
            "unstable_spot",
            "a_replica_is_born_on_unstable_spot_nodes_at_most_three_times_an_hour",
        ),
    ),
    mutant(
        "nodes that Karpenter replaces open the interruption breaker",
        "planner/breaker.py",
        "r.on_reclaimed_node and",
        "r.on_terminating_node and",
        scenario(
            "unstable_spot",
            "nodes_that_karpenter_replaces_again_and_again_do_not_open_the_breaker",
        ),
    ),
    mutant(
        "pods leave nodes early that Karpenter replaces",
        "planner/early_eviction.py",
        "not replica.on_reclaimed_node or",
        "not replica.on_terminating_node or",
        scenario(
            "interruptions",
            "early_eviction_leaves_the_pods_of_a_node_that_karpenter_replaces_to_karpenter",
        ),
    ),
    mutant(
        "workloads do not share what is known about spot",
        "planner/spot_knowledge.py",
        "        shape=own if shape.anti_affinity or",
        "        shape=own if True or shape.anti_affinity or",
        scenario(
            "spot_knowledge",
            "a_spot_node_of_any_workload_brings_all_workloads_back_without_probes",
        ),
    ),
    mutant(
        "what the autoscaler says is ignored",
        "planner/fallback.py",
        " or r.pod.uid in refused]",
        "]",
        scenario("spot_knowledge", "a_provisioner_without_spot_is_believed_at_once"),
    ),
    mutant(
        "the emergency stop on the operator's namespace is ignored",
        "controller/cluster.py",
        'return pause_everywhere(read, self.namespaces.get("", self.settings.namespace))',
        "return read",
        scenario("policies", "paused_until_on_the_namespace_of_the_operator_stops_all_evictions"),
    ),
    mutant(
        "every replica that may not be moved is said to ask not to be disrupted",
        "planner/moves.py",
        "counts = Counter(one for one in found if one is not None)",
        "counts = Counter(Obstacle.PROTECTED for one in found if one is not None)",
        scenario(
            "webhook_away",
            "replicas_that_are_still_starting_are_named_when_no_other_may_be_moved",
        ),
    ),
    mutant(
        "the rescue deletes pods while an instance leads",
        "controller/rescue.py",
        "    if absent < ABSENT_FOR:\n",
        "    if absent < timedelta(0):\n",
        scenario("rescue", "20_minutes_after_all_instances_ended_in_a_drought_no_pod_waits"),
    ),
    mutant(
        "a command that only reads may write",
        "app/inspection.py",
        '        if request.method != "GET":\n',
        '        if request.method == "DELETE":\n',
        "tests/unit/app/test_inspection.py::test_a_write_is_answered_without_being_sent",
    ),
    mutant(
        "the forecast evicts in another order than the operator",
        "planner/forecast.py",
        "for step in self.steps for",
        "for step in reversed(self.steps) for",
        scenario("plan_command", "the_operator_makes_the_moves_that_plan_shows"),
    ),
    mutant(
        "the repetition of an Event is dropped",
        "controller/events.py",
        '{"count": existing.count + 1, "lastTimestamp"',
        '{"count": existing.count, "lastTimestamp"',
        scenario("change", "a_repeated_change_is_counted_and_events_have_timestamps"),
    ),
    mutant(
        "owners' keys in a pod template are ignored silently",
        "model/configuration.py",
        "        reader.check_template(workload, here)\n",
        "        pass\n",
        scenario(
            "policies", "keys_that_are_only_in_the_pod_template_are_reported_and_change_nothing"
        ),
    ),
    mutant(
        "the old key of Karpenter that forbids evictions is ignored",
        "kube/decode/pods.py",
        '        or annotations.do_not_evict == "true"\n',
        "",
        "tests/unit/kube/test_decode.py",
    ),
    mutant(
        "the keys of CAST AI that forbid removals are ignored",
        "kube/decode/pods.py",
        'or "true" in (annotations.removal_disabled, labels.get(REMOVAL_DISABLED))',
        'or "true" in ()',
        "tests/unit/kube/test_decode.py",
    ),
    mutant(
        "a missing object is reported as a missing permission",
        "cli/connect.py",
        'return "SP009", ',
        'return "SP003", ',
        "tests/unit/cli/test_main.py",
    ),
    mutant(
        "the descheduler's evict: false is ignored",
        "kube/decode/pods.py",
        '        or annotations.descheduler_evict == "false"\n',
        "",
        scenario("neighbours", "a_pod_annotated_against_disruption_is_not_moved"),
    ),
    mutant(
        "a minimum without a percentage is a policy",
        "model/configuration.py",
        "        return self.spot_percentage is not None\n",
        "        return self.spot_percentage is not None or self.min_on_demand is not None\n",
        scenario(
            "policies", "a_minimum_without_a_percentage_moves_and_places_nothing_and_is_warned_of"
        ),
    ),
    mutant(
        "Karpenter's disruption taint is ignored",
        "planner/interruption.py",
        '_tainted("karpenter.sh/disrupted")',
        '_tainted("karpenter.sh/disrupted:NoSchedule")',
        scenario("interruptions", "the_pods_of_a_reclaimed_spot_node_return_to_spot"),
    ),
    mutant(
        "a storm lasts twenty times as long",
        "planner/storm.py",
        "until = state.losses[-1] + breaker.cooldown",
        "until = state.losses[-1] + breaker.cooldown * 20",
        scenario("interruptions", "a_storm_ends_after_its_cooldown_and_waiting_moves_start"),
    ),
    mutant(
        "early eviction ignores interruption notices",
        "planner/decide.py",
        "early_evictions(observed, now) if observed.moves.evict_early else ()",
        "()",
        scenario(
            "interruptions",
            "with_early_eviction_pods_leave_at_the_notice_as_fast_as_their_budget_allows",
        ),
    ),
    mutant(
        "a rollout blocks the spot fallback",
        "planner/decide.py",
        "    if waiting.due:\n",
        "    if waiting.due and recheck(observed, now) is None:\n",
        scenario("fallback", "the_fallback_completes_a_rollout_that_waits_for_spot"),
    ),
    mutant(
        "placement ignores reservations",
        "webhook/admission.py",
        "        placement = place_in(view, NewPod(owner=owner.uid, name=request.name))\n",
        "        view = dataclasses.replace(view, reserved=type(view.reserved)())\n"
        "        placement = place_in(view, NewPod(owner=owner.uid, name=request.name))\n",
        scenario("bursts", "a_burst_is_split_at_creation_although_watches_deliver"),
    ),
    mutant(
        "evicted pods hold their slots",
        "planner/observed.py",
        "or pod.finished or self.on_terminating_node or self.counts_as_gone\n",
        "or pod.finished or self.on_terminating_node\n",
        "tests/unit/planner/test_candidates.py",
    ),
    mutant(
        "one move more than the surplus is planned",
        "planner/moves.py",
        "surplus = observed.state.surplus(surplus_type) - _starting(observed, surplus_type)",
        "surplus = observed.state.surplus(surplus_type) + 1 - _starting(observed, surplus_type)",
        scenario(
            "change", "changing_10_replicas_from_0_to_70_to_30_percent_takes_7_then_4_evictions"
        ),
    ),
    mutant(
        "the lowest ordinal is evicted first",
        "planner/candidates.py",
        "-1 if slot is None else -slot",
        "-1 if slot is None else slot",
        scenario("change", "enabling_a_stateful_set_evicts_ordinals_16_13_10_6_1_0_in_this_order"),
    ),
    mutant(
        "an invalid policy is applied as far as it is valid",
        "webhook/admission.py",
        "        if configuration.problems:\n",
        "        if configuration.problems and not configuration.has_policy:\n",
        scenario("policies", "an_invalid_annotation_stops_moves_until_it_is_corrected"),
    ),
    mutant(
        "a rollout ends with the first updated pod",
        "planner/guards.py",
        "rolling = workload.status_replicas > workload.updated_replicas or len(owners) > 1",
        "rolling = workload.updated_replicas < 1 or len(owners) > 2",
        scenario("rollouts", "a_paused_rollout_stops_moves_until_it_resumes"),
    ),
    mutant(
        "an eviction is sent under an exhausted budget",
        "planner/budget.py",
        "self._spent.get(budget.name, 0) <= 0:",
        "self._spent.get(budget.name, 0) < 0:",
        scenario(
            "budgets",
            "a_budget_that_allows_no_disruption_blocks_only_its_workload_until_it_is_deleted",
        ),
    ),
    mutant(
        "without admission requests all surplus replicas move",
        "planner/moves.py",
        "min(surplus, 1 - len(observed.ledger.intents))",
        "surplus",
        scenario(
            "webhook_away", "a_pod_created_while_the_webhook_is_unreachable_costs_one_eviction"
        ),
    ),
    mutant(
        "a leader that shuts down keeps its Lease",
        "controller/leadership.py",
        '                    await self._write(lease, holder="", transitions=lease.transitions)\n',
        '                    logger.info("kept")\n',
        scenario("leader", "a_terminated_leader_hands_over_within_3_seconds"),
    ),
    mutant(
        "a new process does not read the ledger",
        "controller/reconcile.py",
        "stored = await self._ledgers.read(workload.uid)\n",
        "sent = self._evictor._terminations.sent\n"
        "        stored = await self._ledgers.read(workload.uid) if sent else None\n",
        scenario("restart", "a_crash_during_a_rebalance_causes_no_extra_eviction"),
    ),
    mutant(
        "namespace labels take effect at the next resync",
        "controller/cluster.py",
        "        if latest is None:\n            return\n        everywhere",
        "        if change.new is None or change.old:\n            return\n        everywhere",
        scenario("policies", "a_namespace_outside_the_selector_is_ignored_until_its_labels_match"),
    ),
    mutant(
        "the cooldown setting is ignored",
        "planner/decide.py",
        "now + moves.cooldown",
        "now",
        scenario("tuning", "settings_change_the_behaviour_of_a_restarted_operator"),
    ),
    mutant(
        "missing admission requests are not detected",
        "planner/resolution.py",
        "limit = 1 if observed.bypassed else FUTILE_MOVE_LIMIT",
        "limit = FUTILE_MOVE_LIMIT",
        scenario(
            "webhook_away",
            "a_pod_created_without_the_webhook_costs_one_eviction_and_health_reports_the_webhook",
        ),
    ),
    mutant(
        "disruption windows open in UTC",
        "model/disruption.py",
        "instant.astimezone(self.timezone)",
        "instant.astimezone(UTC)",
        scenario("windows", "all_moves_stay_inside_the_window_when_clocks_change[in spring]"),
    ),
    mutant(
        "a read-only operator writes conditions",
        "app/status_reporter.py",
        "        if self._settings.read_only:",
        "        if False:",
        scenario("read_only", "a_read_only_operator_writes_only_events_and_its_certificate"),
    ),
    mutant(
        "conditions stay when they are turned off",
        "app/status_reporter.py",
        "            return await self._conditions.remove(workload)\n",
        "            return None\n",
        scenario("condition", "conditions_that_are_turned_off_are_removed"),
    ),
    mutant(
        "a renewed OnDelete set counts as in a rollout forever",
        "planner/guards.py",
        "            and not workload.on_delete\n"
        "            and workload.updated_replicas < workload.replicas - workload.partition",
        "            and (workload.on_delete or workload.updated_replicas < workload.replicas)",
        scenario(
            "rollouts",
            "moves_of_an_on_delete_set_continue_when_its_owner_has_renewed_every_pod[embedded]",
        ),
    ),
    mutant(
        "a refused pod is asked again at once",
        "planner/moves.py",
        "if observed.is_backing_off(replica.pod.uid, self._now):",
        "if False:",
        scenario(
            "refused_evictions",
            "if_the_eviction_of_one_pod_is_refused_the_next_candidates_move[policy-embedded]",
        ),
    ),
    mutant(
        "an unreachable webhook leaves the outcome of an eviction open",
        "kube/eviction.py",
        '"denied request", "failed calling webhook")',
        '"denied request")',
        scenario(
            "refused_evictions",
            "if_the_eviction_of_one_pod_is_refused_the_next_candidates_move[webhook-embedded]",
        ),
        "tests/unit/kube/test_eviction.py",
    ),
    mutant(
        "a move with unknown outcome keeps its place in the cluster",
        "controller/open_moves.py",
        " and not self._terminations.is_stuck(intent.pod)",
        "",
        scenario(
            "refused_evictions",
            "an_eviction_without_clear_outcome_backs_off_is_named_and_gives_its_place_back",
        ),
    ),
    mutant(
        "a move with unknown outcome is sent again at every reconcile",
        "planner/decide.py",
        " and not observed.is_backing_off(intent.pod, now)\n",
        "\n",
        "tests/unit/planner/test_refusal.py",
    ),
    mutant(
        "a refused fallback does not back off",
        "planner/fallback.py",
        "if refusal is not None and refusal.is_backing_off(now):",
        "if False:",
        scenario(
            "refused_evictions",
            "a_refused_fallback_is_named_backs_off_and_happens_when_it_is_allowed[embedded]",
        ),
    ),
    mutant(
        "the fallback clock runs while a scheduling gate holds the pod",
        "kube/decode/pods.py",
        "unschedulable_since = _unless_gated(metadata, condition.last_transition_time)",
        "unschedulable_since = condition.last_transition_time",
        scenario(
            "fallback",
            "the_fallback_clock_starts_when_the_last_scheduling_gate_is_removed[embedded]",
        ),
    ),
    mutant(
        "a Ready node with a startup taint does not stop the fallback clock",
        "planner/initialization.py",
        "if not node.ready or any(is_startup_taint(taint) for taint in node.taints):",
        "if not node.ready:",
        scenario(
            "fallback",
            "a_ready_spot_node_with_a_startup_taint_stops_the_fallback_clock[embedded]",
        ),
    ),
    mutant(
        "the fallback clock starts again after a change of leader",
        "planner/fallback.py",
        "pod.unschedulable_since or observed.first_unschedulable.get(pod.uid, now)",
        "observed.first_unschedulable.get(pod.uid, now)",
        scenario("leader", "the_clock_of_the_fallback_goes_on_after_a_change_of_leader"),
    ),
    mutant(
        "a node whose GPUs are not registered yet does not stop the fallback clock",
        "planner/capacity.py",
        "(is_initializing(node) or awaits_devices(node, shape))",
        "is_initializing(node)",
        scenario(
            "fallback",
            "a_spot_node_whose_gpus_are_not_registered_yet_stops_the_fallback_clock[embedded]",
        ),
    ),
)
