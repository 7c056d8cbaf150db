"""One bed for scenarios: the same words on the embedded and on the real control plane.

A scenario is a coroutine that takes a :class:`Bed`. It talks to the cluster only through the API
server, with the production client as an administrator; the operator under test runs beside it, as
a process of its own (real) or on the same virtual clock (embedded).
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from spotalis.kube.client import Client, PatchType
from spotalis.kube.resources import DEPLOYMENTS, PODS, STATEFULSETS, Resource
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod, Workload
from tests.support.crew import Crew

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
"""For what takes up to 25 s on an idle machine; CI's is slow and shared."""
CLASS_LABEL = "karpenter.sh/capacity-type"


class NeverHappened(AssertionError):
    """What a scenario waited for did not come."""


@dataclass(frozen=True)
class Wishes:
    """What an owner writes on a workload."""

    percent: int | None = None
    floor: int | None = None
    other: Mapping[str, str] = field(default_factory=dict)
    """More annotations, keys without the prefix."""

    def annotations(self) -> dict[str, str]:
        """As annotations; nothing of it means not enabled."""
        values = dict(self.other)
        if self.percent is not None:
            values["spot-percentage"] = str(self.percent)
        if self.floor is not None:
            values["min-on-demand"] = str(self.floor)
        if values:
            values["enabled"] = "true"
        return {PREFIX + key: value for key, value in values.items()}


NO_WISHES = Wishes()

