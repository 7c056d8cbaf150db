"""The nodes of the cluster, from the side of the cloud provider: added, reclaimed, not ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spotalis.embedded.objects.conditions import drop, put
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import stamp
from spotalis.model.nodes import NodeType

if TYPE_CHECKING:
    from spotalis.embedded.server.api import Api
    from spotalis.model.environment import Clock

USER = "system:cloud-provider"
"""The user name of the cloud provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How a cloud provider labels and taints its nodes."""

    every: Mapping[str, str] = field(default_factory=dict)
    """Labels of every node."""
    spot: Mapping[str, str] = field(default_factory=dict)
    """Labels of spot nodes."""
    on_demand: Mapping[str, str] = field(default_factory=dict)
    spot_taints: tuple[tuple[str, str, str], ...] = ()
    """Key, value and effect of the taints on spot nodes."""

    def labels(self, node_type: NodeType) -> dict[str, str]:
        """The labels of a node of this type."""
        own = self.spot if node_type is NodeType.SPOT else self.on_demand
        return {**self.every, **own}

    def taints(self, node_type: NodeType) -> tuple[tuple[str, str, str], ...]:
        """The taints of a node of this type."""
        return self.spot_taints if node_type is NodeType.SPOT else ()


KARPENTER = Provider(
    every={"karpenter.sh/nodepool": "default"},
    spot={"karpenter.sh/capacity-type": "spot"},
    on_demand={"karpenter.sh/capacity-type": "on-demand"},
)
EKS = Provider(
    spot={"eks.amazonaws.com/capacityType": "SPOT"},
    on_demand={"eks.amazonaws.com/capacityType": "ON_DEMAND"},
)
GKE = Provider(
    every={"cloud.google.com/gke-nodepool": "pool"},
    spot={"cloud.google.com/gke-spot": "true"},
    spot_taints=(("cloud.google.com/gke-spot", "true", "NoSchedule"),),
)
AKS = Provider(
    every={"kubernetes.azure.com/cluster": "MC_group", "kubernetes.azure.com/agentpool": "pool"},
    spot={"kubernetes.azure.com/scalesetpriority": "spot"},
    spot_taints=(("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimNotice:
    """How a provider announces that it reclaims a node: by a taint, a condition or both."""

    taint: str = ""
    """The key of a taint with effect NoSchedule."""
    condition: tuple[str, str, str] | None = None
    """Type, reason and message of the condition, whose status becomes True."""


RECLAIM_NOTICES: Mapping[str, ReclaimNotice] = {
    "karpenter": ReclaimNotice(taint="karpenter.sh/disrupted"),
    "node-termination-handler": ReclaimNotice(taint="aws-node-termination-handler/spot-itn"),
    "rebalance": ReclaimNotice(taint="aws-node-termination-handler/rebalance-recommendation"),
    "gke": ReclaimNotice(taint="cloud.google.com/impending-node-termination"),
    "aks": ReclaimNotice(condition=("VMEventScheduled", "PreemptScheduled", "Preempt scheduled")),
    "aks-freeze": ReclaimNotice(
        condition=("VMEventScheduled", "FreezeScheduled", "Freeze scheduled")
    ),
    "aks-remediator": ReclaimNotice(taint="remediator.kubernetes.azure.com/unschedulable"),
    "openshift": ReclaimNotice(
        condition=("Terminating", "TerminationRequested", "The cloud provider has marked it")
    ),
    "cluster-autoscaler": ReclaimNotice(taint="ToBeDeletedByClusterAutoscaler"),
}
"""Keyed by the ``how`` of ``Fleet.announce_reclaim``.

``rebalance`` and ``aks-freeze`` look like interruption notices but the node stays. ``karpenter``
and ``cluster-autoscaler`` are also how an autoscaler begins to remove a node by its own decision.
"""
PROVIDER_NOTICE = "node-termination-handler"
"""A notice that always means that the provider reclaims the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSize:
    """The capacity of a node."""

    cpu: str = "4"
    memory: str = "16Gi"
    pods: int = 110


