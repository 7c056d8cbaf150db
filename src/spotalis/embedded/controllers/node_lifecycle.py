"""Taints nodes by their conditions, and evicts pods that do not tolerate NoExecute taints.

Upstream: ``pkg/controller/nodelifecycle`` and ``pkg/controller/tainteviction``.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.owners import deleting, key_of, split, uid_of
from spotalis.embedded.objects.pods import is_finished, is_ready, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import Taint, taints_of, toleration
from spotalis.embedded.server.writes import DeleteOptions

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN = (_NOT_READY, _UNREACHABLE, _UNSCHEDULABLE)
_DEFAULT_TOLERATION_SECONDS = 300.0
"""For the first two taints, if the pod has no toleration (admission: DefaultTolerationSeconds)."""


class NodeLifecycleController(Controller):
    """Taints nodes by condition, and deletes pods that do not tolerate a NoExecute taint."""

    name: ClassVar[str] = "node-lifecycle"
    user: ClassVar[str] = "system:serviceaccount:kube-system:node-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._since: dict[tuple[str, str], float] = {}
        """By pod uid and taint key: when the taint was first seen (event loop time)."""

    def listen(self) -> None:
        """Subscribe to nodes, and to pods that are bound to a node with a NoExecute taint."""
        self.on_own("nodes")
        self.on("pods", self._on_pod)

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        name = node_of(pod)
        if change != "DELETED" and name and (old is None or not node_of(old)):
            node = self.store.get("nodes", "", name)
            if node is not None and _no_execute_taints(node):
                self.queue.add(f"/{name}")

    async def sync(self, key: str) -> float | None:
        """Update the taints of one node, then handle its pods."""
        node = self.store.get("nodes", *split(key))
        if node is None:
            return None
        have = (node.get("spec") or {}).get("taints") or []
        wanted = _taints(node, have, self.now())
        if wanted != have:
            spec = {**(node.get("spec") or {}), "taints": wanted}
            node = await self.api.update("nodes", {**node, "spec": spec}, user=self.user)
        return await self._handle_pods(node)

    async def _handle_pods(self, node: Object) -> float | None:
        is_silent = not is_ready(node)
        taints = _no_execute_taints(node)
        if not is_silent and not taints:
            self._forget(node)
            return None
        now, waits = asyncio.get_running_loop().time(), []
        for pod in self.indexes.pods_on(node["metadata"]["name"]):
            if is_silent and is_ready(pod):
                self._mark_not_ready(pod)
            if deleting(pod) or is_finished(pod):
                continue
            wait = self._seconds_to_eviction(pod, taints, now)
            if wait is None:
                continue
            if wait > 0:
                waits.append(wait)
            else:
                namespace, name = split(key_of(pod))
                options = DeleteOptions(uid=uid_of(pod))
                await self.api.delete("pods", namespace, name, options, user=self.user)
        return min(waits, default=None)

    def _seconds_to_eviction(self, pod: Object, taints: list[Taint], now: float) -> float | None:
        """Seconds until the pod must be deleted; None if it tolerates every taint forever."""
        waits = []
        for taint in taints:
            seconds = _tolerated_seconds(pod, taint)
            if seconds is None:
                continue
            since = self._since.setdefault((uid_of(pod), taint.key), now)
            waits.append(since + seconds - now)
        return min(waits, default=None)

    def _forget(self, node: Object) -> None:
        if not self._since:
            return
        on_node = {uid_of(pod) for pod in self.indexes.pods_on(node["metadata"]["name"])}
        self._since = {key: at for key, at in self._since.items() if key[0] not in on_node}

    def _mark_not_ready(self, pod: Object) -> None:
        at = self.now()
        self.set_status("pods", key_of(pod), lambda obj: put(obj, "Ready", "False", at))


def _taints(node: Object, have: list[Object], now: str) -> list[Object]:
    """The taints that a node should have: those of other owners, and this controller's own."""
    wanted: list[tuple[str, str]] = []
    status = (condition(node, "Ready") or {}).get("status", "Unknown")
    if status != "True":
        key = _NOT_READY if status == "False" else _UNREACHABLE
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    kept = [t for t in have if t["key"] not in _OWN or (t["key"], t["effect"]) in wanted]
    there = {(t["key"], t["effect"]) for t in kept}
    missing = [(key, effect) for key, effect in wanted if (key, effect) not in there]
    return kept + [{"key": key, "effect": effect, "timeAdded": now} for key, effect in missing]


def _no_execute_taints(node: Object) -> list[Taint]:
    return [taint for taint in taints_of(node) if taint.effect == "NoExecute"]


def _tolerated_seconds(pod: Object, taint: Taint) -> float | None:
    """How long the pod tolerates the taint; None for forever."""
    matching = [
        one for one in pod["spec"].get("tolerations") or () if toleration(one).tolerates(taint)
    ]
    if not matching:
        is_default = taint.key in (_NOT_READY, _UNREACHABLE)
        return _DEFAULT_TOLERATION_SECONDS if is_default else 0.0
    limits = [one["tolerationSeconds"] for one in matching if "tolerationSeconds" in one]
    return max(0.0, float(min(limits))) if limits else None
