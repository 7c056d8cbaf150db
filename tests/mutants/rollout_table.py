"""Mutants of what holds for the Rollouts of Argo Rollouts."""

from __future__ import annotations

from tests.mutants.mutant import mutant

PLANNER = "tests/unit/planner/test_rollouts.py"
DECODE = "tests/unit/kube/test_decode_rollouts.py"
WATCH = "tests/unit/app/test_rollout_watch.py"

ROLLOUT_MUTANTS = (
    mutant(
        "replicas of a Rollout move during a step",
        "planner/guards.py",
        "    if rollout.progress is RolloutProgress.IN_PROGRESS:\n",
        "    if False:\n",
        PLANNER,
    ),
    mutant(
        "replicas of a Rollout move during a short pause",
        "planner/guards.py",
        "if ends_at is None or ends_at - now > SHORT_PAUSE:\n",
        "if True:\n",
        PLANNER,
    ),
    mutant(
        "no replica of a Rollout moves during a pause",
        "planner/guards.py",
        "if ends_at is None or ends_at - now > SHORT_PAUSE:\n",
        "if False:\n",
        PLANNER,
    ),
    mutant(
        "a paused Rollout is split as a whole",
        "planner/observed.py",
        "self.workload.replicas, tuple(self.parts.values())",
        "self.workload.replicas, ()",
        PLANNER,
    ),
    mutant(
        "the surplus of one ReplicaSet moves replicas of another one",
        "planner/candidates.py",
        "    eligible = _within_surplus(eligible, observed, surplus_type)\n",
        "",
        PLANNER,
    ),
    mutant(
        "a Rollout whose pause has ended counts as paused",
        "kube/decode/rollouts.py",
        'status.phase == "Paused" and (spec.paused or status.pause_conditions)',
        'status.phase == "Paused"',
        DECODE,
    ),
    mutant(
        "an aborted Rollout counts as stuck",
        "kube/decode/rollouts.py",
        '    if status.phase == "Degraded" and status.abort:\n',
        "    if False:\n",
        DECODE,
    ),
    mutant(
        "the webhook waits for Rollouts that are not watched",
        "controller/cluster.py",
        "(DEPLOYMENTS, ROLLOUTS) if self.watches_rollouts else (DEPLOYMENTS,)",
        "(DEPLOYMENTS, ROLLOUTS)",
        WATCH,
    ),
    mutant(
        "Rollouts stay managed after their API is removed",
        "app/rollout_watch.py",
        "            self._cluster.on_rollouts_discovered(False)\n",
        "            pass\n",
        WATCH,
    ),
    mutant(
        "Rollouts can be handled before their first list",
        "controller/cluster.py",
        "            self._stores[ROLLOUTS.plural] = self.rollouts\n",
        "            pass\n",
        WATCH,
    ),
    mutant(
        "Rollouts are watched although no namespace may be read",
        "app/rollout_watch.py",
        "        return False if is_known else None\n\n    async",
        "        return True if is_known else None\n\n    async",
        WATCH,
    ),
    mutant(
        "a namespace that may not be read hides the Rollouts of all",
        "app/rollout_watch.py",
        '                self._say(f"{path} answered {status}")\n',
        '                self._say(f"{path} answered {status}")\n                return False\n',
        WATCH,
    ),
    mutant(
        "the ledgers of Rollouts that cannot be read are removed at once",
        "controller/sweep.py",
        "await self._have_ended(WorkloadKey.of(held.ledger).namespace, held.ledger)",
        "True",
        "tests/unit/controller/test_sweep.py",
    ),
    mutant(
        "workloadRef is ignored",
        "controller/cluster.py",
        "        return workload and self._with_template(workload)\n",
        "        return workload\n",
        WATCH,
    ),
)
