"""Real Karpenter beside the real control plane; only its machines are simulated.

    @only_real
    async def test_ten_replicas_are_split(cluster: TestCluster) -> None:
        async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
            await cluster.create_deployment("web", 10, policy(70))
            await cluster.wait_for_split("web", 3, 7)
            await karpenter.take_spot_away()

Karpenter is built with its kwok provider (testbed/programs.py), which creates Node objects instead
of machines; the kwok of the control plane makes them Ready. Karpenter has a user of its own, so
that the audit log tells its evictions from those of the operator.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from testbed.programs import KARPENTER
from tests.support.audit_log import AuditEvent
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster
from tests.support.control_plane import ControlPlane
from tests.support.real_cluster import RealTestCluster
from tests.support.side_program import running_beside

USER = "karpenter"
SPOT_AND_ON_DEMAND = ("spot", "on-demand")
NODE_CLASS = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
SIZES = (2, 4, 8, 16)
"""CPUs of the instance types; each has 4 GiB of memory per CPU."""
ZONES = ("zone-a", "zone-b")


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """A NodePool. By default it launches both capacity types, without limits, and keeps its nodes.

    labels:            of its nodes.
    requirements:      further requirements: allowed values by label key. Karpenter chooses one.
    taints:            of its nodes: effect by key.
    cpu_limit:         CPUs of all its nodes together.
    expire_after:      lifetime of its nodes, as Go writes durations.
    consolidate_after: time without changes after which Karpenter consolidates a node.
    disruption_budget: nodes that Karpenter may disrupt at the same time, a number or a percentage.
    """

    name: str = "default"
    capacity_types: tuple[str, ...] = SPOT_AND_ON_DEMAND
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    requirements: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    taints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cpu_limit: int | None = None
    expire_after: str = "Never"
    consolidate_after: str = "Never"
    disruption_budget: str = "100%"

    def body(self) -> dict[str, Any]:
        """Return the manifest."""
        requirements = {
            "kubernetes.io/arch": ("amd64",),
            "kubernetes.io/os": ("linux",),
            CAPACITY_TYPE_LABEL: self.capacity_types,
            **self.requirements,
        }
        template = {
            "metadata": {"labels": dict(self.labels)},
            "spec": {
                "requirements": [
                    {"key": key, "operator": "In", "values": list(values)}
                    for key, values in requirements.items()
                ],
                "taints": [{"key": key, "effect": effect} for key, effect in self.taints.items()],
                "nodeClassRef": NODE_CLASS,
                "expireAfter": self.expire_after,
            },
        }
        return {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": self.name},
            "spec": {
                "template": template,
                "limits": {} if self.cpu_limit is None else {"cpu": str(self.cpu_limit)},
                "disruption": {
                    "consolidationPolicy": "WhenEmptyOrUnderutilized",
                    "consolidateAfter": self.consolidate_after,
                    "budgets": [{"nodes": self.disruption_budget}],
                },
            },
        }


class Karpenter:
    """A running Karpenter. Methods change its node pools; the first one is the default."""

    def __init__(self, plane: ControlPlane, pools: tuple[NodePool, ...]) -> None:
        self._plane = plane
        self._pools = {pool.name: pool for pool in pools}
        self._first = pools[0].name

    async def apply(self, *pools: NodePool) -> None:
        """Create node pools, or change those with the same names."""
        self._pools |= {pool.name: pool for pool in pools}
        await asyncio.to_thread(self._plane.apply, [pool.body() for pool in pools])

    async def change(self, pool: str = "", **fields: Any) -> None:
        """Change fields of a :class:`NodePool`.

        Other labels or taints make its present nodes drift: Karpenter replaces them. Another
        lifetime applies to new nodes; the present ones drift.
        """
        await self.apply(dataclasses.replace(self._pools[pool or self._first], **fields))

    async def take_spot_away(self, pool: str = "") -> None:
        """Let Karpenter launch on-demand nodes only, and remove its spot nodes.

        Karpenter drains each node through the Eviction API and deletes it.
        """
        await self.change(pool, capacity_types=("on-demand",))
        await self.disrupt("spot")

    async def give_spot_back(self, pool: str = "") -> None:
        """Let Karpenter launch spot nodes again."""
        await self.change(pool, capacity_types=SPOT_AND_ON_DEMAND)

    async def disrupt(self, capacity_type: str) -> None:
        """Remove the nodes of a capacity type: delete their NodeClaims."""
        selector = f"--selector={CAPACITY_TYPE_LABEL}={capacity_type}"
        await self._kubectl("delete", "nodeclaims", selector, "--wait=false")

    async def interrupt(self, node: str) -> None:
        """Delete the NodeClaim of a node, as Karpenter does if the provider reclaims the node."""
        field = "--output=jsonpath={.metadata.ownerReferences[0].name}"
        claim = await self._kubectl("get", "node", node, field)
        await self._kubectl("delete", "nodeclaim", claim, "--wait=false")

    async def nodes(self, capacity_type: str = "") -> list[str]:
        """Return the names of its nodes (of a capacity type)."""
        value = f"={capacity_type}" if capacity_type else ""
        selector = f"--selector=karpenter.sh/nodepool,{CAPACITY_TYPE_LABEL}{value}"
        found = json.loads(await self._kubectl("get", "nodes", selector, "--output=json"))
        return [item["metadata"]["name"] for item in found["items"]]

    def launches(self) -> int:
        """Count the nodes that it has launched."""
        created = self._plane.audit(user=USER, verb="create", kind="nodes")
        return sum(event.code == 201 for event in created)

    def evictions(self) -> list[AuditEvent]:
        """Return its successful evictions."""
        return self._plane.evictions(USER)

    async def _kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._plane.kubectl, *arguments)


@asynccontextmanager
async def karpenter_beside(cluster: TestCluster, *pools: NodePool) -> AsyncIterator[Karpenter]:
    """Run Karpenter with these node pools during the block, ready when it begins."""
    assert isinstance(cluster, RealTestCluster)
    plane = cluster.plane
    types_file = plane.folder / "instance-types.json"
    types_file.write_text(json.dumps([_instance_type(cpus) for cpus in SIZES]))
    node_class = {
        "apiVersion": f"{NODE_CLASS['group']}/v1alpha1",
        "kind": NODE_CLASS["kind"],
        "metadata": {"name": NODE_CLASS["name"]},
    }
    async with running_beside(
        plane,
        KARPENTER,
        user=USER,
        ready_path="/readyz",
        environment={
            "DISABLE_LEADER_ELECTION": "true",
            "HEALTH_PROBE_PORT": "{health}",
            "INSTANCE_TYPES_FILE_PATH": str(types_file),
            "KARPENTER_SERVICE": "karpenter",
            "KUBERNETES_MIN_VERSION": "1.19.0-0",
            "METRICS_PORT": "{metrics}",
            "SYSTEM_NAMESPACE": "kube-system",
        },
    ):
        karpenter = Karpenter(plane, pools)
        await asyncio.to_thread(plane.apply, [node_class])
        await karpenter.apply(*pools)
        yield karpenter


def _instance_type(cpus: int) -> dict[str, Any]:
    """An entry of Karpenter's file of instance types. Spot costs a third of on-demand."""
    prices = {"on-demand": 0.03 * cpus, "spot": 0.01 * cpus}
    offerings = [
        {
            "Price": price,
            "Available": True,
            "Requirements": [
                {"key": CAPACITY_TYPE_LABEL, "operator": "In", "values": [capacity_type]},
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
            ],
        }
        for capacity_type, price in prices.items()
        for zone in ZONES
    ]
    return {
        "name": f"size-{cpus}",
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": {"cpu": str(cpus), "memory": f"{4 * cpus}Gi", "pods": "110"},
        "offerings": offerings,
    }
