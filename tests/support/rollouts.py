"""The real controller of Argo Rollouts beside the real control plane.

@only_real
async def test_a_canary_is_split(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(70), canary(20, 50))
        await rollouts.wait_for_splits("web", (3, 7))
        await rollouts.set_image("web", "registry.example/main:2")
        await rollouts.wait_for_splits("web", (3, 5), (1, 1))
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from spotalis.kube.client import PatchType
from spotalis.model.nodes import NodeType
from testbed.programs import ROLLOUTS
from tests.support.cluster import NO_POLICY, Policy, TestCluster, workload_body
from tests.support.real_cluster import ROOT, RealTestCluster
from tests.support.side_program import running_beside

USER = "argo-rollouts"
PERMISSIONS = ROOT / "build" / "k8s" / "optional" / "rollouts.yaml"
API = "/apis/argoproj.io/v1alpha1"
HASH_LABEL = "rollouts-pod-template-hash"


def canary(*weights: int, pause: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A canary strategy that sets each weight in turn and pauses after it.

    Args:
        pause: ``{"duration": "60s"}``; by default a human continues.
    """
    steps: list[dict[str, Any]] = []
    for weight in weights:
        steps += [{"setWeight": weight}, {"pause": dict(pause or {})}]
    return {"canary": {"steps": steps, "maxSurge": "25%", "maxUnavailable": 0}}


def blue_green() -> dict[str, Any]:
    """A blue-green strategy whose preview a human promotes. ``create`` adds its Services."""
    return {
        "blueGreen": {
            "activeService": "active",
            "previewService": "preview",
            "autoPromotionEnabled": False,
            "scaleDownDelaySeconds": 1,
        }
    }


class Rollouts:
    """Rollouts in the namespace of the scenario, as their owners change them."""

    def __init__(self, cluster: TestCluster) -> None:
        self._cluster = cluster

    async def create(
        self,
        name: str,
        replicas: int,
        policy: Policy = NO_POLICY,
        strategy: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Create a Rollout. ``spec`` replaces fields of its spec; None removes a field."""
        strategy = dict(strategy or canary())
        for service in ("activeService", "previewService"):
            if (service_name := strategy.get("blueGreen", {}).get(service)) is not None:
                await self._create_service(service_name, name)
        body = workload_body("Rollout", name, replicas, policy)
        body["apiVersion"] = "argoproj.io/v1alpha1"
        body["spec"] |= {"strategy": strategy, **spec}
        body["spec"] = {key: value for key, value in body["spec"].items() if value is not None}
        path = f"{API}/namespaces/{self._cluster.namespace}/rollouts"
        response = await self._cluster.api.raw("POST", path, body)
        assert response.status == 201, response.body

    async def set_image(self, name: str, image: str) -> None:
        """Change the image, which begins a rollout."""
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image"}]
        await self._patch(name, [{**change[0], "value": image}], "application/json-patch+json")

    async def scale(self, name: str, replicas: int) -> None:
        """Set the replicas through the scale subresource, as an autoscaler does."""
        await self._patch(name, {"spec": {"replicas": replicas}}, subresource="scale")

    async def annotate(self, name: str, annotations: Policy) -> None:
        """Change the policy."""
        await self._patch(name, {"metadata": {"annotations": dict(annotations)}})

    async def promote(self, name: str) -> None:
        """End the present pause, as ``kubectl argo rollouts promote`` does."""
        await self._patch(name, {"status": {"pauseConditions": None}}, subresource="status")

    async def abort(self, name: str) -> None:
        """Abort the rollout, as ``kubectl argo rollouts abort`` does."""
        await self._patch(name, {"status": {"abort": True}}, subresource="status")

    async def phase(self, name: str) -> str:
        """Return ``Healthy``, ``Progressing``, ``Paused`` or ``Degraded``."""
        return str((await self.get(name)).get("status", {}).get("phase", ""))

    async def get(self, name: str) -> dict[str, Any]:
        """Return a Rollout as a JSON object."""
        response = await self._cluster.api.raw("GET", self._path(name))
        document: dict[str, Any] = json.loads(response.body)
        return document

    async def splits(self, name: str) -> list[tuple[int, int]]:
        """Return the (on-demand, spot) Ready pods of each ReplicaSet, the oldest one first."""
        types = await self._cluster.node_types()
        found: dict[str, Counter[NodeType]] = {}
        pods = sorted(await self._cluster.pods(name), key=lambda pod: str(pod.created_at))
        for pod in pods:
            if pod.ready and pod.deleting_at is None:
                counts = found.setdefault(pod.labels[HASH_LABEL], Counter())
                counts[types.get(pod.node, NodeType.UNKNOWN)] += 1
        return [(c[NodeType.ON_DEMAND], c[NodeType.SPOT]) for c in found.values()]

    async def wait_for_splits(self, name: str, *splits: tuple[int, int], phase: str = "") -> None:
        """Wait until exactly these pods of the ReplicaSets exist, all Ready."""

        async def is_reached() -> bool:
            if phase and await self.phase(name) != phase:
                return False
            pods = await self._cluster.pods(name)
            count = sum(map(sum, splits))
            return len(pods) == count and await self.splits(name) == list(splits)

        async def found() -> str:
            return f"{await self.splits(name)}, {await self.phase(name)}"

        await self._cluster.wait_until(is_reached, f"{name} is {splits} {phase}", instead=found)

    async def _create_service(self, service_name: str, rollout: str) -> None:
        spec = {"selector": {"app": rollout}, "ports": [{"port": 80}]}
        body = {"metadata": {"name": service_name}, "spec": spec}
        path = f"/api/v1/namespaces/{self._cluster.namespace}/services"
        response = await self._cluster.api.raw("POST", path, body)
        assert response.status == 201, response.body

    async def _patch(
        self,
        name: str,
        body: Any,
        content_type: str = PatchType.MERGE.value,
        *,
        subresource: str = "",
    ) -> None:
        path = f"{self._path(name)}/{subresource}" if subresource else self._path(name)
        response = await self._cluster.api.raw("PATCH", path, body, content_type=content_type)
        assert response.status == 200, response.body

    def _path(self, name: str) -> str:
        return f"{API}/namespaces/{self._cluster.namespace}/rollouts/{name}"


@asynccontextmanager
async def rollouts_beside(
    cluster: TestCluster, *, readable: bool = True
) -> AsyncIterator[Rollouts]:
    """Run the controller during the block, ready when it begins.

    Args:
        readable: the operator may read Rollouts.
    """
    assert isinstance(cluster, RealTestCluster)
    if readable:
        await asyncio.to_thread(cluster.plane.kubectl, "apply", "-f", str(PERMISSIONS))
    async with running_beside(
        cluster.plane,
        ROLLOUTS,
        user=USER,
        ready_path="/healthz",
        arguments=(
            f"--kubeconfig={cluster.plane.kubeconfig(USER)}",
            "--leader-elect=false",
            "--healthzPort={health}",
            "--metricsport={metrics}",
        ),
    ):
        yield Rollouts(cluster)
