"""What Karpenter does, as far as scenarios on the real control plane need it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from spotalis.kube.resources import PODS
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, node_matches
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster


@asynccontextmanager
async def provisioning(cluster: TestCluster) -> AsyncIterator[None]:
    """Add one node for each Pending pod during the block, spot if the pod can run on both types."""
    running = asyncio.create_task(_provision(cluster))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _provision(cluster: TestCluster) -> None:
    served: set[str] = set()
    while True:
        for pod in await cluster.api.list_all(PODS, cluster.namespace):
            if pod.unschedulable and pod.uid not in served:
                served.add(pod.uid)
                node_type = _type_for(pod)
                if node_type is not None:
                    count = {"spot": 1} if node_type is NodeType.SPOT else {"on_demand": 1}
                    await cluster.add_nodes(**count)
        await asyncio.sleep(0.2)


def _type_for(pod: Pod) -> NodeType | None:
    for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
        labels = {CAPACITY_TYPE_LABEL: str(node_type), "kubernetes.io/os": "linux"}
        selected = all(labels.get(key) == value for key, value in pod.shape.node_selector)
        if selected and node_matches(labels, pod.shape.node_terms):
            return node_type
    return None


def custom_resource(group: str, plural: str) -> Mapping[str, Any]:
    """A CustomResourceDefinition for objects of any content."""
    kind = plural.removesuffix("s").capitalize()
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    any_content = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": any_content}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Cluster", "versions": [version]},
    }
