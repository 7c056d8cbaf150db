"""The cluster of a run, and the actions of owners, providers and other controllers on it."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections.abc import Coroutine
from typing import Any

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.controllers.kubelet import READY
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.admission import WebhookCaller
from spotalis.embedded.virtual_time import VirtualClock
from spotalis.kube.client import PatchType
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX
from tests.simulation.history import History, Step
from tests.simulation.oracle import NAMESPACE, Oracle


class SimulatedCluster:
    """An embedded cluster. Each action of a history is a method with the same name."""

    def __init__(self, history: History, clock: VirtualClock, webhook: WebhookCaller) -> None:
        self.history = history
        self.clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._unready_pods: set[str] = set()
        self._warned: set[str] = set()
        self.cluster = EmbeddedCluster(
            clock=clock, rng=random.Random(f"{history.seed}/cluster"), webhook=webhook
        )
        self.api = self.cluster.api
        self.oracle = Oracle(history, self.cluster, clock.monotonic)

    # -- actions ---------------------------------------------------------------------------------

    def _pick(self, names: list[str], step: Step) -> str | None:
        return names[step.index % len(names)] if names else None

    def _workload_of(self, step: Step) -> str:
        return self.history.workloads[step.index % len(self.history.workloads)].name

    async def _lose_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            await self.cluster.fleet.reclaim(name)

    async def _lose_spot(self, step: Step) -> None:
        for name in self.cluster.fleet.names(NodeType.SPOT):
            await self.cluster.fleet.reclaim(name)

    async def _add_node(self, step: Step) -> None:
        await self.add_nodes(step.value, 1 - step.value)

    async def _warn_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            self._warned.add(name)
            await self.cluster.fleet.announce_reclaim(name)

    async def _unready_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            self.cluster.fleet.mark_not_ready(name)

    async def _scale(self, step: Step) -> None:
        await self._change(self._workload_of(step), {"spec": {"replicas": step.value}})

    async def _percent(self, step: Step) -> None:
        await self.annotate(self._workload_of(step), "spot-percentage", str(step.value))

    async def _floor(self, step: Step) -> None:
        await self.annotate(self._workload_of(step), "min-on-demand", str(step.value))

    async def _pause(self, step: Step) -> None:
        name = self._workload_of(step)
        await self.annotate(name, "paused-until", "forever")
        self._spawn(self._resume(name, step.value))

    async def _resume(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.annotate(name, "paused-until", None)

    async def _rollout(self, step: Step) -> None:
        stamp = {"metadata": {"annotations": {"rolled": f"{self.clock.monotonic():g}"}}}
        await self._change(self._workload_of(step), {"spec": {"template": stamp}})

    async def _evict_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            await self.api.evict(NAMESPACE, name, user="another-client")

    async def _delete_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            await self.api.delete("pods", NAMESPACE, name, user="another-client")

    async def _unready_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            self._unready_pods.add(name)
            self.set_readiness(name, "never")
            self._spawn(self._recover(name, step.value))

    async def _recover(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.heal(name)

    async def _budget(self, step: Step) -> None:
        await self.set_budget(self._workload_of(step), step.value)

    async def set_budget(self, name: str, at_most: int | None) -> None:
        """Replace the budget of a workload; None: remove it."""
        existing = self.cluster.store.get("poddisruptionbudgets", NAMESPACE, name)
        if existing is not None:
            await self.api.delete("poddisruptionbudgets", NAMESPACE, name)
        if at_most is None:
            return
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": {"app": name}}, "maxUnavailable": at_most},
        }
        await self.api.create("poddisruptionbudgets", body)

    # -- helpers ---------------------------------------------------------------------------------

    def workload(self, name: str) -> Object:
        """The current workload object."""
        kind = next(spec.kind for spec in self.history.workloads if spec.name == name)
        found = self.cluster.store.get(kind.lower() + "s", NAMESPACE, name)
        assert found is not None
        return found

    def _pods(self, step: Step) -> list[str]:
        pods = self.oracle.pods_of(self._workload_of(step))
        return [
            pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        ]

    async def add_nodes(self, spot: int, on_demand: int) -> None:
        """Add nodes of 8 CPUs."""
        await self.cluster.fleet.add(spot=spot, on_demand=on_demand, cpu="8", memory="32Gi")

    async def annotate(self, name: str, key: str, value: str | None) -> None:
        """Set or remove an annotation of a workload; the key has no prefix."""
        await self._change(name, {"metadata": {"annotations": {PREFIX + key: value}}})

    async def _change(self, name: str, patch: Object) -> None:
        kind = next(spec.kind for spec in self.history.workloads if spec.name == name)
        merge = PatchType.MERGE.value
        await self.api.patch(kind.lower() + "s", NAMESPACE, name, patch, patch_type=merge)

    def set_readiness(self, name: str, value: str) -> None:
        """Set the delay in seconds until the pod is ready, or ``never``."""
        pod = self.cluster.store.get("pods", NAMESPACE, name)
        if pod is None:
            return
        metadata = pod["metadata"]
        metadata = {
            **metadata,
            "annotations": {**(metadata.get("annotations") or {}), READY: value},
        }
        self.cluster.store.put("pods", {**pod, "metadata": metadata})

    def heal(self, name: str) -> None:
        """Make the pod ready again."""
        self._unready_pods.discard(name)
        self.set_readiness(name, "0")

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
