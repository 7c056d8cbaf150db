"""Bugs to plant, each with the tests of which at least one must fail for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src/spotalis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A text that stands exactly once in a file, and what takes its place."""

    file: str
    """Below ``src/spotalis``."""
    before: str
    after: str

    def applied(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            StaleMutantError: the text is not there, or not once only.
        """
        found = text.count(self.before)
        if found != 1:
            raise StaleMutantError(f"{self.file}: {found} times, not once: {self.before!r}")
        return text.replace(self.before, self.after)


class StaleMutantError(AssertionError):
    """The code has moved on: write the mutant anew, or drop it with what it was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Arguments of pytest, the likeliest to fail first."""


WIRE = "tests/integration/test_write_ahead.py"
LEDGER = "tests/unit/planner/test_ledger.py"
GUARDS = "tests/unit/planner/test_guards.py"
FALLBACK = "tests/unit/planner/test_fallback.py"
ZONES = "tests/integration/scenarios/test_zones.py"
ELECTOR = "tests/model/test_elector_designs.py"


def story(file: str, test: str) -> str:
    """A scenario, by its node id."""
    return f"tests/integration/scenarios/test_{file}.py::test_{test}"


def _mutant(name: str, file: str, before: str, after: str, *tests: str) -> Mutant:
    return Mutant(name=name, edits=(Edit(file=file, before=before, after=after),), tests=tests)


MUTANTS = (
    # The ledger.
    _mutant(
        "nothing is written before an eviction",
        "controller/reconcile.py",
        "            held = await self._write(workload, held, ledger)\n        except",
        '            held = LedgerObject(namespace="", name="", ledger=ledger)\n        except',
        WIRE,
    ),
    _mutant(
        "ledgers are named by the workload's name",
        "controller/ledger.py",
        "name = PREFIX + workload.uid\n        self._being_written",
        "name = PREFIX + workload.name\n        self._being_written",
        WIRE,
    ),
    Mutant(
        name="the list comes before the write",
        edits=(
            Edit(
                file="controller/reconcile.py",
                before=(
                    "        try:\n            held = await self._write(workload, held, ledger)\n"
                ),
                after=(
                    "        from spotalis.kube.resources import PODS\n"
                    "        self._evictor._listed = await self._client.list_all(\n"
                    "            PODS, workload.namespace, quorum=True\n"
                    "        )\n"
                    "        try:\n            held = await self._write(workload, held, ledger)\n"
                ),
            ),
            Edit(
                file="controller/evictor.py",
                before=(
                    "        pods = await self._client.list_all(\n            PODS, "
                    "workload.namespace, quorum=True, label_selector=str(workload.selector)\n"
                    "        )\n"
                ),
                after="        pods = self._listed\n",
            ),
        ),
        tests=(WIRE,),
    ),
    _mutant(
        "the list is the server's cache's",
        "controller/evictor.py",
        "PODS, workload.namespace, quorum=True, label_selector",
        "PODS, workload.namespace, quorum=False, label_selector",
        WIRE,
    ),
    _mutant(
        "the floor is counted from our cache",
        "controller/evictor.py",
        "floor_pods=self._floor_pods(observed, living.values()),",
        "floor_pods=self._floor_pods(observed, (r.pod for r in observed.replicas)),",
        WIRE,
    ),
    _mutant(
        "who terminates counts as living",
        "controller/evictor.py",
        "return {pod.uid: pod for pod in pods if pod.deleting_at is None}",
        "return {pod.uid: pod for pod in pods}",
        WIRE,
    ),
    _mutant(
        "intents are forgotten after a while",
        "planner/ledger.py",
        "    old = ledger.intents\n",
        "    old = [intent for intent in ledger.intents if intent.tries < 2]\n",
        LEDGER,
    ),
    _mutant(
        "moves are over after five minutes",
        "planner/settlement.py",
        "    done = [intent for intent in observed.ledger.intents if intent.pod in ended]\n",
        "    done = [\n"
        "        intent\n"
        "        for intent in observed.ledger.intents\n"
        "        if intent.pod in ended\n"
        "        or (intent.at is not None and now - intent.at > timedelta(minutes=5))\n"
        "    ]\n",
        FALLBACK,
    ),
    _mutant(
        "orphans are sent again without a takeover",
        "planner/ledger.py",
        "taken = intent.taken or intent.sender != sender",
        "taken = intent.taken",
        LEDGER,
    ),
    _mutant(
        "what was taken over may be withdrawn",
        "planner/ledger.py",
        " or intent.taken or intent.tries > 1\n",
        "\n",
        LEDGER,
    ),
    _mutant(
        "who is not ready is sent unweighed",
        "planner/ledger.py",
        "intent.toward is NodeType.ON_DEMAND or left >= floor",
        "intent.toward is NodeType.ON_DEMAND or intent.pod not in floor_pods or left >= floor",
        LEDGER,
    ),
    _mutant(
        "a lost answer counts as a refusal",
        "controller/evictor.py",
        "if intent.pod not in self._journal and intent.pod not in maybe",
        "if intent.pod not in self._journal",
        WIRE,
    ),
    _mutant(
        "a list is good for ever",
        "controller/evictor.py",
        "return fresh and self._may_move()",
        "return self._may_move()",
        WIRE,
    ),
    _mutant(
        "a ledger that cannot be read is none",
        "controller/reconcile.py",
        "if held is not None and held.ledger is None:\n            return self._unreadable",
        "if held is not None and held.name == held.uid:\n            return self._unreadable",
        WIRE,
    ),
    _mutant(
        "that spot is short is forgotten in a restart",
        "model/ledger.py",
        'return msgspec.structs.replace(self, schema=SCHEMA, workload="") == Ledger()',
        "return not self.intents",
        story(
            "fallback",
            "a_restart_forgets_neither_that_spot_is_short_nor_when_the_next_probe_is_due",
        ),
    ),
    # Evictions.
    _mutant(
        "evictions name no UID",
        "kube/eviction.py",
        'preconditions = {"uid": pod.uid}',
        "preconditions: dict[str, str] = {}",
        "tests/unit/kube/test_eviction.py",
        WIRE,
    ),
    _mutant(
        "a fallback evicts a pod that has just been bound",
        "controller/evictor.py",
        "with_resource_version=True,\n",
        "with_resource_version=False,\n",
        WIRE,
    ),
    _mutant(
        "who no longer leads sends what it has begun",
        "kube/exchange.py",
        "        if not precondition():\n            raise NotSent\n",
        "",
        "tests/unit/kube/test_eviction.py",
    ),
    _mutant(
        "Retry-After is not obeyed",
        "kube/exchange.py",
        "delay = max(delay, asked or 0.0)",
        "delay = max(delay, 0.0)",
        "tests/unit/kube/test_client.py",
    ),
    _mutant(
        "leases wait in line like everything else",
        "kube/exchange.py",
        "priority=_LEASES in request.path",
        "priority=False",
        "tests/unit/kube/test_client.py",
    ),
    _mutant(
        "a store goes back in time",
        "kube/store.py",
        "if not self._back_in_time and is_older(",
        "if self._back_in_time and is_older(",
        "tests/unit/kube/test_store.py",
    ),
    _mutant(
        "a pod whose budget blocks it is deleted without anybody's wish",
        "controller/evictor.py",
        "if answer.outcome.is_blocked_by_budget and observed.overrides_budgets:",
        "if answer.outcome.is_blocked_by_budget:",
        WIRE,
    ),
    _mutant(
        "the operator's switch alone overrides every owner's budget",
        "controller/observe.py",
        "cluster.settings.pdb_override\n            and configuration.disruption.pdb_override,",
        "cluster.settings.pdb_override,",
        WIRE,
    ),
    # The planner.
    _mutant(
        "unknown counts as on-demand",
        "planner/observed.py",
        "if r.ready and r.node_type is NodeType.ON_DEMAND)",
        "if r.ready and r.node_type is not NodeType.SPOT)",
        "tests/unit/planner/test_observed.py",
    ),
    _mutant(
        "pods that terminate hold their slots",
        "planner/observed.py",
        "return not (pod.deleting_at or pod.finished",
        "return not (pod.finished",
        "tests/unit/planner/test_observed.py",
    ),
    _mutant(
        "pods on leaving nodes hold their slots",
        "planner/observed.py",
        "or pod.finished or self.leaving or self.evicted)",
        "or pod.finished or self.evicted)",
        "tests/unit/planner/test_observed.py",
    ),
    _mutant(
        "a rollout is no reason to wait",
        "planner/guards.py",
        "    plausible,\n    no_rollout,\n",
        "    plausible,\n",
        GUARDS,
    ),
    _mutant(
        "a pause is no reason to wait",
        "planner/guards.py",
        "    writable,\n    not_paused,\n",
        "    writable,\n",
        GUARDS,
    ),
    _mutant(
        "an implausible view is believed",
        "planner/guards.py",
        "    if observed.suspect_list:\n",
        "    if observed.suspect_list and not observed.synced:\n",
        GUARDS,
    ),
    _mutant(
        "one too many is planned away",
        "planner/plan.py",
        "crowded is NodeType.ON_DEMAND and spare <= 0",
        "crowded is NodeType.ON_DEMAND and spare < 0",
        "tests/unit/planner/test_plan.py",
    ),
    _mutant(
        "spot rounds up",
        "model/replicas.py",
        "min(n * percent // 100, max",
        "min(-(-n * percent // 100), max",
        "tests/unit/model/test_replicas.py",
    ),
    _mutant(
        "two budgets on one pod are as good as one",
        "planner/budget.py",
        "if len(matching) > 1:",
        "if len(matching) > 2:",
        "tests/unit/planner/test_budget.py",
    ),
    _mutant(
        "a StatefulSet's ordinals start at 0",
        "planner/candidates.py",
        "return int(digits) - first if",
        "return int(digits) if",
        "tests/unit/planner/test_placement.py",
    ),
    _mutant(
        "moves towards spot go on in a storm",
        "planner/guards.py",
        "= (no_storm, within_budget",
        "= (within_budget",
        GUARDS,
    ),
    # Spot that is short.
    _mutant(
        "a probe sends all that there is to move",
        "planner/plan.py",
        "supply.probe and any(move.probe for move in moves)",
        "supply.probe and len(moves) < 0",
        FALLBACK,
        "tests/unit/planner/test_plan.py",
    ),
    _mutant(
        "everybody probes at once",
        "planner/plan.py",
        "if not observed.probe_free:",
        "if not observed.synced:",
        FALLBACK,
        "tests/unit/planner/test_plan.py",
    ),
    _mutant(
        "futile moves are not counted",
        "planner/settlement.py",
        "        else:  # a probe too",
        "        elif not found.stays:  # a probe too",
        FALLBACK,
    ),
    _mutant(
        "a probe that landed where it came from was none",
        "planner/settlement.py",
        "        else:  # a probe too",
        "        elif not intent.probe:  # a probe too",
        FALLBACK,
        "tests/integration/faults/test_surroundings.py",
    ),
    _mutant(
        "spot stays short for ever",
        "planner/settlement.py",
        "if at_rest or (enough and ledger.market is Market.SHORT):",
        "if at_rest and enough:",
        FALLBACK,
    ),
    # The webhook.
    _mutant(
        "the webhook denies",
        "webhook/admission_review.py",
        '{"uid": uid, "allowed": True}',
        '{"uid": uid, "allowed": bool(patch)}',
        story("basic", "what_is_not_opted_in_is_untouched"),
    ),
    _mutant(
        "the API server may fail pods without us",
        "webhook/webhook_configuration.py",
        '"failurePolicy": "Ignore"',
        '"failurePolicy": "Fail"',
        "tests/unit/webhook/test_webhook_configuration.py",
    ),
    _mutant(
        "a patch takes the place of what is there",
        "webhook/pod_patch.py",
        '    if present is None:\n        return [{"op": "add", "path": path, "value": dict',
        '    if present != wanted:\n        return [{"op": "add", "path": path, "value": dict',
        "tests/unit/webhook/test_pod_patch.py",
    ),
    _mutant(
        "a dry run reserves",
        "webhook/admission.py",
        "        if not request.dry_run:\n            self._reserve",
        "        if request.uid:\n            self._reserve",
        "tests/integration/test_dry_runs.py",
    ),
    _mutant(
        "reservations stay when their pods have come",
        "controller/reservations.py",
        'from now on its own event counts it."""\n        self._drop(owner, review)',
        'from now on its own event counts it."""\n        self.find(owner, review)',
        "tests/integration/test_dry_runs.py",
    ),
    _mutant(
        "the lowest slot is deleted first",
        "webhook/pod_patch.py",
        "str(BASE_DELETION_COST - placement.slot)",
        "str(BASE_DELETION_COST + placement.slot)",
        story("scaling", "6_to_2_to_12_needs_no_eviction"),
    ),
    _mutant(
        "TLS 1.2 will do",
        "webhook/serving_certificate.py",
        "        self.context = _front(minimum_version)",
        "        self.context = _front(ssl.TLSVersion.TLSv1_2)",
        "tests/unit/webhook/test_serving_certificate.py",
    ),
    # Where a replacement can land.
    _mutant(
        "volumes are not looked at",
        "controller/observe.py",
        "reach=self._volumes.reach(pod) if pod.claims else ()",
        "reach=()",
        ZONES,
    ),
    _mutant(
        "an open move takes room in any zone",
        "controller/offers.py",
        "yield shape.restricted_to(self._volumes.reach_of(intent.pod))",
        "yield shape",
        ZONES,
    ),
    _mutant(
        "a node pool is evidence for every zone",
        "controller/offers.py",
        "here = [node for node in cluster.nodes.store if node_matches(node.labels, reach)]",
        "here = list(cluster.nodes.store)",
        ZONES,
    ),
    _mutant(
        "room is counted with the template's requests",
        "controller/offers.py",
        "    if not made:\n        return workload.shape",
        "    return workload.shape",
        "tests/integration/scenarios/test_neighbours.py",
    ),
    _mutant(
        "any news of the owner will do",
        "webhook/admission.py",
        "while _seen(observed, owner, request.name) >= found.owner_replicas:",
        "if _seen(observed, owner, request.name) >= found.owner_replicas:",
        "tests/integration/scenarios/test_neighbours.py",
    ),
    # Who leads.
    _mutant(
        "whoever holds the Lease, we renew it",
        "controller/leadership.py",
        "lease.holder == state.identity:\n        return Renew()",
        "lease.holder:\n        return Renew()",
        ELECTOR,
    ),
    _mutant(
        "a holder's time does not count anew when it writes",
        "controller/leadership.py",
        "seen_at=now if ",
        "seen_at=state.seen_at if ",
        ELECTOR,
    ),
    _mutant(
        "the Lease is given back by one who leads",
        "controller/leadership.py",
        'self._step_down("shutting down")',
        'logger.info("shutting down")',
        "tests/unit/controller/test_release.py",
    ),
    # The rows of scenarios (docs/contributing/scenarios.md), each killed by the story named.
    _mutant(
        "Karpenter's taint announces nothing",
        "planner/interruption.py",
        '_tainted("karpenter.sh/disrupted")',
        '_tainted("karpenter.sh/disrupted:NoSchedule")',
        story(
            "interruptions", "a_spot_node_warns_is_drained_and_goes_and_its_pods_come_back_on_spot"
        ),
    ),
    _mutant(
        "a storm lasts as long as it likes",
        "planner/storm.py",
        "until = weather.losses[-1] + breaker.cooldown",
        "until = weather.losses[-1] + breaker.cooldown * 20",
        story("interruptions", "a_storm_ends_when_the_set_calm_is_over_and_what_rested_goes"),
    ),
    _mutant(
        "a notice is no reason to go early",
        "controller/reconcile.py",
        "        if self._cluster.settings.evict_early:\n",
        "        if self._cluster.settings.evict_early and decision.reason is Reason.PAUSED:\n",
        story(
            "interruptions",
            "with_early_eviction_pods_leave_at_the_notice_as_fast_as_their_budget_lets_them",
        ),
    ),
    _mutant(
        "a rollout keeps replicas from falling back",
        "controller/reconcile.py",
        "        if due:\n",
        "        if due and hold_back(observed, now) is None:\n",
        story("fallback", "a_rollout_that_waits_for_spot_is_freed_by_the_fallback"),
    ),
    _mutant(
        "what is on its way still fills its class",
        "webhook/admission.py",
        "        placement = place(observed, NewPod(owner=owner.uid, name=request.name))\n",
        "        observed = dataclasses.replace(observed, reservations=())\n"
        "        placement = place(observed, NewPod(owner=owner.uid, name=request.name))\n",
        story("bursts", "a_burst_is_split_at_birth_although_watches_show"),
    ),
    _mutant(
        "who was evicted still fills its class",
        "planner/observed.py",
        "or pod.finished or self.leaving or self.evicted)",
        "or pod.finished or self.leaving)",
        "tests/unit/planner/test_candidates.py",
    ),
    _mutant(
        "one more goes than there are too many",
        "planner/plan.py",
        "surplus = observed.state.surplus(crowded) - _landing(observed, crowded)",
        "surplus = observed.state.surplus(crowded) + 1 - _landing(observed, crowded)",
        story("change", "0_to_70_to_30_percent_on_10_replicas_takes_7_then_4_evictions"),
    ),
    _mutant(
        "the lowest ordinal goes first",
        "planner/candidates.py",
        "-1 if slot is None else -slot",
        "-1 if slot is None else slot",
        story("change", "adopting_a_stateful_set_evicts_the_ordinals_16_13_10_6_1_0_in_this_order"),
    ),
    _mutant(
        "new pods are placed by what can be read of an invalid policy",
        "webhook/admission.py",
        "        if configuration.problems:\n",
        "        if configuration.problems and not configuration.has_policy:\n",
        story("policies", "an_invalid_value_leaves_the_workload_as_it_is_until_it_is_mended"),
    ),
    _mutant(
        "a Deployment's rollout is over once its new pods are there",
        "planner/guards.py",
        "rolling = workload.status_replicas > workload.updated_replicas or len(owners) > 1",
        "rolling = workload.updated_replicas < 1 or len(owners) > 2",
        story("rollouts", "a_paused_rollout_stops_moves_until_it_goes_on"),
    ),
    _mutant(
        "a budget that allows nothing is tried all the same",
        "planner/budget.py",
        "self._spent.get(budget.name, 0) <= 0:",
        "self._spent.get(budget.name, 0) < 0:",
        story("budgets", "a_budget_that_allows_nothing_blocks_its_workload_only_until_it_opens"),
    ),
    _mutant(
        "where no review ever came everybody goes to find out",
        "planner/plan.py",
        "min(surplus, 1 - len(observed.ledger.intents))",
        "surplus",
        story("webhook_away", "a_webhook_that_is_not_reached_at_birth_costs_one_eviction_as_well"),
    ),
    _mutant(
        "a leader that ends lets its Lease run out",
        "controller/leadership.py",
        '                    await self._write(lease, holder="", transitions=lease.transitions)\n',
        '                    logger.info("kept")\n',
        story("leader", "a_leader_that_is_told_to_end_hands_over_within_3_seconds"),
    ),
    _mutant(
        "a process that has sent nothing yet reads no ledger",
        "controller/reconcile.py",
        "held = await self._ledgers.read(workload.uid)\n",
        "held = await self._ledgers.read(workload.uid) if self._journal.sent else None\n",
        story("restart", "a_crash_at_any_moment_of_a_rebalance_costs_no_extra_eviction"),
    ),
    _mutant(
        "a namespace's labels are heeded at the next look",
        "controller/cluster.py",
        "        if latest is None:\n            return\n        for store in",
        "        if change.new is None or change.old:\n            return\n        for store in",
        story("policies", "a_namespace_outside_the_selector_is_left_alone_until_it_is_relabelled"),
    ),
    _mutant(
        "the cooldown is no setting",
        "controller/reconcile.py",
        "now + self._cluster.settings.cooldown",
        "now",
        story("tuning", "processes_with_other_settings_behave_differently_one_after_the_other"),
    ),
    _mutant(
        "that no review ever came is not noticed",
        "planner/settlement.py",
        "most=1 if observed.unreviewed else FUTILE_MOVES",
        "most=FUTILE_MOVES",
        story(
            "webhook_away",
            "a_webhook_that_is_never_called_costs_one_eviction_and_is_named_until_it_is",
        ),
    ),
    _mutant(
        "windows open by Greenwich",
        "model/disruption.py",
        "instant.astimezone(self.timezone)",
        "instant.astimezone(UTC)",
        story("windows", "over_a_change_of_clocks_every_move_is_inside_its_window[in spring]"),
    ),
    _mutant(
        "read-only keeps conditions",
        "app/operator.py",
        "        if self.settings.read_only or not self.settings.conditions:\n",
        "        if not self.settings.conditions:\n",
        story("read_only", "whatever_happens_a_read_only_operator_writes_what_it_must_and_no_more"),
    ),
)
