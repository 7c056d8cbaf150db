"""Mutants that scenarios must find: at least one for each row of docs/contributing/scenarios.md."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

SCENARIO_MUTANTS = (
    mutant(
        "Karpenter's disruption taint is ignored",
        "planner/interruption.py",
        '_tainted("karpenter.sh/disrupted")',
        '_tainted("karpenter.sh/disrupted:NoSchedule")',
        scenario(
            "interruptions", "a_spot_node_warns_is_drained_and_goes_and_its_pods_come_back_on_spot"
        ),
    ),
    mutant(
        "a storm lasts twenty times as long",
        "planner/storm.py",
        "until = weather.losses[-1] + breaker.cooldown",
        "until = weather.losses[-1] + breaker.cooldown * 20",
        scenario("interruptions", "a_storm_ends_when_the_set_calm_is_over_and_what_rested_goes"),
    ),
    mutant(
        "early eviction ignores interruption notices",
        "controller/reconcile.py",
        "        if self._cluster.settings.evict_early:\n",
        "        if self._cluster.settings.evict_early and decision.reason is Reason.PAUSED:\n",
        scenario(
            "interruptions",
            "with_early_eviction_pods_leave_at_the_notice_as_fast_as_their_budget_lets_them",
        ),
    ),
    mutant(
        "a rollout blocks the spot fallback",
        "controller/reconcile.py",
        "        if due:\n",
        "        if due and recheck(observed, now) is None:\n",
        scenario("fallback", "a_rollout_that_waits_for_spot_is_freed_by_the_fallback"),
    ),
    mutant(
        "placement ignores reservations",
        "webhook/admission.py",
        "        placement = place(observed, NewPod(owner=owner.uid, name=request.name))\n",
        "        observed = dataclasses.replace(observed, reservations=())\n"
        "        placement = place(observed, NewPod(owner=owner.uid, name=request.name))\n",
        scenario("bursts", "a_burst_is_split_at_birth_although_watches_show"),
    ),
    mutant(
        "evicted pods hold their slots",
        "planner/observed.py",
        "or pod.finished or self.on_terminating_node or self.evicted)",
        "or pod.finished or self.on_terminating_node)",
        "tests/unit/planner/test_candidates.py",
    ),
    mutant(
        "one move more than the surplus is planned",
        "planner/plan.py",
        "surplus = observed.state.surplus(surplus_type) - _landing(observed, surplus_type)",
        "surplus = observed.state.surplus(surplus_type) + 1 - _landing(observed, surplus_type)",
        scenario("change", "0_to_70_to_30_percent_on_10_replicas_takes_7_then_4_evictions"),
    ),
    mutant(
        "the lowest ordinal is evicted first",
        "planner/candidates.py",
        "-1 if slot is None else -slot",
        "-1 if slot is None else slot",
        scenario(
            "change", "adopting_a_stateful_set_evicts_the_ordinals_16_13_10_6_1_0_in_this_order"
        ),
    ),
    mutant(
        "an invalid policy is applied as far as it is valid",
        "webhook/admission.py",
        "        if configuration.problems:\n",
        "        if configuration.problems and not configuration.has_policy:\n",
        scenario("policies", "an_invalid_value_leaves_the_workload_as_it_is_until_it_is_mended"),
    ),
    mutant(
        "a rollout ends with the first updated pod",
        "planner/guards.py",
        "rolling = workload.status_replicas > workload.updated_replicas or len(owners) > 1",
        "rolling = workload.updated_replicas < 1 or len(owners) > 2",
        scenario("rollouts", "a_paused_rollout_stops_moves_until_it_goes_on"),
    ),
    mutant(
        "an eviction is sent under an exhausted budget",
        "planner/budget.py",
        "self._spent.get(budget.name, 0) <= 0:",
        "self._spent.get(budget.name, 0) < 0:",
        scenario("budgets", "a_budget_that_allows_nothing_blocks_its_workload_only_until_it_opens"),
    ),
    mutant(
        "without admission requests all surplus replicas move",
        "planner/plan.py",
        "min(surplus, 1 - len(observed.ledger.intents))",
        "surplus",
        scenario(
            "webhook_away", "a_webhook_that_is_not_reached_at_birth_costs_one_eviction_as_well"
        ),
    ),
    mutant(
        "a leader that shuts down keeps its Lease",
        "controller/leadership.py",
        '                    await self._write(lease, holder="", transitions=lease.transitions)\n',
        '                    logger.info("kept")\n',
        scenario("leader", "a_leader_that_is_told_to_end_hands_over_within_3_seconds"),
    ),
    mutant(
        "a new process does not read the ledger",
        "controller/reconcile.py",
        "held = await self._ledgers.read(workload.uid)\n",
        "held = await self._ledgers.read(workload.uid) if self._journal.sent else None\n",
        scenario("restart", "a_crash_at_any_moment_of_a_rebalance_costs_no_extra_eviction"),
    ),
    mutant(
        "namespace labels take effect at the next resync",
        "controller/cluster.py",
        "        if latest is None:\n            return\n        for store in",
        "        if change.new is None or change.old:\n            return\n        for store in",
        scenario(
            "policies", "a_namespace_outside_the_selector_is_left_alone_until_it_is_relabelled"
        ),
    ),
    mutant(
        "the cooldown setting is ignored",
        "controller/reconcile.py",
        "now + self._cluster.settings.cooldown",
        "now",
        scenario("tuning", "processes_with_other_settings_behave_differently_one_after_the_other"),
    ),
    mutant(
        "missing admission requests are not detected",
        "planner/resolution.py",
        "most=1 if observed.bypassed else FUTILE_MOVES",
        "most=FUTILE_MOVES",
        scenario(
            "webhook_away",
            "a_webhook_that_is_never_called_costs_one_eviction_and_is_named_until_it_is",
        ),
    ),
    mutant(
        "disruption windows open in UTC",
        "model/disruption.py",
        "instant.astimezone(self.timezone)",
        "instant.astimezone(UTC)",
        scenario("windows", "over_a_change_of_clocks_every_move_is_inside_its_window[in spring]"),
    ),
    mutant(
        "a read-only operator writes conditions",
        "app/operator.py",
        "        if self.settings.read_only or not self.settings.conditions:\n",
        "        if not self.settings.conditions:\n",
        scenario(
            "read_only", "whatever_happens_a_read_only_operator_writes_what_it_must_and_no_more"
        ),
    ),
)
