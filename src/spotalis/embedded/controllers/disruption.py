"""The disruption controller: the status of PodDisruptionBudgets.

Upstream: ``pkg/controller/disruption``. If several budgets select a pod, all of them are synced
when it changes; upstream syncs one of them. Left out: scale subresources of custom resources,
ReplicationControllers, the clean-up of stale ``DisruptionTarget`` conditions, and events.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import ClassVar

from spotalis.embedded.controllers.budget_arithmetic import Allowance, allowance
from spotalis.embedded.controllers.controller import Controller
from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.owners import (
    controller_of,
    deleting,
    key_of,
    replicas_of,
    split,
    uid_of,
)
from spotalis.embedded.objects.pods import is_ready
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import LabelSelector, label_selector
from spotalis.embedded.objects.timestamps import instant

DELETION_TIMEOUT = timedelta(minutes=2)
"""How long a pod in ``disruptedPods`` counts as gone without terminating (DeletionTimeout)."""

_SCALED = {"ReplicaSet": "replicasets", "StatefulSet": "statefulsets"}


class NoController(Exception):
    """The controller of a pod does not exist, so a percentage has no base."""


class _Budget:
    """The pods that a budget selects, and how many of them are healthy."""

    def __init__(self, selector: LabelSelector | None) -> None:
        self.pods: dict[str, Object] = {}
        """By uid."""
        self.healthy = 0
        """Pods that are Ready and not terminating."""
        self.owners: Counter[tuple[str, str, str]] = Counter()
        """Kind, name and uid of the pods' controllers."""
        self._selector = selector

    def put(self, pod: Object) -> bool:
        """Add the pod if the selector matches it; returns whether it does."""
        labels = pod["metadata"].get("labels") or {}
        if self._selector is None or not self._selector.matches(labels):
            return False
        self.pods[uid_of(pod)] = pod
        self._count(pod, 1)
        return True

    def drop(self, pod: Object) -> Object | None:
        """Remove a pod; returns it as it was when it was added, or None."""
        was = self.pods.pop(uid_of(pod), None)
        if was is not None:
            self._count(was, -1)
        return was

    def _count(self, pod: Object, times: int) -> None:
        self.healthy += times * _is_healthy(pod)
        owner = controller_of(pod)
        if owner is not None:
            key = (owner["kind"], owner["name"], owner["uid"])
            self.owners[key] += times
            if not self.owners[key]:
                del self.owners[key]


