"""The cluster of a scenario: one interface to the embedded and the real control plane.

A scenario is a coroutine that takes a :class:`TestCluster`. It uses the API server only, through
the production client, with administrator rights. The operator under test runs in a process of its
own (real) or on the same virtual clock (embedded).
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias

from spotalis.kube.client import Client, PatchType
from spotalis.kube.resources import DEPLOYMENTS, PODS, STATEFULSETS, Resource
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod, Workload
from spotalis.model.transport import Transport
from tests.support.operator_replicas import OperatorReplicas

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
"""Timeout of a wait. The longest takes 25 s on an idle machine; CI machines are slower."""
CAPACITY_TYPE_LABEL = "karpenter.sh/capacity-type"
EKS_LABEL = "eks.amazonaws.com/capacityType"
"""On nodes of managed node groups: ``SPOT`` or ``ON_DEMAND``."""


class NeverHappened(AssertionError):
    """A condition that a scenario waited for did not become true in time."""


Policy: TypeAlias = Mapping[str, str]
"""Annotations by which the owner of a workload configures Spotalis."""

NO_POLICY: Policy = {}
"""The workload is not managed."""


def policy(
    spot_percentage: int | None = None, min_on_demand: int | None = None, /, **values: str
) -> Policy:
    """Annotations that enable Spotalis: ``policy(70, 2, spot_fallback="10s")``.

    Args:
        values: further annotations, keys without the prefix, with ``_`` or ``-``.
    """
    written = {key.replace("_", "-"): value for key, value in values.items()}
    if spot_percentage is not None:
        written["spot-percentage"] = str(spot_percentage)
    if min_on_demand is not None:
        written["min-on-demand"] = str(min_on_demand)
    written.setdefault("enabled", "true")
    return {PREFIX + key: value for key, value in written.items()}


Answer: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""A mutating webhook: takes an AdmissionReview and returns the AdmissionReview that answers it."""


