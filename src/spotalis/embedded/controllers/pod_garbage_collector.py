"""The pod garbage collector (upstream: ``pkg/controller/podgc``)."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.objects.conditions import put
from spotalis.embedded.objects.owners import deleting, key_of, split, uid_of
from spotalis.embedded.objects.pods import is_finished, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.writes import DeleteOptions

_PERIOD_SECONDS = 20.0
"""Upstream's period (``gcCheckPeriod``)."""


class PodGarbageCollector(Controller):
    """Force-deletes the pods of nodes that do not exist. Keys are ``/node``."""

    name: ClassVar[str] = "pod-garbage-collector"
    user: ClassVar[str] = "system:serviceaccount:kube-system:pod-garbage-collector"

    def __init__(self, context: ControllerContext, quarantine: timedelta = timedelta()) -> None:
        """``quarantine`` is how long a node must be missing: 40 s to 60 s upstream, 0 by default.

        Most cloud providers delete the pods together with the node, which 0 simulates.
        """
        super().__init__(context)
        self._quarantine_seconds = quarantine.total_seconds()

    def listen(self) -> None:
        """Subscribe to deleted nodes, and to pods that are bound to a node that does not exist."""
        self.on("nodes", self._on_node)
        self.on("pods", self._on_pod)

    def _on_node(self, change: str, node: Object, old: Object | None) -> None:
        if change == "DELETED":
            self.queue.add_after(key_of(node), self._quarantine_seconds)

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        name = node_of(pod)
        if change == "DELETED":
            return
        if name and (old is None or not node_of(old)):
            if self.store.get("nodes", "", name) is None:
                self.queue.add_after(f"/{name}", self._quarantine_seconds)
        elif not name and deleting(pod):
            self.queue.add_after("/", min(self._quarantine_seconds, _PERIOD_SECONDS))

    async def sync(self, key: str) -> float | None:
        """Mark the pods of a missing node failed, and delete them without a grace period."""
        _, name = split(key)
        if name and self.store.get("nodes", "", name) is not None:
            return None
        for pod in self.indexes.pods_on(name):
            if name or deleting(pod):
                await self._remove(pod, lost=bool(name))
        return None

    async def _remove(self, pod: Object, *, lost: bool) -> None:
        namespace, name = split(key_of(pod))
        at = self.now()

        def change(obj: Object) -> None:
            obj.setdefault("status", {})["phase"] = "Failed"
            if lost:
                put(
                    obj,
                    "DisruptionTarget",
                    "True",
                    at,
                    reason="DeletionByPodGC",
                    message="PodGC: node no longer exists",
                )

        if not is_finished(pod):
            self.set_status("pods", key_of(pod), change)
        options = DeleteOptions(uid=uid_of(pod), grace_seconds=0)
        await self.api.delete("pods", namespace, name, options, user=self.user)