class DisruptionController(Controller):
    """Computes the status of every budget, which the eviction API checks and updates."""

    name: ClassVar[str] = "disruption"
    user: ClassVar[str] = "system:serviceaccount:kube-system:disruption-controller"

    def listen(self) -> None:
        """Subscribe to budgets and pods.

        As upstream, the scale of the owners is only read when one of these changes.
        """
        self._budgets: dict[str, dict[str, _Budget]] = {}
        self.on("poddisruptionbudgets", self._on_budget)
        self.on("pods", self._on_pod)

    def _on_budget(self, change: str, pdb: Object, old: Object | None) -> None:
        key = key_of(pdb)
        namespace, _ = split(key)
        budgets = self._budgets.setdefault(namespace, {})
        if change == "DELETED":
            budgets.pop(key, None)
            return
        written = pdb["spec"].get("selector")
        if key not in budgets or old is None or old["spec"].get("selector") != written:
            budget = budgets[key] = _Budget(label_selector(written))
            for pod in self.store.list("pods", namespace):
                budget.put(pod)
        self.queue.add(key)

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        for key, budget in self._budgets.get(pod["metadata"].get("namespace", ""), {}).items():
            was = budget.drop(pod)
            matched = change != "DELETED" and budget.put(pod)
            if not matched and change != "DELETED":
                continue  # upstream looks up the budget by the new labels only
            if was is None and not matched:
                continue
            if was is None or not matched or _observed_state(was) != _observed_state(pod):
                self.queue.add(key)

    async def sync(self, key: str) -> float | None:
        """Count the pods and write the status; sync again when a disrupted pod expires."""
        namespace, name = split(key)
        pdb = self.store.get("poddisruptionbudgets", namespace, name)
        budget = self._budgets.get(namespace, {}).get(key)
        if pdb is None or budget is None:
            return None
        disrupted, again = self._disrupted(pdb, budget)
        try:
            counted = self._counted(pdb, budget, disrupted)
        except (NoController, ValueError) as problem:
            self._fail(key, str(problem))
            return None
        self._write(pdb, counted, disrupted)
        return again

    def _disrupted(self, pdb: Object, budget: _Budget) -> tuple[dict[str, str], float | None]:
        """The ``disruptedPods`` that are still valid, and seconds until the first one expires."""
        written = (pdb.get("status") or {}).get("disruptedPods") or {}
        now, kept, waits = self.clock.now(), {}, []
        for pod in budget.pods.values() if written else ():
            at = instant(written.get(pod["metadata"]["name"]))
            if at is None or deleting(pod) or at + DELETION_TIMEOUT < now:
                continue
            kept[pod["metadata"]["name"]] = written[pod["metadata"]["name"]]
            waits.append((at + DELETION_TIMEOUT - now).total_seconds() + 0.001)
        return kept, min(waits, default=None)

    def _counted(self, pdb: Object, budget: _Budget, disrupted: dict[str, str]) -> Allowance:
        spec = pdb["spec"]
        minimum, maximum = spec.get("minAvailable"), spec.get("maxUnavailable")
        healthy = budget.healthy
        if disrupted:
            spent = (p for p in budget.pods.values() if p["metadata"]["name"] in disrupted)
            healthy -= sum(1 for pod in spent if _is_healthy(pod))
        needs_scale = maximum is not None or isinstance(minimum, str)
        namespace = pdb["metadata"].get("namespace", "")
        return allowance(
            min_available=minimum,
            max_unavailable=maximum,
            pods=len(budget.pods),
            scale=self._scale(budget, namespace) if needs_scale else 0,
            healthy=healthy,
        )

    def _scale(self, budget: _Budget, namespace: str) -> int:
        """The desired replicas of all controllers of the pods, each counted once."""
        scales: dict[str, int] = {}
        for kind, name, uid in budget.owners:
            top = self._scaled_owner(namespace, kind, name, uid)
            if top is None:
                raise NoController(f"found no controllers for the pods of {kind} {name!r}")
            scales[uid_of(top)] = replicas_of(top)
        return sum(scales.values())

    def _scaled_owner(self, namespace: str, kind: str, name: str, uid: str) -> Object | None:
        """The object with the scale: the Deployment of the ReplicaSet, or the owner itself."""
        plural = _SCALED.get(kind)
        found = self.store.get(plural, namespace, name) if plural else None
        if found is None or uid_of(found) != uid:
            return None
        above = controller_of(found)
        if above is not None and above["kind"] == "Deployment":
            deployment = self.store.get("deployments", namespace, above["name"])
            if deployment is not None and uid_of(deployment) == above["uid"]:
                return deployment
        return found

    def _write(self, pdb: Object, counted: Allowance, disrupted: dict[str, str]) -> None:
        generation = pdb["metadata"].get("generation", 1)
        allowed = counted.disruptions

        def change(obj: Object) -> None:
            status: Object = {
                "observedGeneration": generation,
                "disruptionsAllowed": allowed,
                "currentHealthy": counted.healthy,
                "desiredHealthy": counted.desired,
                "expectedPods": counted.expected,
            }
            if disrupted:
                status["disruptedPods"] = disrupted
            if (obj.get("status") or {}).get("conditions"):
                status["conditions"] = obj["status"]["conditions"]
            obj["status"] = status
            self._set_condition(
                obj, allowed > 0, "SufficientPods" if allowed else "InsufficientPods", ""
            )

        self.set_status("poddisruptionbudgets", key_of(pdb), change)

    def _fail(self, key: str, problem: str) -> None:
        """Allow no disruption, and report why (upstream: ``failSafe``)."""

        def change(obj: Object) -> None:
            obj.setdefault("status", {})["disruptionsAllowed"] = 0
            self._set_condition(obj, False, "SyncFailed", problem)

        self.set_status("poddisruptionbudgets", key, change)

    def _set_condition(self, obj: Object, allowed: bool, reason: str, message: str) -> None:
        put(
            obj,
            "DisruptionAllowed",
            "True" if allowed else "False",
            self.now(),
            reason=reason,
            message=message,
        )
        written = condition(obj, "DisruptionAllowed") or {}
        written.setdefault("message", "")
        written["observedGeneration"] = obj["status"].get("observedGeneration", 0)


def _is_healthy(pod: Object) -> bool:
    return not deleting(pod) and is_ready(pod)


def _observed_state(pod: Object) -> tuple[bool, bool]:
    return deleting(pod), is_ready(pod)
