"""The scheduler: binds pods to nodes, one at a time (upstream: ``pkg/scheduler``).

Left out: preemption, pod affinity, host ports, priorities (pods are scheduled in the order in which
they arrive), scheduler profiles, node sampling (every node is considered) and events. Of volumes
only the node affinity of bound ones is considered.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.filters import NodeFilter, unschedulable_message
from spotalis.embedded.controllers.pod_requirements import (
    PodRequirements,
    claims_of,
    requirements_of,
)
from spotalis.embedded.controllers.scheduler_cache import PodChange, SchedulerCache
from spotalis.embedded.controllers.scores import best_nodes
from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.owners import deleting, key_of, split
from spotalis.embedded.objects.pods import is_finished, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import NodeSelector, node_selector

NAME = "default-scheduler"
_INITIAL_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 10.0
_FLUSH_SECONDS = 300.0
"""Unschedulable pods are retried after this time even without an event (upstream: 5 min)."""
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
        """By pod key: failed attempts, and the time of the last one (event loop time)."""
        self._spread: set[str] = set()
        """Those of them with spread constraints: they may fit once other pods have moved."""
        self._requeue_pending = False
        self._last_failure: tuple[PodRequirements, int, str] | None = None
        """The last failed attempt: requirements, cache version and message."""

    def listen(self) -> None:
        """Subscribe to pods, nodes and volumes."""
        self.on("nodes", self._on_node)
        self.on("pods", self._on_pod)
        for plural in ("persistentvolumes", "persistentvolumeclaims"):
            self.on(plural, lambda _change, _obj, _old: self._requeue_unschedulable())

    def _on_node(self, change: str, node: Object, old: Object | None) -> None:
        if self._cache.update_node(change, node):
            self._requeue_unschedulable()

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        effect = self._cache.update_pod(change, pod)
        key = key_of(pod)
        if change == "DELETED" or node_of(pod):
            self._forget(key)
        elif old is None or _scheduling_inputs(old) != _scheduling_inputs(pod):
            self._forget(key)
            self.queue.add(key)
        if effect is PodChange.FREED or (effect is PodChange.MOVED and self._spread):
            self._requeue_unschedulable()

    def _requeue_unschedulable(self) -> None:
        """Retry all unschedulable pods, once for all events of one event loop iteration."""
        if self._unschedulable and not self._requeue_pending:
            self._requeue_pending = True
            asyncio.get_running_loop().call_soon(self._requeue_now)

    def _requeue_now(self) -> None:
        self._requeue_pending = False
        now = asyncio.get_running_loop().time()
        for key, (attempts, at) in self._unschedulable.items():
            backoff = _INITIAL_BACKOFF_SECONDS * 2 ** min(attempts - 1, 10)
            wait = at + min(backoff, _MAX_BACKOFF_SECONDS) - now
            if wait > 0:
                self.queue.add_after(key, wait)
            else:
                self.queue.add(key)

    async def sync(self, key: str) -> float | None:
        """Bind one pod, or write into its status why no node can run it."""
        pod = self.store.get("pods", *split(key))
        if pod is None or node_of(pod) or deleting(pod) or is_finished(pod):
            return None
        spec = pod["spec"]
        if spec.get("schedulerName", NAME) != NAME:
            return None
        if spec.get("schedulingGates"):
            self._report(pod, "SchedulingGated", _GATED)
            return None
        requirements = requirements_of(pod)
        if volumes := self._volumes(pod):
            requirements = dataclasses.replace(requirements, volumes=volumes)
        node, why = self._choose_node(requirements)
        if node:
            self._forget(key)
            self.api.bind(*split(key), node)
            return None
        attempts, _ = self._unschedulable.get(key, (0, 0.0))
        self._unschedulable[key] = (attempts + 1, asyncio.get_running_loop().time())
        if requirements.spread:
            self._spread.add(key)
        self._report(pod, "Unschedulable", why)
        return _FLUSH_SECONDS

    def _volumes(self, pod: Object) -> tuple[NodeSelector, ...]:
        """The node affinity of the volumes to which the pod's claims are bound."""
        found = []
        for name in claims_of(pod):
            claim = self.store.get("persistentvolumeclaims", split(key_of(pod))[0], name) or {}
            volume_name = (claim.get("spec") or {}).get("volumeName", "")
            volume = self.store.get("persistentvolumes", "", volume_name) or {}
            affinity = (volume.get("spec") or {}).get("nodeAffinity") or {}
            if (selector := node_selector(affinity.get("required"))) is not None:
                found.append(selector)
        return tuple(found)

    def _forget(self, key: str) -> None:
        self._unschedulable.pop(key, None)
        self._spread.discard(key)

    def _choose_node(self, requirements: PodRequirements) -> tuple[str, str]:
        """Return the name of the node, or ``""`` and the reason."""
        attempt = (requirements, self._cache.version)
        if self._last_failure is not None and self._last_failure[:2] == attempt:
            return "", self._last_failure[2]
        node_filter = NodeFilter(self._cache, requirements)
        feasible, rejections = [], []
        for info in self._cache.nodes.values():
            reasons = node_filter.reasons(info)
            if reasons:
                rejections.append(reasons)
            else:
                feasible.append(info)
        if feasible:
            top = best_nodes(self._cache, requirements, feasible)
            return top[self.rng.getrandbits(32) % len(top)].name, ""
        why = unschedulable_message(rejections)
        self._last_failure = (*attempt, why)
        return "", why

    def _report(self, pod: Object, reason: str, message: str) -> None:
        """Set condition PodScheduled to False, unless it says the same already."""
        current = condition(pod, "PodScheduled") or {}
        if current.get("reason") == reason and current.get("message") == message:
            return

        def change(obj: Object) -> None:
            put(obj, "PodScheduled", "False", self.now(), reason=reason, message=message)
            written = condition(obj, "PodScheduled") or {}
            written["observedGeneration"] = pod["metadata"].get("generation", 1)

        self.set_status("pods", key_of(pod), change)


def _scheduling_inputs(pod: Object) -> tuple[object, ...]:
    """The parts of a pod that a scheduling attempt depends on."""
    return pod["spec"], pod["metadata"].get("labels"), deleting(pod)
