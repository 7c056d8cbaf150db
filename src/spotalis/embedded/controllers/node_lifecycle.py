"""Taints that say what a node's conditions say, and what they do to pods.

Upstream: ``pkg/controller/nodelifecycle`` and ``pkg/controller/tainteviction``.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.pod_requirements import toleration
from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.owners import deleting, key_of, split, uid_of
from spotalis.embedded.objects.pods import is_finished, is_ready, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.model.objects import Taint

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN = (_NOT_READY, _UNREACHABLE, _UNSCHEDULABLE)
_DEFAULT_TOLERATION_SECONDS = 300.0
"""What admission (DefaultTolerationSeconds) gives every pod for the first two taints."""


class NodeLifecycleController(Controller):
    """Taints nodes, marks their pods not ready, and deletes those that do not tolerate it."""

    name: ClassVar[str] = "node-lifecycle"
    user: ClassVar[str] = "system:serviceaccount:kube-system:node-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._since: dict[tuple[str, str], float] = {}
        """When (the loop's time) a NoExecute taint was first seen on a pod; by pod uid and key."""

    def listen(self) -> None:
        """Nodes, and pods that are bound to one with a NoExecute taint."""
        self.on_own("nodes")
        self.on("pods", self._pod)

    def _pod(self, change: str, pod: Object, old: Object | None) -> None:
        name = node_of(pod)
        if change != "DELETED" and name and (old is None or not node_of(old)):
            node = self.store.get("nodes", "", name)
            if node is not None and _executing(node):
                self.queue.add(f"/{name}")

    async def sync(self, key: str) -> float | None:
        """Bring the taints of one node in line, then its pods."""
        node = self.store.get("nodes", *split(key))
        if node is None:
            return None
        have = (node.get("spec") or {}).get("taints") or []
        wanted = _taints(node, have, self.now())
        if wanted != have:
            spec = {**(node.get("spec") or {}), "taints": wanted}
            node = await self.api.update("nodes", {**node, "spec": spec}, user=self.user)
        return await self._pods(node)

    async def _pods(self, node: Object) -> float | None:
        silent = not is_ready(node)
        executing = _executing(node)
        if not silent and not executing:
            self._forget(node)
            return None
        now, waits = asyncio.get_running_loop().time(), []
        for pod in self.indexes.pods_on(node["metadata"]["name"]):
            if silent and is_ready(pod):
                self._mark(pod)
            if deleting(pod) or is_finished(pod):
                continue
            wait = self._patience(pod, executing, now)
            if wait is None:
                continue
            if wait > 0:
                waits.append(wait)
            else:
                namespace, name = split(key_of(pod))
                await self.api.delete("pods", namespace, name, user=self.user, uid=uid_of(pod))
        return min(waits, default=None)

    def _patience(self, pod: Object, taints: list[Taint], now: float) -> float | None:
        """Seconds until the pod has to go; None when it tolerates every taint for ever."""
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

    def _mark(self, pod: Object) -> None:
        at = self.now()
        self.set_status("pods", key_of(pod), lambda obj: put(obj, "Ready", "False", at))


def _taints(node: Object, have: list[Object], now: str) -> list[Object]:
    """The taints a node should have: others' as they are, and ours by its state."""
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


def _executing(node: Object) -> list[Taint]:
    return [
        Taint(key=one["key"], value=one.get("value") or "", effect="NoExecute")
        for one in (node.get("spec") or {}).get("taints") or ()
        if one["effect"] == "NoExecute"
    ]


def _tolerated_seconds(pod: Object, taint: Taint) -> float | None:
    """How long the pod tolerates it: None for ever, 0 not at all."""
    fitting = [
        one for one in pod["spec"].get("tolerations") or () if toleration(one).tolerates(taint)
    ]
    if not fitting:
        patient = taint.key in (_NOT_READY, _UNREACHABLE)
        return _DEFAULT_TOLERATION_SECONDS if patient else 0.0
    limits = [one["tolerationSeconds"] for one in fitting if "tolerationSeconds" in one]
    return max(0.0, float(min(limits))) if limits else None