_DEFAULT_SIZE = NodeSize()


def make_node(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[tuple[str, str, str]] = (),
    zone: str = "",
    ready: bool = True,
    **resources: str,
) -> Object:
    """Build a node object as a kubelet would register it.

    Args:
        name: the name, which is also the hostname label.
        labels: labels besides hostname, operating system and zone.
        taints: key, value and effect of each taint.
        zone: the topology zone label; no label if empty.
        ready: the status of condition Ready.
        resources: capacity and allocatable, besides those of an ordinary node.
    """
    capacity = {"cpu": "4", "memory": "16Gi", "pods": "110", **resources}
    known = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    if zone:
        known["topology.kubernetes.io/zone"] = zone
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**known, **(labels or {})}},
        "spec": {"taints": [_taint(taint) for taint in taints]} if taints else {},
        "status": {
            "capacity": capacity,
            "allocatable": dict(capacity),
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


class Fleet:
    """Adds, reclaims and disturbs the nodes of a cluster."""

    def __init__(self, api: Api, clock: Clock, *, provider: Provider = KARPENTER) -> None:
        self._api = api
        self._clock = clock
        self.zones: Sequence[str] = ()
        """New nodes are distributed over these zones; without zones they have no zone label."""
        self._created: dict[NodeType, int] = {}
        self._addresses = 0
        self.provider = provider

    async def add(
        self,
        *,
        spot: int = 0,
        on_demand: int = 0,
        cpu: str = "4",
        memory: str = "16Gi",
        pods: int = 110,
        ready: bool = True,
    ) -> list[str]:
        """Add nodes named ``spot-1``, ``on-demand-1`` and so on; returns their names."""
        wanted = [NodeType.SPOT] * spot + [NodeType.ON_DEMAND] * on_demand
        size = NodeSize(cpu=cpu, memory=memory, pods=pods)
        return [await self.register(self.next_node(each, size, ready=ready)) for each in wanted]

    def next_node(
        self, node_type: NodeType, size: NodeSize = _DEFAULT_SIZE, *, ready: bool = True
    ) -> Object:
        """The next node of this type, to be registered."""
        node = self.sample(node_type, size, ready=ready)
        self._created[node_type] = self._created.get(node_type, 0) + 1
        self._addresses += 1
        address = f"192.168.{self._addresses >> 8}.{self._addresses & 0xFF}"
        node["status"]["addresses"] = [{"type": "InternalIP", "address": address}]
        return node

    def sample(
        self, node_type: NodeType, size: NodeSize = _DEFAULT_SIZE, *, ready: bool = True
    ) -> Object:
        """The next node of this type, without an address; does not count it."""
        number = self._created.get(node_type, 0)
        return make_node(
            f"{node_type.value}-{number + 1}",
            labels=self.provider.labels(node_type),
            taints=self.provider.taints(node_type),
            zone=self.zones[number % len(self.zones)] if self.zones else "",
            cpu=size.cpu,
            memory=size.memory,
            pods=str(size.pods),
            ready=ready,
        )

    async def register(self, node: Object) -> str:
        """Create a node object in the API; returns its name."""
        name: str = node["metadata"]["name"]
        status, at = node["status"], stamp(self._clock.now())
        conditions = [{"lastTransitionTime": at, **one} for one in status["conditions"]]
        dated = {**status, "conditions": conditions}
        await self._api.create("nodes", {**node, "status": dated}, user=USER)
        self._api.set_status("nodes", "", name, lambda obj: obj.update(status=dated))
        return name

    async def announce_reclaim(self, name: str, how: str = PROVIDER_NOTICE) -> None:
        """Announce that the provider reclaims the node; ``how`` is a key of ``RECLAIM_NOTICES``.

        Raises:
            KeyError: unknown ``how``.
            ApiError: the node does not exist.
        """
        notice = RECLAIM_NOTICES[how]
        if notice.taint:
            await self.taint(name, notice.taint)
        if notice.condition is not None:
            kind, reason, message = notice.condition
            at = stamp(self._clock.now())
            self._api.set_status(
                "nodes",
                "",
                name,
                lambda obj: put(obj, kind, "True", at, reason=reason, message=message),
            )

    async def withdraw_notice(self, name: str, how: str = PROVIDER_NOTICE) -> None:
        """Withdraw a notice: the node stays."""
        notice = RECLAIM_NOTICES[how]
        if notice.taint:
            await self._change(name, lambda spec: _set_taints(spec, notice.taint, None))
        if notice.condition is not None:
            kind = notice.condition[0]
            self._api.set_status("nodes", "", name, lambda obj: drop(obj["status"], kind))

    async def reclaim(self, name: str) -> None:
        """Delete the node; the pod garbage collector then deletes its pods without grace period."""
        await self._api.delete("nodes", "", name, user=USER)

    def mark_not_ready(self, name: str, status: str = "Unknown") -> None:
        """Set condition Ready: ``Unknown`` if the kubelet is silent, ``False`` if it reports so."""
        self._ready(name, status, "NodeStatusUnknown" if status == "Unknown" else "KubeletNotReady")

    def mark_ready(self, name: str) -> None:
        """Set condition Ready to True."""
        self._ready(name, "True", "KubeletReady")

    async def cordon(self, name: str, *, cordoned: bool = True) -> None:
        """Set or clear ``spec.unschedulable``."""

        def change(spec: Object) -> Object:
            kept = {key: value for key, value in spec.items() if key != "unschedulable"}
            return {**kept, "unschedulable": True} if cordoned else kept

        await self._change(name, change)

    async def taint(self, name: str, key: str, value: str = "", effect: str = "NoSchedule") -> None:
        """Add a taint, or replace that with the same key."""
        await self._change(name, lambda spec: _set_taints(spec, key, _taint((key, value, effect))))

    def names(self, node_type: NodeType | None = None) -> list[str]:
        """The names of the existing nodes, of one type or of all."""
        return [
            node["metadata"]["name"]
            for node in self._api.store.list("nodes")
            if node_type is None or self.type_of(node) is node_type
        ]

    def type_of(self, node: Object) -> NodeType:
        """The type by the labels of this provider."""
        labels = (node["metadata"].get("labels") or {}).items()
        if self.provider.spot.items() <= labels:
            return NodeType.SPOT
        is_known = self.provider.labels(NodeType.ON_DEMAND).items() <= labels
        return NodeType.ON_DEMAND if is_known else NodeType.UNKNOWN

    def _ready(self, name: str, status: str, reason: str) -> None:
        at = stamp(self._clock.now())
        self._api.set_status(
            "nodes", "", name, lambda obj: put(obj, "Ready", status, at, reason=reason)
        )

    async def _change(self, name: str, change: Callable[[Object], Object]) -> None:
        """Change the spec of a node, whatever its version."""
        node = self._api.store.get("nodes", "", name)
        if node is None:
            raise KeyError(f"no node {name!r}")
        metadata = {key: it for key, it in node["metadata"].items() if key != "resourceVersion"}
        changed = {**node, "metadata": metadata, "spec": change(node.get("spec") or {})}
        await self._api.update("nodes", changed, user=USER)


def _taint(taint: tuple[str, str, str]) -> Object:
    key, value, effect = taint
    return {"key": key, **({"value": value} if value else {}), "effect": effect}


def _set_taints(spec: Object, key: str, taint: Object | None) -> Object:
    others = [one for one in spec.get("taints") or () if one["key"] != key]
    taints = others if taint is None else [*others, taint]
    rest = {name: value for name, value in spec.items() if name != "taints"}
    return {**rest, "taints": taints} if taints else rest
