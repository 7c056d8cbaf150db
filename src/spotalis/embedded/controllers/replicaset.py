"""The ReplicaSet controller (upstream: ``pkg/controller/replicaset``).

A pod belongs to the ReplicaSet that its controlling owner reference names; see adoption.py. Left
out: events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from spotalis.embedded.controllers.adoption import claim_pods
from spotalis.embedded.controllers.controller import Controller
from spotalis.embedded.controllers.pod_template import name_prefix, pod_from
from spotalis.embedded.controllers.scale_down_order import pods_to_delete
from spotalis.embedded.objects.conditions import condition, drop, put
from spotalis.embedded.objects.owners import (
    controller_of,
    deleting,
    key_of,
    reference_to,
    replicas_of,
    split,
    uid_of,
)
from spotalis.embedded.objects.pods import is_active, is_available, seconds_to_available
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError

BURST = 500
"""Maximum number of pods that one sync creates or deletes (upstream: ``BurstReplicas``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """The counts of one sync, which are also written to the status."""

    active: int
    labelled: int
    ready: int
    available: int
    terminating: int


class ReplicaSetController(Controller):
    """Creates and deletes pods until their number is ``spec.replicas``."""

    name: ClassVar[str] = "replicaset"
    user: ClassVar[str] = "system:serviceaccount:kube-system:replicaset-controller"

    def listen(self) -> None:
        """Subscribe to ReplicaSets and pods."""
        self.on_own("replicasets")
        self.on_pods_of("ReplicaSet", "replicasets")

    async def sync(self, key: str) -> float | None:
        """Manage the pods of one ReplicaSet, then write the status as counted before."""
        replicaset = self.store.get("replicasets", *split(key))
        if replicaset is None:
            return None
        uid = uid_of(replicaset)
        await claim_pods(self.api, self.indexes, replicaset, user=self.user)
        seen = self._counted(replicaset)
        refused: ApiError | None = None
        if not deleting(replicaset):
            refused = await self._manage(replicaset, seen.active)
        now = self.store.get("replicasets", *split(key))
        if now is None or uid_of(now) != uid:
            return None
        self._write_status(replicaset, seen, refused)
        if refused is not None:
            raise refused
        if seen.ready == seen.available:
            return None
        waiting = int(replicaset["spec"].get("minReadySeconds") or 0)
        return seconds_to_available(self._active(uid), waiting, self.clock.now())

    def _active(self, uid: str) -> list[Object]:
        return [pod for pod in self.indexes.pods_of(uid) if is_active(pod)]

    def _counted(self, replicaset: Object) -> _Counts:
        """Count without iterating over the pods, unless ``minReadySeconds`` requires it."""
        spec, uid = replicaset["spec"], uid_of(replicaset)
        counts = self.indexes.pod_counts(uid)
        waiting = int(spec.get("minReadySeconds") or 0)
        available = counts.ready
        if waiting:
            now = self.clock.now()
            available = sum(1 for pod in self._active(uid) if is_available(pod, waiting, now))
        labels = (spec["template"].get("metadata") or {}).get("labels") or {}
        return _Counts(
            active=counts.active,
            labelled=counts.labelled(labels),
            ready=counts.ready,
            available=available,
            terminating=counts.terminating,
        )

    async def _manage(self, replicaset: Object, active: int) -> ApiError | None:
        missing = replicas_of(replicaset) - active
        if missing > 0:
            return await slow_start(min(missing, BURST), lambda: self._create(replicaset))
        if missing < 0:
            pods = self._active(uid_of(replicaset))
            related, now = self._related(replicaset), self.clock.now()
            going = pods_to_delete(pods, related, min(-missing, BURST), now)
            outcomes = await asyncio.gather(*(self._delete(pod) for pod in going))
            return next((outcome for outcome in outcomes if outcome is not None), None)
        return None

    async def _create(self, replicaset: Object) -> ApiError | None:
        metadata = replicaset["metadata"]
        pod = pod_from(
            replicaset["spec"]["template"],
            metadata.get("namespace", ""),
            reference_to(replicaset, "apps/v1", "ReplicaSet"),
        )
        pod["metadata"]["generateName"] = name_prefix(metadata["name"])
        try:
            await self.api.create("pods", pod, user=self.user)
        except ApiError as refused:
            return refused
        return None

    async def _delete(self, pod: Object) -> ApiError | None:
        namespace, name = split(key_of(pod))
        try:
            await self.api.delete("pods", namespace, name, user=self.user)
        except ApiError as refused:
            return None if refused.status == 404 else refused
        return None

    def _related(self, replicaset: Object) -> list[Object]:
        """The pods of every ReplicaSet with the same controller, including this one."""
        owner = controller_of(replicaset)
        siblings = [replicaset] if owner is None else self.indexes.replicasets_of(owner["uid"])
        return [pod for sibling in siblings for pod in self.indexes.pods_of(uid_of(sibling))]

    def _write_status(self, replicaset: Object, seen: _Counts, refused: ApiError | None) -> None:
        counts = {
            "fullyLabeledReplicas": seen.labelled,
            "readyReplicas": seen.ready,
            "availableReplicas": seen.available,
        }

        def change(obj: Object) -> None:
            status = obj.setdefault("status", {})
            status["replicas"] = seen.active
            for field, count in counts.items():
                status[field] = count
                if not count:
                    del status[field]
            status["terminatingReplicas"] = seen.terminating
            status["observedGeneration"] = replicaset["metadata"].get("generation", 1)
            if refused is None:
                drop(status, "ReplicaFailure")
            elif condition(obj, "ReplicaFailure") is None:
                short = seen.active < replicas_of(replicaset)
                put(
                    obj,
                    "ReplicaFailure",
                    "True",
                    self.now(),
                    reason="FailedCreate" if short else "FailedDelete",
                    message=refused.message,
                )

        self.set_status("replicasets", key_of(replicaset), change)


async def slow_start(
    count: int, create: Callable[[], Awaitable[ApiError | None]]
) -> ApiError | None:
    """Call ``create`` up to ``count`` times, in concurrent batches of 1, 2, 4 and so on.

    Stops after a batch with a failure (upstream: ``slowStartBatch``).

    Returns:
        The first error, or None if all calls succeeded.
    """
    remaining, size = count, 1
    while remaining:
        size = min(size, remaining)
        outcomes = await asyncio.gather(*(create() for _ in range(size)))
        for outcome in outcomes:
            if outcome is not None:
                return outcome
        remaining -= size
        size *= 2
    return None