class TestCluster(ABC):
    """A cluster with a namespace for the scenario, and with ways to run the operator."""

    __test__ = False
    """The name begins with "Test", but pytest must not collect it."""

    api: Client
    namespace: str
    reader: Transport
    """A connection that is not the operator's, to look at the cluster."""
    user: str
    """User name of the operator in the audit log."""
    slack: float = 1.0
    """Factor by which promised durations may be exceeded on this cluster."""
    webhook_unreachable: bool = False
    """If set before the operator starts, the API server cannot reach its webhook."""
    webhook_timeout_seconds: int | None = None
    """If set before the operator starts, the API server waits for the webhook for this time instead
    of that in the manifest. Tests that count every eviction set 30: the machine may be busy, and a
    pod that is admitted without the webhook is moved later.
    """

    # -- implemented by each cluster -----------------------------------------------------------

    @abstractmethod
    def operator(self, *flags: str) -> Any:
        """Run one instance during the block, ready when the block begins."""

    @abstractmethod
    def operators(self, count: int, *flags: str) -> AbstractAsyncContextManager[OperatorReplicas]:
        """Run several instances during the block, ready when it begins."""

    @abstractmethod
    def mutating_webhook(self, answer: Answer) -> AbstractAsyncContextManager[Mapping[str, Any]]:
        """Serve another mutating webhook during the block. Yields its ``clientConfig``."""

    @abstractmethod
    def evictions(self) -> list[str]:
        """Return the names of the pods that the operator evicted in this namespace, in order."""

    @abstractmethod
    def eviction_times(self) -> list[datetime]:
        """Return when the API server received these evictions, in order."""

    @abstractmethod
    def count_refused_evictions(self) -> int:
        """Return the number of the operator's evictions in this namespace that were rejected."""

    @abstractmethod
    async def get_status_reason(self, name: str) -> str:
        """Return the workload's reason in the metric ``spotalis_workload_status``, or ""."""

    @abstractmethod
    async def count_reconciles(self) -> int:
        """Return how many reconciles of the running instances have completed."""

    @abstractmethod
    async def restore_webhook(self) -> None:
        """Let the API server reach the webhook of the running operator again."""

    @abstractmethod
    def writes(self) -> list[tuple[str, str]]:
        """Return (verb, plural/subresource) of each write of the operator, except to its Lease."""

    @abstractmethod
    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """Add nodes, wait until they are Ready, and return their names."""

    @abstractmethod
    def provisioner(self) -> AbstractAsyncContextManager[None]:
        """Add Karpenter nodes with 32 CPUs for Pending pods during the block."""

    @abstractmethod
    async def serve_api(
        self, group: str, *, plural: str = "things", objects: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Serve an API group with one custom resource, and create these objects."""

    @abstractmethod
    async def remove_api(self, group: str, *, plural: str = "things") -> None:
        """Delete the custom resource, with which the API group ends."""

    @abstractmethod
    async def reclaim(self, *nodes: str) -> None:
        """Remove nodes as a cloud provider does: the Node objects first, then their pods."""

    @abstractmethod
    async def kill_operator(self) -> None:
        """Kill the running operator, as a crash does."""

    @abstractmethod
    async def now(self) -> datetime:
        """Return the time of the cluster's clock."""

    # -- what a scenario does and waits for ----------------------------------------------------

    async def create_deployment(
        self,
        name: str,
        replicas: int,
        policy: Policy = NO_POLICY,
        *,
        spec: Mapping[str, Any] | None = None,
        node_selector: Mapping[str, str] | None = None,
        namespace: str = "",
    ) -> None:
        """Create a Deployment."""
        body = workload_body("Deployment", name, replicas, policy, node_selector)
        body["spec"] |= dict(spec or {})
        await self.api.create(DEPLOYMENTS, namespace or self.namespace, body)

    async def create_stateful_set(
        self,
        name: str,
        replicas: int,
        policy: Policy = NO_POLICY,
        *,
        spec: Mapping[str, Any] | None = None,
        node_selector: Mapping[str, str] | None = None,
    ) -> None:
        """Create a StatefulSet; its pods start in parallel unless ``spec`` says otherwise."""
        body = workload_body("StatefulSet", name, replicas, policy, node_selector)
        body["spec"] |= {"serviceName": name, "podManagementPolicy": "Parallel"}
        body["spec"] |= dict(spec or {})
        await self.api.create(STATEFULSETS, self.namespace, body)

    async def create_budget(self, name: str, workload: str, **rule: int | str) -> None:
        """Create a PodDisruptionBudget: ``create_budget("b", "web", minAvailable=3)``."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": app_label(workload)}}, **rule},
        }
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        await self._post(path, body)

    async def wait_until_budget_allows(self, budget: str) -> None:
        """Wait until a PodDisruptionBudget allows a disruption."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets/{budget}"

        async def allowed() -> bool:
            found = json.loads((await self.api.raw("GET", path)).body)
            return bool(found.get("status", {}).get("disruptionsAllowed"))

        await self.wait_until(allowed, f"{budget} allows a disruption")

    async def delete_budget(self, name: str) -> None:
        """Delete a PodDisruptionBudget."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets/{name}"
        await self.api.raw("DELETE", path)

    async def annotate(self, kind: str, name: str, values: Mapping[str, str | None]) -> None:
        """Set annotations of a workload, keys without the prefix. None removes an annotation."""
        annotations = {PREFIX + key: value for key, value in values.items()}
        await self.patch_workload(kind, name, {"metadata": {"annotations": annotations}})

    async def scale(self, kind: str, name: str, replicas: int) -> None:
        """Set ``spec.replicas``."""
        await self.patch_workload(kind, name, {"spec": {"replicas": replicas}})

    async def get_workload(self, kind: str, name: str) -> Workload:
        """Return the current state of a workload."""
        found = await self.api.get(_RESOURCE[kind], self.namespace, name)
        assert found is not None
        return found

    async def get_object(self, kind: str, name: str) -> dict[str, Any]:
        """Return a workload as a JSON object."""
        path = _RESOURCE[kind].path(self.namespace, name)
        response = await self.api.raw("GET", path)
        document: dict[str, Any] = json.loads(response.body)
        return document

    async def pods(self, name: str, namespace: str = "") -> list[Pod]:
        """Return the pods of a workload, including terminating pods."""
        selector = f"app={app_label(name)}"
        return await self.api.list_all(
            PODS, namespace or self.namespace, quorum=True, label_selector=selector
        )

    async def node_types(self) -> dict[str, NodeType]:
        """Return the capacity type of each node, by its label."""
        response = await self.api.raw("GET", "/api/v1/nodes")
        types = {}
        for item in json.loads(response.body)["items"]:
            labels = item["metadata"]["labels"]
            label = labels.get(CAPACITY_TYPE_LABEL) or labels.get(EKS_LABEL, "").lower()
            label = label.replace("_", "-")
            types[item["metadata"]["name"]] = NodeType(label) if label else NodeType.UNKNOWN
        return types

    async def split(self, name: str) -> tuple[int, int]:
        """Return the number of Ready, not terminating pods on (on-demand, spot) nodes."""
        types = await self.node_types()
        serving = [p for p in await self.pods(name) if p.ready and p.deleting_at is None]
        found = [types.get(pod.node, NodeType.UNKNOWN) for pod in serving]
        return found.count(NodeType.ON_DEMAND), found.count(NodeType.SPOT)

    async def wait_for_split(
        self, name: str, on_demand: int, spot: int, *, within: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until exactly these pods run on each capacity type, all Ready, none terminating."""

        async def is_reached() -> bool:
            pods = await self.pods(name)
            return len(pods) == on_demand + spot and await self.split(name) == (on_demand, spot)

        async def found() -> str:
            return f"split {await self.split(name)} of {len(await self.pods(name))} pods"

        await self.wait_until(
            is_reached, f"{name} is {on_demand} + {spot}", within=within, instead=found
        )

    async def wait_for_status(self, name: str, reason: str) -> None:
        """Wait until the operator reports this reason for a workload."""

        async def is_reached() -> bool:
            return await self.get_status_reason(name) == reason

        await self.wait_until(
            is_reached, f"{name} is {reason}", instead=lambda: self.get_status_reason(name)
        )

    async def assert_unchanged(self, name: str, *, seconds: float = 8.0) -> None:
        """Assert that the workload keeps its pods, and that no pod is evicted, for some seconds."""
        before = {pod.uid for pod in await self.pods(name)}
        evicted = self.evictions()
        await asyncio.sleep(seconds)
        assert {pod.uid for pod in await self.pods(name)} == before
        assert self.evictions() == evicted

    @asynccontextmanager
    async def track_minimum_ready(
        self, name: str, node_type: NodeType | None = None
    ) -> AsyncIterator[Callable[[], int]]:
        """Watch the number of ready replicas (on nodes of this capacity type) during the block.

        ``async with cluster.track_minimum_ready("web") as minimum:`` and then ``minimum()`` returns
        the smallest number seen.
        """
        found: list[int] = []

        async def look() -> None:
            on_demand, spot = await self.split(name)
            counts = {None: on_demand + spot, NodeType.ON_DEMAND: on_demand, NodeType.SPOT: spot}
            found.append(counts[node_type])

        async def watch() -> None:
            while True:
                await look()
                await asyncio.sleep(POLL_SECONDS / 2)

        watching = asyncio.create_task(watch())
        try:
            yield lambda: min(found)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def wait_until(
        self,
        condition: Callable[[], Awaitable[bool]],
        what: str,
        *,
        within: float = PATIENCE_SECONDS,
        instead: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Wait until a condition is true.

        Raises:
            NeverHappened: not within ``within`` seconds; names ``what`` and the state ``instead``.
        """
        try:
            async with asyncio.timeout(within):
                while not await condition():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            found = f"; found {await instead()}" if instead else ""
            raise NeverHappened(f"not within {within} s: {what}{found}") from None

    async def patch_workload(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        await self.api.patch(
            _RESOURCE[kind], self.namespace, name, body, patch_type=PatchType.MERGE
        )

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        response = await self.api.raw("POST", path, body)
        assert response.status == 201, response.body


_RESOURCE: dict[str, Resource[Workload]] = {
    "Deployment": DEPLOYMENTS,
    "StatefulSet": STATEFULSETS,
}


def app_label(name: str) -> str:
    """The value of the label ``app`` of a workload's pods; labels are shorter than names."""
    return name[:63]


def workload_body(
    kind: str,
    name: str,
    replicas: int,
    policy: Policy = NO_POLICY,
    node_selector: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a Deployment or StatefulSet."""
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": "registry.example/main:1",
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }
        ],
    }
    if node_selector:
        spec["nodeSelector"] = dict(node_selector)
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": dict(policy)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app_label(name)}},
            "template": {"metadata": {"labels": {"app": app_label(name)}}, "spec": spec},
        },
    }
