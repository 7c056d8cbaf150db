"""Mutants about tenants, several instances, and checks at the moment of an eviction."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant, mutant, scenario

SEND_TIME = "tests/integration/test_send_time_checks.py"
PLANNED = f"{SEND_TIME}::test_after_a_pause_or_a_lost_lease_no_planned_eviction_or_deletion_is_sent"
LEADERS = "tests/integration/test_change_of_leader.py"
ELECTION = "tests/unit/controller/test_leadership_model.py"

ISOLATION_MUTANTS = (
    Mutant(
        name="pods of another namespace count for the owner that they name",
        edits=(
            Edit(
                file="controller/cluster.py",
                before="self._pods_by_owner, (pod.namespace, pod.owner.uid)",
                after='self._pods_by_owner, ("", pod.owner.uid)',
            ),
            Edit(
                file="controller/cluster.py",
                before="self._pods_by_owner.get((namespace, owner_uid), {})",
                after='self._pods_by_owner.get(("", owner_uid), {})',
            ),
        ),
        tests=(
            scenario("tenants", "pods_of_another_namespace_that_name_the_owner_are_not_counted"),
        ),
    ),
    Mutant(
        name="ReplicaSets of another namespace count for the Deployment that they name",
        edits=(
            Edit(
                file="controller/cluster.py",
                before="owner = record.namespace, record.owner.uid",
                after='owner = "", record.owner.uid',
            ),
            Edit(
                file="controller/cluster.py",
                before="self._sets_by_workload.get((workload.namespace, workload.uid), {})",
                after='self._sets_by_workload.get(("", workload.uid), {})',
            ),
            Edit(
                file="controller/cluster.py",
                before="self._pods_by_owner, (pod.namespace, pod.owner.uid)",
                after='self._pods_by_owner, ("", pod.owner.uid)',
            ),
            Edit(
                file="controller/cluster.py",
                before="self._pods_by_owner.get((namespace, owner_uid), {})",
                after='self._pods_by_owner.get(("", owner_uid), {})',
            ),
        ),
        tests=(
            scenario("tenants", "pods_of_another_namespace_that_name_the_owner_are_not_counted"),
        ),
    ),
    mutant(
        "one ledger that cannot be checked ends the sweep",
        "controller/sweep.py",
        '                    "Failed to clean up ledger; retrying", ledger=held.name, '
        "error=str(error)\n                )\n",
        '                    "Failed to clean up ledger; retrying", ledger=held.name, '
        "error=str(error)\n                )\n                return\n",
        scenario(
            "tenants",
            "a_ledger_that_cannot_be_checked_does_not_keep_the_ledgers_of_deleted_workloads",
        ),
    ),
    mutant(
        "a workload that is not in the cache counts as deleted",
        "controller/sweep.py",
        "return await self._was_deleted(held.name, held.ledger)",
        "return True",
        f"{LEADERS}::test_a_new_leader_that_does_not_know_a_workload_yet_keeps_its_ledger",
    ),
    mutant(
        "a planned fallback is sent without a last check",
        "controller/evictor.py",
        "replica.pod, with_resource_version=True, precondition=is_unchanged",
        "replica.pod, with_resource_version=True",
        f"{PLANNED}[plan_fallbacks-pause-embedded]",
    ),
    mutant(
        "a planned early eviction is sent without a last check",
        "controller/evictor.py",
        "self._client.evict(replica.pod, precondition=is_unchanged)",
        "self._client.evict(replica.pod)",
        f"{PLANNED}[plan_early_evictions-pause-embedded]",
    ),
    mutant(
        "a planned move is sent without a last check",
        "controller/evictor.py",
        "self._client.evict(pod, precondition=precondition)",
        "self._client.evict(pod)",
        SEND_TIME,
    ),
    mutant(
        "a blocked pod is deleted without a last check",
        "controller/evictor.py",
        "self._client.delete_pod(pod, precondition=precondition)",
        "self._client.delete_pod(pod, precondition=lambda: True)",
        f"{PLANNED}[plan_deletion-pause-embedded]",
    ),
    mutant(
        "the last check ignores a lost Lease",
        "controller/evictor.py",
        "                self._can_evict()\n                and found is not None\n",
        "                found is not None\n",
        SEND_TIME,
    ),
    mutant(
        "the last check ignores a changed policy",
        "controller/evictor.py",
        "                and self._cluster.find_configuration(key) == configuration\n",
        "",
        SEND_TIME,
    ),
    mutant(
        "the last check takes a recreated workload for the planned one",
        "controller/evictor.py",
        "                and found.uid == workload.uid\n",
        "",
        SEND_TIME,
    ),
    mutant(
        "a leader without caches answers forwarded requests",
        "webhook/admission.py",
        "            if body is None:\n                raise NotLeader\n",
        "",
        f"{LEADERS}::"
        "test_a_leader_without_a_list_of_pods_leaves_the_decision_to_the_instance_that_asks",
    ),
    mutant(
        "a denied list keeps the whole operator from starting",
        "controller/cache_health.py",
        "waits = [each for each in pending if each not in self._denied]",
        "waits = pending",
        "tests/unit/controller/test_cache_health.py",
        scenario(
            "watched_namespaces",
            "a_namespace_that_the_operator_may_not_read_stops_only_its_own_workloads",
        ),
    ),
    mutant(
        "an instance that can place no pod is ready",
        "controller/cache_health.py",
        "        if not waits and not self._can_place_any():\n",
        "        if not waits and not pending:\n",
        "tests/unit/controller/test_cache_health.py",
    ),
    mutant(
        "a silent watch of one namespace stops all moves",
        "kube/store.py",
        'return min(by_scope.get("", float("inf")), by_scope.get(namespace, float("inf")))',
        "return min(by_scope.values())",
        scenario(
            "watched_namespaces",
            "a_namespace_whose_permissions_are_withdrawn_stops_only_its_own_workloads",
        ),
    ),
    mutant(
        "a silent watch of a namespace does not stop its moves",
        "kube/store.py",
        'return min(by_scope.get("", float("inf")), by_scope.get(namespace, float("inf")))',
        "return max(by_scope.values())",
        "tests/unit/controller/test_cache_health.py",
    ),
    mutant(
        "a namespace that is read later is not reconciled",
        "app/watches.py",
        "        if relist.is_first:\n            self._on_first_list()\n",
        "        if relist.is_first and not self.synced.is_set():\n"
        "            self._on_first_list()\n",
        scenario(
            "watched_namespaces",
            "without_the_list_of_budgets_pods_are_placed_and_moved_only_when_it_arrives",
        ),
    ),
    mutant(
        "placing a pod waits for the list of budgets",
        "controller/cache_health.py",
        "self._are_synced(_FOR_PLACEMENT[kind], namespace)",
        "self._are_synced(_FOR_MOVES[kind], namespace)",
        scenario(
            "watched_namespaces",
            "without_the_list_of_budgets_pods_are_placed_and_moved_only_when_it_arrives",
        ),
    ),
    mutant(
        "moves do not wait for the list of budgets",
        "controller/cache_health.py",
        'kind: plurals | {"poddisruptionbudgets"} for kind',
        "kind: plurals for kind",
        scenario(
            "watched_namespaces",
            "without_the_list_of_budgets_pods_are_placed_and_moved_only_when_it_arrives",
        ),
    ),
    mutant(
        "objects that one tenant deletes make the list suspect for all",
        "controller/cache_health.py",
        "affected = namespace if _is_plausible(lost - most, before - most) else scope",
        "affected = scope",
        scenario("tenants", "pods_that_a_tenant_deletes_during_a_relist_stop_only_its_own_moves"),
        "tests/unit/controller/test_cache_health.py",
    ),
    mutant(
        "the age of a cache is not exported while a list is denied",
        "app/telemetry.py",
        'if at > float("-inf")])',
        "if store.synced])",
        "tests/unit/app/test_telemetry.py",
    ),
    mutant(
        "one silent watch makes an instance unready",
        "controller/cache_health.py",
        'latest = max(heard, default=float("-inf"))',
        'latest = min(heard, default=float("-inf"))',
        "tests/unit/app/test_process.py",
    ),
    mutant(
        "an instance that lost the lead remembers deleted workloads",
        "app/reconcile_loop.py",
        "            self._reporter.forget_all()\n",
        "",
        f"{LEADERS}::test_an_instance_that_lost_the_lead_keeps_nothing_of_workloads_deleted_since",
    ),
    mutant(
        "a reconcile that ends after the lead was lost leaves a result",
        "app/reconcile_loop.py",
        "        if self._elector.leads:  # It may have lost the Lease during the reconcile.\n"
        "            self.results[key] = result\n",
        "        self.results[key] = result\n",
        f"{LEADERS}::test_a_reconcile_that_ends_after_the_lead_was_lost_leaves_no_result",
    ),
    mutant(
        "reservations never expire",
        "controller/reservations.py",
        "            if oldest.made_at >= oldest_valid:\n",
        "            if oldest.made_at >= oldest_valid or request_uid:\n",
        scenario(
            "overriding_webhooks",
            "the_slot_of_a_pod_that_another_webhook_rejects_is_free_again_after_30_s",
        ),
    ),
    mutant(
        "failed writes of deleted workloads are remembered",
        "controller/ledgers.py",
        "            or self.store.get(self._namespace, name) is not None\n",
        "            or name\n",
        "tests/unit/controller/test_ledgers.py",
    ),
    mutant(
        "reservations of deleted owners are kept",
        "controller/reservations.py",
        "        self._expire_owners()\n",
        "",
        "tests/unit/controller/test_reservations.py",
    ),
    mutant(
        "the lead counts from the response to a renewal",
        "controller/leadership.py",
        "leads_until=started + deadline",
        "leads_until=self._clock.monotonic() + deadline",
        ELECTION,
    ),
    mutant(
        "an instance leads for the whole lease duration",
        "controller/leadership.py",
        "        deadline = self._settings.renew_deadline.total_seconds()\n        led",
        "        deadline = self._settings.lease_duration.total_seconds()\n        led",
        ELECTION,
    ),
    mutant(
        "one namespace may use all places of the cluster",
        "controller/open_moves.py",
        "share = -(-limit // 2) if is_shared else limit",
        "share = limit",
        "tests/unit/controller/test_open_moves.py",
        scenario("tenants", "moves_that_never_finish_leave_half_of_the_places_to_other_namespaces"),
    ),
    Mutant(
        name="a move that never finishes holds its place in the cluster",
        edits=(
            Edit(
                file="controller/open_moves.py",
                before="if self._counts(intent, COUNTED_FOR)",
                after="if self._counts(intent, PROBE_COUNTED_FOR)",
            ),
            Edit(  # Without it, a time in the past wakes the workload up again and again.
                file="controller/open_moves.py",
                before="left += [COUNTED_FOR - self._age",
                after="left += [PROBE_COUNTED_FOR - self._age",
            ),
        ),
        tests=(
            scenario("tenants", "a_move_holds_its_place_in_the_cluster_for_five_minutes_at_most"),
        ),
    ),
    mutant(
        "a probe that does not end keeps all others from probing",
        "controller/open_moves.py",
        "probes=any(intent.probe for intent in probes),",
        "probes=any(i.probe for intents in moves.values() for i in intents),",
        scenario("tenants", "a_probe_that_does_not_end_keeps_other_namespaces_waiting_5_minutes"),
    ),
    mutant(
        "the workloads of one namespace claim the probe in turn",
        "controller/open_moves.py",
        "if self._counts(i, PROBE_COUNTED_FOR)]",
        "if self._counts(i, COUNTED_FOR)]",
        scenario("tenants", "a_probe_that_does_not_end_keeps_other_namespaces_waiting_5_minutes"),
    ),
    mutant(
        "the end of another move's place does not wake a workload up",
        "planner/guards.py",
        'f"maxMovesInFlight is reached {where}", observed.moves.next_in)',
        'f"maxMovesInFlight is reached {where}")',
        scenario("tenants", "a_move_holds_its_place_in_the_cluster_for_five_minutes_at_most"),
    ),
    mutant(
        "moves toward the minimum wait for other workloads",
        "planner/observed.py",
        "        return max(self.moves.free, self.below_floor)\n",
        "        return self.moves.free\n",
        scenario("tenants", "moves_toward_the_minimum_wait_for_no_other_workload"),
    ),
    mutant(
        "moves beyond the minimum do not wait for other workloads",
        "planner/observed.py",
        "        return max(self.moves.free, self.below_floor)\n",
        "        return max(self.moves.free, self.below_floor and 99)\n",
        scenario("tenants", "moves_toward_the_minimum_wait_for_no_other_workload"),
    ),
    mutant(
        "a finished move frees a place that it did not hold",
        "planner/decide.py",
        "sum(intent.pod in moves.holders for intent in finished)",
        "len(finished)",
        "tests/unit/planner/test_decide.py",
    ),
)