Answer: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Of another webhook: from an AdmissionReview to the one that answers it."""


class Bed(ABC):
    """A cluster with nodes, a namespace of the scenario's own, and a way to run the operator."""

    api: Client
    namespace: str
    user: str
    """The operator's user in the audit log."""
    slack: float = 1.0
    """What is promised to take so long may take this many times as long here."""
    webhook_away: bool = False
    """Set before the operator starts: the API server cannot reach its webhook."""

    # -- what the two beds do differently ------------------------------------------------------

    @abstractmethod
    def operator(self, *flags: str) -> Any:
        """``async with bed.operator():`` runs one replica, ready when the block begins."""

    @abstractmethod
    def crew(self, count: int, *flags: str) -> AbstractAsyncContextManager[Crew]:
        """``async with bed.crew(3) as crew:`` runs so many replicas, all ready."""

    @abstractmethod
    def injector(self, answer: Answer) -> AbstractAsyncContextManager[Mapping[str, Any]]:
        """Somebody else's webhook, as long as the block runs: the ``clientConfig`` to reach it."""

    @abstractmethod
    def evictions(self) -> list[str]:
        """Names of the pods that the operator has evicted in this namespace, in order."""

    @abstractmethod
    def evicted_at(self) -> list[datetime]:
        """When the API server got these evictions, in order."""

    @abstractmethod
    def evictions_refused(self) -> int:
        """How many evictions the operator has asked for in this namespace in vain."""

    @abstractmethod
    async def status_word(self, name: str) -> str:
        """What the metric ``spotalis_workload_status`` says of a workload; empty: nothing."""

    @abstractmethod
    async def webhook_back(self) -> None:
        """From now on the API server reaches the webhook of the operator that runs."""

    @abstractmethod
    def writes(self) -> list[tuple[str, str]]:
        """(verb, plural/subresource) of everything the operator wrote, but for its Lease."""

    @abstractmethod
    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """New nodes, Ready when this returns; their names."""

    @abstractmethod
    async def reclaim(self, *nodes: str) -> None:
        """The provider takes nodes: the objects vanish at once, then their pods."""

    @abstractmethod
    async def kill_operator(self) -> None:
        """End the running operator as a crash would, in mid-breath."""

    @abstractmethod
    async def now(self) -> datetime:
        """What the cluster's clock shows."""

    # -- the cluster, in words -----------------------------------------------------------------

    async def deployment(
        self,
        name: str,
        replicas: int,
        wishes: Wishes = NO_WISHES,
        *,
        spec: Mapping[str, Any] | None = None,
        node_selector: Mapping[str, str] | None = None,
        namespace: str = "",
    ) -> None:
        """Create a Deployment."""
        body = workload_body("Deployment", name, replicas, wishes, node_selector)
        body["spec"] |= dict(spec or {})
        await self.api.create(DEPLOYMENTS, namespace or self.namespace, body)

    async def stateful_set(
        self,
        name: str,
        replicas: int,
        wishes: Wishes = NO_WISHES,
        *,
        spec: Mapping[str, Any] | None = None,
        node_selector: Mapping[str, str] | None = None,
    ) -> None:
        """Create a StatefulSet; its pods start in parallel unless ``spec`` says otherwise."""
        body = workload_body("StatefulSet", name, replicas, wishes, node_selector)
        body["spec"] |= {"serviceName": name, "podManagementPolicy": "Parallel"}
        body["spec"] |= dict(spec or {})
        await self.api.create(STATEFULSETS, self.namespace, body)

    async def budget(self, name: str, workload: str, **rule: int | str) -> None:
        """Create a PodDisruptionBudget: ``budget("b", "web", minAvailable=3)``."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": workload}}, **rule},
        }
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        await self._post(path, body)

    async def allows(self, budget: str) -> None:
        """Wait until a PodDisruptionBudget lets somebody go: its controller may be busy."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets/{budget}"

        async def allowed() -> bool:
            found = json.loads((await self.api.raw("GET", path)).body)
            return bool(found.get("status", {}).get("disruptionsAllowed"))

        await self.until(allowed, f"{budget} lets somebody go")

    async def delete_budget(self, name: str) -> None:
        """Delete a PodDisruptionBudget."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets/{name}"
        await self.api.raw("DELETE", path)

    async def annotate(self, kind: str, name: str, values: Mapping[str, str | None]) -> None:
        """Set annotations of a workload (keys without prefix); None removes."""
        annotations = {PREFIX + key: value for key, value in values.items()}
        await self._patch(kind, name, {"metadata": {"annotations": annotations}})

    async def scale(self, kind: str, name: str, replicas: int) -> None:
        """Set the wanted number of replicas."""
        await self._patch(kind, name, {"spec": {"replicas": replicas}})

    async def workload(self, kind: str, name: str) -> Workload:
        """The workload as it is now."""
        found = await self.api.get(_RESOURCE[kind], self.namespace, name)
        assert found is not None
        return found

    async def raw_object(self, kind: str, name: str) -> dict[str, Any]:
        """The workload's whole JSON."""
        path = _RESOURCE[kind].path(self.namespace, name)
        response = await self.api.raw("GET", path)
        document: dict[str, Any] = json.loads(response.body)
        return document

    async def pods(self, name: str, namespace: str = "") -> list[Pod]:
        """The workload's pods, terminating ones included."""
        selector = f"app={name}"
        return await self.api.list_all(
            PODS, namespace or self.namespace, quorum=True, label_selector=selector
        )

    async def node_types(self) -> dict[str, NodeType]:
        """The class of each node, by its label."""
        response = await self.api.raw("GET", "/api/v1/nodes")
        types = {}
        for item in json.loads(response.body)["items"]:
            label = item["metadata"]["labels"].get(CLASS_LABEL)
            types[item["metadata"]["name"]] = NodeType(label) if label else NodeType.UNKNOWN
        return types

    async def split(self, name: str) -> tuple[int, int]:
        """(on-demand, spot): where the Ready pods of a workload that nobody deletes really run."""
        types = await self.node_types()
        serving = [p for p in await self.pods(name) if p.ready and p.deleting_at is None]
        found = [types.get(pod.node, NodeType.UNKNOWN) for pod in serving]
        return found.count(NodeType.ON_DEMAND), found.count(NodeType.SPOT)

    async def settled(
        self, name: str, on_demand: int, spot: int, *, within: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until the pods are split so, all Ready, and none is on its way out."""

        async def so() -> bool:
            pods = await self.pods(name)
            return len(pods) == on_demand + spot and await self.split(name) == (on_demand, spot)

        async def found() -> str:
            return f"split {await self.split(name)} of {len(await self.pods(name))} pods"

        await self.until(so, f"{name} is {on_demand} + {spot}", within=within, instead=found)

    async def says(self, name: str, word: str) -> None:
        """Wait until the operator's status word of a workload is this one."""

        async def so() -> bool:
            return await self.status_word(name) == word

        await self.until(so, f"{name} is {word}", instead=lambda: self.status_word(name))

    async def stands_still(self, name: str, *, seconds: float = 8.0) -> None:
        """Nothing about the workload's pods changes, and no eviction happens, for so long."""
        before = {pod.uid for pod in await self.pods(name)}
        evicted = self.evictions()
        await asyncio.sleep(seconds)
        assert {pod.uid for pod in await self.pods(name)} == before
        assert self.evictions() == evicted

    @asynccontextmanager
    async def fewest(
        self, name: str, node_type: NodeType | None = None
    ) -> AsyncIterator[Callable[[], int]]:
        """``async with bed.fewest("web") as fewest:`` and then ``fewest()`` says how few replicas
        served (on nodes of that class) at any look during the block."""
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

    async def until(
        self,
        condition: Callable[[], Awaitable[bool]],
        what: str,
        *,
        within: float = PATIENCE_SECONDS,
        instead: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Wait until a condition holds.

        Raises:
            NeverHappened: names ``what``, and what was found instead.
        """
        try:
            async with asyncio.timeout(within):
                while not await condition():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            found = f"; found {await instead()}" if instead else ""
            raise NeverHappened(f"not within {within} s: {what}{found}") from None

    async def _patch(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
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


def workload_body(
    kind: str,
    name: str,
    replicas: int,
    wishes: Wishes = NO_WISHES,
    node_selector: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A workload as its owner would write it."""
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
        "metadata": {"name": name, "annotations": wishes.annotations()},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }
