"""A provisioner such as Karpenter: adds a node for pods that found none. Off by default."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.filters import NodeFilter
from spotalis.embedded.controllers.pod_requirements import PodRequirements, requirements_of
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache
from spotalis.embedded.nodes import NodeSize
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.owners import deleting, key_of, split
from spotalis.embedded.objects.pods import node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import stamp_micros
from spotalis.model.nodes import NodeType

if TYPE_CHECKING:
    from spotalis.embedded.nodes import Fleet


_LIMITED_SECONDS = 30.0
"""A pod for which no node may be added is looked at again after so long: limits change."""
_AGAIN_SECONDS = 10.0
"""A pod that does not run so long after its node came is looked at again."""


@dataclass(slots=True, kw_only=True)
class Provisioning:
    """What a provisioner may do; the limits may be changed while it runs."""

    limits: dict[NodeType, int] = field(default_factory=dict)
    """Nodes of each class there may be, given ones among them; none of a class that is absent."""
    delay: timedelta = timedelta(seconds=30)
    """From the decision to the node's being Ready."""
    size: NodeSize = field(default_factory=NodeSize)
    """Of a new node."""


@dataclass(slots=True)
class _Coming:
    """A node on its way, and what was promised to which pod."""

    node: Object
    info: NodeInfo
    due: float
    """The event loop's time."""
    pods: dict[str, None] = field(default_factory=dict)
    """Keys of pods, in the order of the promises."""


class Provisioner(Controller):
    """Plans nodes for unschedulable pods: as few as will do, spot first where a pod may choose."""

    name: ClassVar[str] = "provisioner"
    user: ClassVar[str] = "system:serviceaccount:kube-system:karpenter"
    workers: ClassVar[int] = 1

    def __init__(
        self, context: ControllerContext, fleet: Fleet, provisioning: Provisioning
    ) -> None:
        super().__init__(context)
        self._fleet = fleet
        self.provisioning = provisioning
        self._coming: list[_Coming] = []
        self._placed: dict[str, float] = {}
        """When (the event loop's time) the node promised to a pod came, until the pod runs."""

    def listen(self) -> None:
        """Pods that cannot be scheduled, and nodes: one that goes makes room under the limit."""
        self._waiting: set[str] = set()
        self.on("pods", self._pod)
        self.on("nodes", self._node)

    def _pod(self, change: str, pod: Object, old: Object | None) -> None:
        key = key_of(pod)
        said = condition(pod, "PodScheduled") or {}
        stuck = not node_of(pod) and said.get("reason") == "Unschedulable" and not deleting(pod)
        if change != "DELETED" and stuck:
            self._waiting.add(key)
            self.queue.add(key)
            return
        self._waiting.discard(key)
        self._placed.pop(key, None)
        for coming in self._coming:
            coming.pods.pop(key, None)

    def _node(self, change: str, node: Object, old: Object | None) -> None:
        if change == "DELETED":
            for key in sorted(self._waiting):
                self.queue.add(key)

    async def sync(self, key: str) -> float | None:
        """Add the nodes that are due, then see to one pod."""
        now = asyncio.get_running_loop().time()
        for coming in [one for one in self._coming if one.due <= now + 1e-6]:
            self._coming.remove(coming)
            await self._fleet.register(coming.node)
            for promised in coming.pods:
                self._placed[promised] = now
                self.queue.add_after(promised, _AGAIN_SECONDS)
        nominated = any(key in one.pods for one in self._coming)
        if key not in self._waiting or nominated or self._may_land(key, now):
            return None
        pod = self.store.get("pods", *split(key))
        if pod is None:
            return None
        found = self._find(requirements_of(pod), now)
        if found is None:
            return _LIMITED_SECONDS
        found.pods[key] = None
        await self._nominate(pod, found)
        return max(0.0, found.due - now)

    def _may_land(self, key: str, now: float) -> bool:
        """Its node has come only just: leave the scheduler some time."""
        return now + 1e-6 < self._placed.get(key, -_AGAIN_SECONDS) + _AGAIN_SECONDS

    def _find(self, requirements: PodRequirements, now: float) -> _Coming | None:
        """A node on its way that has info, or a new one if the limits allow it."""
        for coming in self._coming:
            if _fits(coming.info, requirements):
                coming.info.take(requirements)
                return coming
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            info = self._room(node_type)
            if self._may_add(node_type) and _fits(info, requirements):
                info.take(requirements)
                due = now + self.provisioning.delay.total_seconds()
                node = self._fleet.next_node(node_type, self.provisioning.size)
                self._coming.append(_Coming(node, info, due))
                return self._coming[-1]
        return None

    def _may_add(self, node_type: NodeType) -> bool:
        on_the_way = sum(1 for one in self._coming if self._fleet.type_of(one.node) is node_type)
        there = len(self._fleet.names(node_type))
        return there + on_the_way < self.provisioning.limits.get(node_type, 0)

    def _room(self, node_type: NodeType) -> NodeInfo:
        """The info on an empty node of this class."""
        cache = SchedulerCache()
        cache.node("ADDED", self._fleet.sample(node_type, self.provisioning.size))
        (info,) = cache.nodes.values()
        return info

    async def _nominate(self, pod: Object, coming: _Coming) -> None:
        """Say of the pod that info is being made, as Karpenter does."""
        namespace, name = split(key_of(pod))
        event: Object = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "generateName": f"{name}."},
            "eventTime": stamp_micros(self.clock.now()),
            "reportingController": "karpenter",
            "reportingInstance": "karpenter-1",
            "action": "Nominated",
            "reason": "Nominated",
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": namespace,
                "name": name,
                "uid": pod["metadata"]["uid"],
            },
            "note": f"Pod should schedule on: node/{coming.node['metadata']['name']}",
            "type": "Normal",
        }
        await self.api.create("events", event, user=self.user)


def _fits(info: NodeInfo, requirements: PodRequirements) -> bool:
    cache = SchedulerCache()
    cache.nodes[info.name] = info
    return not NodeFilter(cache, requirements).reasons(info)
