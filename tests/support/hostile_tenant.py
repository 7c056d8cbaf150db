"""A tenant that writes to one namespace as much as the API server accepts."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.cluster import policy, workload_body
from tests.support.operator_process import OperatorProcess

TENANT = "hostile"
MERGE = "application/merge-patch+json"
MAX_REPLICAS = 2**31 - 1
PAUSE_SECONDS = 0.2
"""Between two writes, so that other processes get CPU time."""


class HostileTenant:
    """The tenant; its namespace is its own."""

    def __init__(self, it: OperatorProcess) -> None:
        self._api = it.cluster.api
        self._it = it
        self.huge: dict[str, Any] = {}
        """A StatefulSet with as many replicas as possible; its controller is stopped."""
        self._version = 0
        self._unset: dict[str, None] = {}
        """Labels that the next version of the pod loses."""

    async def settle(self) -> None:
        """Create what is never changed."""
        await self._api.create("namespaces", {"metadata": {"name": TENANT}})
        await self._it.cluster.stop_controller("statefulset")
        body = workload_body("StatefulSet", "huge", MAX_REPLICAS, policy(50))
        body["metadata"]["namespace"] = TENANT
        self.huge = await self._api.create("statefulsets", body)
        for number in range(100):
            await self._api.create("pods", pending_pod(number))
            await self._api.create("poddisruptionbudgets", wide_budget(number))
        for number in range(10):
            body = workload_body("Deployment", f"long-{number}", 0, policy(50))
            body["metadata"]["namespace"] = TENANT
            await self._api.create("deployments", body)

    async def write(self) -> None:
        """Write policies, labels and annotations, and create pods, again and again."""
        while True:
            for attack in (self.write_policy, self.relabel, self.ask_for_huge):
                await attack()
            await asyncio.sleep(PAUSE_SECONDS)

    async def write_policy(self) -> None:
        """Give a Deployment a long duration and annotations that Spotalis does not read."""
        self._version += 1
        values = {"spotalis.io/spot-fallback": str(self._version % 10) * 24_000}
        values |= {f"spotalis.io/note-{n}": "x" * 20_000 for n in range(10)}
        await self._patch("deployments", f"long-{self._version % 10}", {"annotations": values})

    async def relabel(self) -> None:
        """Give a pod a thousand other labels."""
        self._version += 1
        labels = {f"{'k' * 40}-{self._version}-{number}": "x" * 50 for number in range(1_000)}
        await self._patch("pods", "pending-0", {"labels": self._unset | labels})
        self._unset = dict.fromkeys(labels)

    async def ask_for_huge(self) -> None:
        """Have a pod of the StatefulSet admitted, by a dry run."""
        name = f"huge-{MAX_REPLICAS - 1}"
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "controller": True}
        owner |= {"name": "huge", "uid": self.huge["metadata"]["uid"]}
        pod = pending_pod(0)
        pod["metadata"] |= {"name": name, "ownerReferences": [owner]}
        await self._api.create("pods", pod, dry_run=True)

    async def _patch(self, plural: str, name: str, metadata: dict[str, Any]) -> None:
        body = {"metadata": metadata}
        await self._api.patch(plural, TENANT, name, body, patch_type=MERGE)


def pending_pod(number: int) -> dict[str, Any]:
    """A pod that stays Pending, with as many affinity terms as are judged, unlike all others."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term] * 40}
    cpu = {"requests": {"cpu": f"{number + 1}m"}}
    containers = [{"name": "main", "image": "registry.example/main:1", "resources": cpu}]
    return {
        "metadata": {"name": f"pending-{number}", "namespace": TENANT},
        "spec": {
            "schedulerName": "none",
            "containers": containers,
            "affinity": {"podAntiAffinity": required},
        },
    }


def wide_budget(number: int) -> dict[str, Any]:
    """A PodDisruptionBudget with a long list of values."""
    values = [f"value-{number}-{n}" for n in range(300)]
    expression = {"key": "app", "operator": "In", "values": values}
    return {
        "metadata": {"name": f"wide-{number}", "namespace": TENANT},
        "spec": {"minAvailable": 1, "selector": {"matchExpressions": [expression]}},
    }
