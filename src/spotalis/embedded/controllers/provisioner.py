"""A node provisioner such as Karpenter: adds nodes for unschedulable pods. Off by default."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.filters import NodeFilter
from spotalis.embedded.controllers.pod_requirements import PodRequirements, requirements_of
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache, node_info
from spotalis.embedded.nodes import Fleet, NodeSize
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.owners import deleting, key_of, split
from spotalis.embedded.objects.pods import node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import stamp_micros
from spotalis.model.nodes import NodeType

_LIMIT_RETRY_SECONDS = 30.0
"""A pod for which the limits allow no node is retried after this time: limits may change."""
_REFUSAL = "Failed to schedule pod, all available instance types exceed limits for nodepool"
_SCHEDULING_SECONDS = 10.0
"""The time that the scheduler has to bind a pod to its new node before the pod is retried."""


@dataclass(slots=True, kw_only=True)
class Provisioning:
    """What the provisioner may do; the limits can be changed while it runs."""

    limits: dict[NodeType, int] = field(default_factory=dict)
    """Maximum number of nodes per type, including existing ones; 0 for types that are absent."""
    delay: timedelta = timedelta(seconds=30)
    """From the decision until the node is Ready."""
    size: NodeSize = field(default_factory=NodeSize)
    """Of new nodes."""


@dataclass(slots=True)
class _PlannedNode:
    """A node that is being provisioned, and the pods that it is for."""

    node: Object
    info: NodeInfo
    due: float
    """Event loop time."""
    pods: dict[str, None] = field(default_factory=dict)
    """Keys of pods, in the order in which they were nominated."""


class Provisioner(Controller):
    """Provisions as few nodes as possible, spot first if the pod can run on either type."""

    name: ClassVar[str] = "provisioner"
    user: ClassVar[str] = "system:serviceaccount:kube-system:karpenter"
    workers: ClassVar[int] = 1

    def __init__(
        self, context: ControllerContext, fleet: Fleet, provisioning: Provisioning
    ) -> None:
        super().__init__(context)
        self._fleet = fleet
        self.provisioning = provisioning
        self._planned: list[_PlannedNode] = []
        self._ready_at: dict[str, float] = {}
        """By pod key: when its new node was added (event loop time), until the pod is bound."""
        self._unschedulable: set[str] = set()

    def listen(self) -> None:
        """Subscribe to pods and nodes: a deleted node leaves room under the limits."""
        self.on("pods", self._on_pod)
        self.on("nodes", self._on_node)

    def _on_pod(self, change: str, pod: Object, old: Object | None) -> None:
        key = key_of(pod)
        scheduled = condition(pod, "PodScheduled") or {}
        stuck = not node_of(pod) and scheduled.get("reason") == "Unschedulable"
        if change != "DELETED" and stuck and not deleting(pod):
            self._unschedulable.add(key)
            self.queue.add(key)
            return
        self._unschedulable.discard(key)
        self._ready_at.pop(key, None)
        for planned in self._planned:
            planned.pods.pop(key, None)

    def _on_node(self, change: str, node: Object, old: Object | None) -> None:
        if change == "DELETED":
            for key in sorted(self._unschedulable):
                self.queue.add(key)

    async def sync(self, key: str) -> float | None:
        """Add the nodes that are due, then plan a node for one pod."""
        now = asyncio.get_running_loop().time()
        for planned in [one for one in self._planned if one.due <= now + 1e-6]:
            self._planned.remove(planned)
            await self._fleet.register(planned.node)
            for nominated in planned.pods:
                self._ready_at[nominated] = now
                self.queue.add_after(nominated, _SCHEDULING_SECONDS)
        is_nominated = any(key in one.pods for one in self._planned)
        if key not in self._unschedulable or is_nominated or self._may_still_schedule(key, now):
            return None
        pod = self.store.get("pods", *split(key))
        if pod is None:
            return None
        found = self._plan(requirements_of(pod), now)
        if found is None:
            await self._record(pod, "Warning", "FailedScheduling", _REFUSAL)
            return _LIMIT_RETRY_SECONDS
        found.pods[key] = None
        note = f"Pod should schedule on: node/{found.node['metadata']['name']}"
        await self._record(pod, "Normal", "Nominated", note)
        return max(0.0, found.due - now)

    def _may_still_schedule(self, key: str, now: float) -> bool:
        """Whether the pod's node was added so recently that the scheduler may not have acted."""
        added = self._ready_at.get(key)
        return added is not None and now + 1e-6 < added + _SCHEDULING_SECONDS

    def _plan(self, pod: PodRequirements, now: float) -> _PlannedNode | None:
        """A planned node with room for the pod, or a new one if the limits allow it."""
        for planned in self._planned:
            if _fits(planned.info, pod):
                planned.info.add(pod)
                return planned
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            info = node_info(self._fleet.sample(node_type, self.provisioning.size))
            if self._may_add(node_type) and _fits(info, pod):
                info.add(pod)
                due = now + self.provisioning.delay.total_seconds()
                node = self._fleet.next_node(node_type, self.provisioning.size)
                self._planned.append(_PlannedNode(node, info, due))
                return self._planned[-1]
        return None

    def _may_add(self, node_type: NodeType) -> bool:
        planned = sum(1 for one in self._planned if self._fleet.type_of(one.node) is node_type)
        existing = len(self._fleet.names(node_type))
        return existing + planned < self.provisioning.limits.get(node_type, 0)

    async def _record(self, pod: Object, type_: str, reason: str, note: str) -> None:
        """Emit the Event that Karpenter emits for a pod that gets a new node, or none."""
        namespace, name = split(key_of(pod))
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "generateName": f"{name}."},
            "eventTime": stamp_micros(self.clock.now()),
            "reportingComponent": "karpenter",
            "reportingInstance": "karpenter-1",
            "action": reason,
            "reason": reason,
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": namespace,
                "name": name,
                "uid": pod["metadata"]["uid"],
            },
            "message": note,
            "type": type_,
        }
        await self.api.create("events", event, user=self.user)


def _fits(info: NodeInfo, pod: PodRequirements) -> bool:
    cache = SchedulerCache()
    cache.nodes[info.name] = info
    return not NodeFilter(cache, pod).reasons(info)
