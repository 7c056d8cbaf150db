"""The scheduler: binds pods to nodes, one at a time (upstream: ``pkg/scheduler``).

Left out: preemption, pod affinity, host ports, priorities (pods are taken as they come), profiles,
sampling of nodes (every node is looked at), events, and of volumes all but one question: from which
nodes those can be reached that a pod's claims are bound to.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.filters import NodeFilter, verdict
from spotalis.embedded.controllers.pod_requirements import (
    PodRequirements,
    claims_of,
    node_terms,
    requirements_of,
)
from spotalis.embedded.controllers.scheduler_cache import SchedulerCache
from spotalis.embedded.controllers.scores import best
from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.owners import deleting, key_of, split
from spotalis.embedded.objects.pods import is_finished, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.model.objects import NodeTerms

NAME = "default-scheduler"
_FIRST_BACKOFF_SECONDS = 1.0
_LAST_BACKOFF_SECONDS = 10.0
_FLUSH_SECONDS = 300.0
"""A pod that no event has touched is tried again after so long (upstream's flush)."""
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler(Controller):
    """Finds a node for every pod that has none."""

    name: ClassVar[str] = "scheduler"
    user: ClassVar[str] = "system:kube-scheduler"
    workers: ClassVar[int] = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._cache = SchedulerCache()
        self._unschedulable: dict[str, tuple[int, float]] = {}
        """Unschedulable pods: failed attempts, and when the last was (the loop's time)."""
        self._balancing: set[str] = set()
        """Those of them that a mere move of other pods may help: they have to be spread."""
        self._requeue_pending = False
        self._known: tuple[PodRequirements, int, str] | None = None
        """The last verdict: on whom, at which version of the cache, and what."""

    def listen(self) -> None:
        """Nodes and pods; either may make info for a pod that found none."""
        self.on("nodes", self._node)
        self.on("pods", self._pod)
        for plural in ("persistentvolumes", "persistentvolumeclaims"):
            self.on(plural, lambda _change, _obj, _old: self._requeue_unschedulable())

    def _node(self, change: str, node: Object, old: Object | None) -> None:
        if self._cache.node(change, node):
            self._requeue_unschedulable()

    def _pod(self, change: str, pod: Object, old: Object | None) -> None:
        effect = self._cache.pod(change, pod)
        key = key_of(pod)
        if change == "DELETED" or node_of(pod):
            self._forget(key)
        elif old is None or _asks(old) != _asks(pod):
            self._forget(key)
            self.queue.add(key)
        if effect == "freed" or (effect == "moved" and self._balancing):
            self._requeue_unschedulable()

    def _requeue_unschedulable(self) -> None:
        """Have the parked pods tried again, all of them once however many events come at once."""
        if self._unschedulable and not self._requeue_pending:
            self._requeue_pending = True
            asyncio.get_running_loop().call_soon(self._requeue_now)

    def _requeue_now(self) -> None:
        self._requeue_pending = False
        now = asyncio.get_running_loop().time()
        for key, (attempts, at) in self._unschedulable.items():
            backoff = _FIRST_BACKOFF_SECONDS * 2 ** min(attempts - 1, 10)
            wait = at + min(backoff, _LAST_BACKOFF_SECONDS) - now
            if wait > 0:
                self.queue.add_after(key, wait)
            else:
                self.queue.add(key)

    async def sync(self, key: str) -> float | None:
        """Bind one pod, or say why it cannot be bound."""
        pod = self.store.get("pods", *split(key))
        if pod is None or node_of(pod) or deleting(pod) or is_finished(pod):
            return None
        spec = pod["spec"]
        if spec.get("schedulerName", NAME) != NAME:
            return None
        if spec.get("schedulingGates"):
            self._refuse(pod, "SchedulingGated", _GATED)
            return None
        requirements = requirements_of(pod)
        if volumes := self._volumes(pod):
            requirements = dataclasses.replace(requirements, volumes=volumes)
        chosen, why = self._choose(requirements)
        if chosen:
            self._forget(key)
            self.api.bind(*split(key), chosen)
            return None
        attempts, _ = self._unschedulable.get(key, (0, 0.0))
        self._unschedulable[key] = (attempts + 1, asyncio.get_running_loop().time())
        if requirements.spreads:
            self._balancing.add(key)
        self._refuse(pod, "Unschedulable", why)
        return _FLUSH_SECONDS

    def _volumes(self, pod: Object) -> tuple[NodeTerms, ...]:
        found = []
        for name in claims_of(pod):
            claim = self.store.get("persistentvolumeclaims", split(key_of(pod))[0], name) or {}
            volume_name = (claim.get("spec") or {}).get("volumeName", "")
            volume = self.store.get("persistentvolumes", "", volume_name) or {}
            affinity = (volume.get("spec") or {}).get("nodeAffinity") or {}
            found.append(node_terms(affinity.get("required") or {}))
        return tuple(found)

    def _forget(self, key: str) -> None:
        self._unschedulable.pop(key, None)
        self._balancing.discard(key)

    def _choose(self, requirements: PodRequirements) -> tuple[str, str]:
        """The node's name, or else the reason why there is none."""
        if self._known is not None and self._known[:2] == (requirements, self._cache.version):
            return "", self._known[2]
        fitting = NodeFilter(self._cache, requirements)
        fit, refusals = [], []
        for info in self._cache.nodes.values():
            reasons = fitting.reasons(info)
            if reasons:
                refusals.append(reasons)
            else:
                fit.append(info)
        if fit:
            top = best(self._cache, requirements, fit)
            return top[self.rng.getrandbits(32) % len(top)].name, ""
        why = verdict(refusals)
        self._known = (requirements, self._cache.version, why)
        return "", why

    def _refuse(self, pod: Object, reason: str, message: str) -> None:
        said = condition(pod, "PodScheduled") or {}
        if said.get("reason") == reason and said.get("message") == message:
            return

        def change(obj: Object) -> None:
            put(obj, "PodScheduled", "False", self.now(), reason=reason, message=message)
            written = condition(obj, "PodScheduled") or {}
            written["observedGeneration"] = pod["metadata"].get("generation", 1)

        self.set_status("pods", key_of(pod), change)


def _asks(pod: Object) -> tuple[object, ...]:
    """What a scheduling attempt depends on; its own status is not part of it."""
    return pod["spec"], pod["metadata"].get("labels"), deleting(pod)
