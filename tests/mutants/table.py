"""Mutants that unit tests, the model checkers and the integration tests must find."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant, mutant, scenario

WIRE = "tests/integration/test_write_ahead.py"
LEDGER = "tests/unit/planner/test_ledger.py"
GUARDS = "tests/unit/planner/test_guards.py"
FALLBACK = "tests/unit/planner/test_fallback.py"
TOGETHER = "tests/unit/planner/test_moves_together.py"
RESOLUTION = "tests/unit/planner/test_resolution.py"
ZONES = "tests/integration/scenarios/test_zones.py"
ELECTOR = "tests/model/test_elector_designs.py"

MUTANTS = (
    # Ledger
    mutant(
        "an eviction is sent without a ledger write",
        "controller/reconcile.py",
        "            stored = await self._write(workload, stored, plan)\n        except",
        '            stored = LedgerObject(namespace="", name="", ledger=plan.ledger)\n'
        "        except",
        WIRE,
    ),
    mutant(
        "ledgers are named after workloads instead of their UIDs",
        "controller/ledgers.py",
        "name = LEDGER_PREFIX + workload.uid\n        label",
        "name = LEDGER_PREFIX + workload.name\n        label",
        WIRE,
    ),
    Mutant(
        name="pods are listed before the ledger is written",
        edits=(
            Edit(
                file="controller/reconcile.py",
                before=(
                    "        try:\n            stored = await self._write(workload, stored, plan)\n"
                ),
                after=(
                    "        from spotalis.kube.resources import PODS\n"
                    "        self._evictor._listed = await self._evictor._client.list_all(\n"
                    "            PODS, workload.namespace, quorum=True\n"
                    "        )\n"
                    "        try:\n            stored = await self._write(workload, stored, plan)\n"
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
    mutant(
        "pods are listed from the API server's cache",
        "controller/evictor.py",
        "PODS, workload.namespace, quorum=True, label_selector",
        "PODS, workload.namespace, quorum=False, label_selector",
        WIRE,
    ),
    mutant(
        "the floor is counted from the operator's cache",
        "controller/evictor.py",
        "floor_pods=self._floor_pods(observed, live.values()),",
        "floor_pods=self._floor_pods(observed, (r.pod for r in observed.replicas)),",
        WIRE,
    ),
    mutant(
        "terminating pods count as live",
        "controller/evictor.py",
        "return {pod.uid: pod for pod in pods if pod.deleting_at is None}",
        "return {pod.uid: pod for pod in pods}",
        WIRE,
    ),
    mutant(
        "intents are dropped after the first try",
        "planner/ledger.py",
        "    old = ledger.intents\n",
        "    old = [intent for intent in ledger.intents if intent.attempts < 2]\n",
        LEDGER,
    ),
    mutant(
        "moves end after five minutes",
        "planner/resolution.py",
        "[intent for intent in observed.ledger.intents if intent.pod in observed.terminated]",
        "[i for i in observed.ledger.intents if now - (i.created_at or now) > timedelta(0, 300)]",
        RESOLUTION,
    ),
    mutant(
        "intents of another instance are resent without a takeover",
        "planner/ledger.py",
        "taken_over=intent.taken_over or intent.instance != instance",
        "taken_over=intent.taken_over",
        LEDGER,
    ),
    mutant(
        "intents that were taken over can be withdrawn",
        "planner/ledger.py",
        "        or intent.taken_over\n        or intent.attempts > 1\n",
        "",
        LEDGER,
    ),
    mutant(
        "evictions of unready pods bypass the floor",
        "planner/ledger.py",
        "intent.target is NodeType.ON_DEMAND or left >= floor",
        "intent.target is NodeType.ON_DEMAND or intent.pod not in floor_pods or left >= floor",
        LEDGER,
    ),
    mutant(
        "a lost response counts as a refused eviction",
        "controller/evictor.py",
        "if intent.pod not in self._terminations and intent.pod not in unknown",
        "if intent.pod not in self._terminations",
        WIRE,
    ),
    mutant(
        "a list of pods never expires",
        "controller/evictor.py",
        "return fresh and is_unchanged()",
        "return is_unchanged()",
        WIRE,
    ),
    mutant(
        "an unreadable ledger counts as none",
        "controller/reconcile.py",
        "if stored is not None and stored.ledger is None:\n            return self._unreadable",
        "if stored is not None and stored.name == stored.uid:\n            return self._unreadable",
        "tests/integration/faults/test_processes.py::test_row_55_a_ledger_of_another_version_stops_only_its_workload",
    ),
    # Evictions and requests
    mutant(
        "evictions have no UID precondition",
        "kube/eviction.py",
        'preconditions = {"uid": pod.uid}',
        "preconditions: dict[str, str] = {}",
        "tests/unit/kube/test_eviction.py",
        WIRE,
    ),
    mutant(
        "a fallback evicts a pod that was just bound",
        "controller/evictor.py",
        "replica.pod, with_resource_version=True,",
        "replica.pod, with_resource_version=False,",
        WIRE,
    ),
    mutant(
        "a former leader sends a request that it prepared",
        "kube/exchange.py",
        "        if not precondition():\n            raise NotSent\n",
        "",
        "tests/unit/kube/test_eviction.py",
    ),
    mutant(
        "Retry-After is ignored",
        "kube/exchange.py",
        "delay = max(delay, asked or 0.0)",
        "delay = max(delay, 0.0)",
        "tests/unit/kube/test_client.py",
    ),
    mutant(
        "Lease requests wait behind the rate limit",
        "kube/exchange.py",
        "priority=_LEASES in request.path",
        "priority=False",
        "tests/unit/kube/test_client.py",
    ),
    mutant(
        "a store accepts older objects",
        "kube/store.py",
        "if not self._back_in_time and is_older(",
        "if self._back_in_time and is_older(",
        "tests/unit/kube/test_store.py",
    ),
    mutant(
        "a blocked pod is deleted without an override",
        "controller/evictor.py",
        "if result.outcome.is_blocked_by_budget and observed.moves.may_override_budgets:",
        "if result.outcome.is_blocked_by_budget:",
        WIRE,
    ),
    mutant(
        "the operator's setting alone overrides every budget",
        "controller/observe.py",
        "settings.pdb_override and configuration.disruption.pdb_override,",
        "settings.pdb_override,",
        WIRE,
    ),
    # Planner
    mutant(
        "pods of unknown capacity type count as on-demand",
        "planner/observed.py",
        "if r.is_ready and r.node_type is NodeType.ON_DEMAND)",
        "if r.is_ready and r.node_type is not NodeType.SPOT)",
        "tests/unit/planner/test_observed.py",
    ),
    mutant(
        "terminating pods hold their slots",
        "planner/observed.py",
        "            pod.deleting_at or pod.finished or self.on_terminating_node",
        "            pod.finished or self.on_terminating_node",
        "tests/unit/planner/test_observed.py",
    ),
    mutant(
        "pods on terminating nodes hold their slots",
        "planner/observed.py",
        "or pod.finished or self.on_terminating_node or self.counts_as_gone\n",
        "or pod.finished or self.counts_as_gone\n",
        "tests/unit/planner/test_observed.py",
    ),
    mutant(
        "moves do not wait for a rollout",
        "planner/guards.py",
        "    plausible,\n    no_rollout,\n",
        "    plausible,\n",
        GUARDS,
    ),
    mutant(
        "moves do not wait for the end of a pause",
        "planner/guards.py",
        "    writable,\n    not_paused,\n",
        "    writable,\n",
        GUARDS,
    ),
    mutant(
        "an implausible list is trusted",
        "planner/guards.py",
        "    if observed.cluster.suspect_list:\n",
        "    if observed.cluster.suspect_list and not observed.cluster.synced:\n",
        GUARDS,
    ),
    mutant(
        "one move too many leaves on-demand",
        "planner/moves.py",
        "self._from_on_demand and self._above_floor <= 0",
        "self._from_on_demand and self._above_floor < 0",
        "tests/unit/planner/test_moves.py",
    ),
    mutant(
        "the spot target is rounded up",
        "model/replicas.py",
        "min(n * percent // 100, max",
        "min(-(-n * percent // 100), max",
        "tests/unit/model/test_replicas.py",
    ),
    mutant(
        "a pod with two budgets is evicted",
        "planner/budget.py",
        "if len(matching) > 1:",
        "if len(matching) > 2:",
        "tests/unit/planner/test_budget.py",
    ),
    mutant(
        "StatefulSet ordinals always start at 0",
        "planner/candidates.py",
        "return int(digits) - first if",
        "return int(digits) if",
        "tests/unit/planner/test_placement.py",
    ),
    mutant(
        "moves to spot continue during a storm",
        "planner/guards.py",
        "    no_storm,\n    spot_stable,",
        "    spot_stable,",
        GUARDS,
    ),
    # Spot capacity
    mutant(
        "the replicas that waited for spot are not a probe",
        "planner/spot_knowledge.py",
        "        next_probe_at = failed.at + probe_backoff(failed.failed_probes)",
        "        next_probe_at = failed.at",
        "tests/unit/planner/test_spot_knowledge.py",
    ),
    mutant(
        "the failure of a larger pod counts for a smaller one",
        "planner/spot_knowledge.py",
        "        record.cpu_millis <= question.cpu_millis",
        "        record.cpu_millis >= 0",
        "tests/unit/planner/test_spot_knowledge.py",
    ),
    mutant(
        "a short wait counts for workloads that wait longer",
        "planner/spot_knowledge.py",
        "        and timedelta(seconds=record.waited_seconds) >= question.patience",
        "        and question.patience < timedelta.max",
        "tests/unit/planner/test_spot_knowledge.py",
    ),
    mutant(
        "what is known about spot is not written before evictions",
        "controller/reconcile.py",
        "            await self._ledgers.spot.write()",
        "            pass",
        scenario(
            "fallback",
            "a_restart_keeps_the_spot_shortage_and_the_time_of_the_next_probe",
        ),
    ),
    mutant(
        "a conflict loses what another instance knows about spot",
        "controller/spot_memory.py",
        "            known = merge(stored.spot if stored is not None else (), news)",
        "            known = news",
        "tests/unit/controller/test_spot_memory.py",
    ),
    mutant(
        "the scheduler's FailedScheduling counts as Karpenter's",
        "controller/autoscaler.py",
        "    if REFUSED.get(component) == reason and is_about_nodes:",
        "    if reason in REFUSED.values():",
        "tests/unit/controller/test_autoscaler.py",
    ),
    mutant(
        "old replicas that are lost later open the interruption breaker",
        "planner/breaker.py",
        "any(_is_after(r.node_created_at, recent[-1]) for r in lost)",
        "recent[-1] < now",
        "tests/unit/planner/test_breaker.py",
    ),
    mutant(
        "new replicas that are lost with an old node open the interruption breaker",
        "planner/breaker.py",
        "any(_is_after(r.node_created_at, recent[-1]) for r in lost)",
        "any(_is_after(r.pod.created_at, recent[-1]) for r in lost)",
        "tests/unit/planner/test_breaker.py",
    ),
    mutant(
        "the last notice of a node tells which component has decided its end",
        "planner/interruption.py",
        "    first = min((since",
        "    first = max((since",
        "tests/unit/planner/test_interruption.py",
    ),
    mutant(
        "nodes that an autoscaler removes count for a storm when they are announced",
        "controller/nodes.py",
        "        if end is not None and not end.by_autoscaler:",
        "        if end is not None:",
        "tests/unit/controller/test_interruptions.py",
    ),
    mutant(
        "nodes that an autoscaler removes count for a storm when they are gone",
        "controller/nodes.py",
        "            if not by_autoscaler:",
        "            if True:",
        "tests/unit/controller/test_interruptions.py",
    ),
    mutant(
        "a half open breaker lets all replicas try",
        "planner/breaker.py",
        "    return max(0, 1 - trying - moving - reserved)",
        "    return max(0, 9 - trying - moving - reserved)",
        "tests/unit/planner/test_breaker.py",
    ),
    mutant(
        "a probe starts while replicas are missing",
        "planner/moves.py",
        "if supply.probe and supply.stop and missing > 0 and",
        "if supply.probe and supply.stop and missing > 99 and",
        "tests/unit/planner/test_fallback.py",
    ),
    mutant(
        "a spot node that another workload was given is not evidence",
        "planner/decide.py",
        "    if seen.is_exhausted and seen.since and joined_at and joined_at > seen.since:",
        "    if seen.is_exhausted and seen.since and joined_at and joined_at < seen.since:",
        "tests/unit/planner/test_fallback.py",
    ),
    mutant(
        "a probe moves all surplus replicas",
        "planner/moves.py",
        "supply.probe and any(move.probe for move in self._moves)",
        "supply.probe and len(self._moves) < 0",
        FALLBACK,
        "tests/unit/planner/test_moves.py",
        "tests/unit/planner/test_move_capacity.py",
    ),
    mutant(
        "moves that need new nodes do not start together",
        "planner/moves.py",
        "together = self._together_in > timedelta(0)",
        "together = False",
        TOGETHER,
    ),
    mutant(
        "moves need new nodes before present ones are full",
        "planner/moves.py",
        "together = self._sent[replica.volume_affinity] >= supply.free",
        "together = False",
        TOGETHER,
    ),
    mutant(
        "a replica that is not ready waits for moves in progress",
        "planner/moves.py",
        "if replica.pod.ready and supply.adds_nodes:",
        "if supply.adds_nodes:",
        TOGETHER,
    ),
    mutant(
        "all workloads probe at the same time",
        "planner/moves.py",
        "if not observed.moves.probe_free:",
        "if not observed.cluster.synced:",
        FALLBACK,
        "tests/unit/planner/test_moves.py",
        "tests/unit/planner/test_move_capacity.py",
    ),
    mutant(
        "futile moves are not counted",
        "planner/resolution.py",
        "        else:\n            # The replacement of a probe, too",
        "        elif not found.is_active:\n            # The replacement of a probe, too",
        RESOLUTION,
    ),
    mutant(
        "a probe that fails is not recorded",
        "planner/resolution.py",
        "        else:\n            # The replacement of a probe, too",
        "        elif not intent.probe:\n            # The replacement of a probe, too",
        RESOLUTION,
        "tests/integration/faults/test_surroundings.py",
    ),
    mutant(
        "the node affinity of volumes is ignored",
        "controller/observe.py",
        "volume_affinity=self._volumes.affinity(pod) if for_moves and pod.claims else (),",
        "volume_affinity=(),",
        ZONES,
    ),
    mutant(
        "a move in flight occupies capacity in every zone",
        "controller/nodes_view.py",
        "shape.restricted_to(self._volumes.affinity_of(intent.pod))",
        "shape",
        ZONES,
    ),
    mutant(
        "a node pool counts as capacity in every zone",
        "planner/spot_capacity.py",
        "[node for node in self.nodes.all() if node.matches(affinity)]",
        "list(self.nodes.all())",
        ZONES,
    ),
    mutant(
        "capacity is counted with the template's requests",
        "planner/spot_capacity.py",
        "    if last is None:\n        return workload.shape",
        "    return workload.shape",
        "tests/integration/scenarios/test_neighbours.py",
    ),
    # Leader election
    mutant(
        "another instance's Lease is renewed",
        "controller/leadership.py",
        "lease.holder == state.identity:\n        return Renew()",
        "lease.holder:\n        return Renew()",
        ELECTOR,
    ),
    mutant(
        "a renewal does not restart the lease duration",
        "controller/leadership.py",
        "seen_at=now if ",
        "seen_at=state.seen_at if ",
        ELECTOR,
    ),
    mutant(
        "the Lease is released while still leading",
        "controller/leadership.py",
        'self._step_down("shutting down")',
        'log.info("shutting down")',
        "tests/unit/controller/test_release.py",
        "tests/unit/controller/test_leadership_model.py",
    ),
)
