"""A test cluster for single faults on the real control plane, with operators behind fault proxies.

Tests share a control plane and do not affect each other: each has a namespace for its workloads,
one for its operators (Lease, ledgers, certificate), and a webhook configuration. The workload is
that of ``tests/integration/faults/simulated.py``: 5 replicas on on-demand, floor 2, two moves in
flight. Setting spot-percentage to 100 then takes 3 evictions, whatever the fault.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from scripts.manifests import K8S
from spotalis.kube.lines import LineSplitter
from spotalis.kube.resources import DEPLOYMENTS, NODES, PODS
from spotalis.model.decision import Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Pod
from spotalis.model.transport import Request
from tests.support.cluster import policy
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy import (
    FaultProxy,
    Order,
    always,
    answered,
    fault_proxy,
    undisturbed,
)
from tests.support.free_ports import claim_ports
from tests.support.real_cluster import (
    READY_SECONDS,
    WEBHOOK,
    RealOperatorInstance,
    RealOperatorReplicas,
    RealTestCluster,
)
from tests.support.spreader import spreading

QUICK_LEASE = (
    *("--leader-election-lease-duration", "6s"),
    *("--leader-election-renew-deadline", "5s"),
    *("--leader-election-retry-period", "500ms"),
)
"""For tests that wait for a takeover."""
ON_DEMAND, SPOT = "0", "100"
"""spot-percentage with all replicas on on-demand, or all above the floor on spot."""
PERCENTS = {ON_DEMAND: (5, 0), SPOT: (2, 3)}

PERMISSIONS: list[dict[str, Any]] = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "webhooks-of-scenarios"},
        "rules": [
            {
                "apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["mutatingwebhookconfigurations"],
                "verbs": ["get", "watch", "patch"],
            }
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "webhooks-of-scenarios"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "webhooks-of-scenarios",
        },
        "subjects": [
            {"kind": "ServiceAccount", "name": "spotalis", "namespace": "spotalis-system"}
        ],
    },
]
"""The manifests allow access to one webhook configuration; here every test has its own."""


class ProxiedOperator(RealOperatorInstance):
    """An operator and the proxy between it and the API server."""

    proxy: FaultProxy

    async def reason(self, workload: str = "web") -> Reason | None:
        """The workload's reason in the metrics; None before its first reconcile."""
        for labels, value in (await self.samples("spotalis_workload_status")).items():
            found = re.search(r'reason="(\w+)"', labels)
            if value and found and f'workload="{workload}"' in labels:
                return Reason(found[1])
        return None


class FaultTestCluster(RealTestCluster):
    """The namespaces and operators of one test on the shared control plane."""

    def __init__(self, control_plane: ControlPlane, folder: Path, namespace: str) -> None:
        super().__init__(control_plane, folder, claim_ports())
        self.namespace = namespace
        self.home = f"{namespace}-home"
        self.processes: list[ProxiedOperator] = []
        self._stack = AsyncExitStack()
        self._backends: list[int] = []

    async def __aenter__(self) -> Self:
        await self.open()
        front = self._ports.ports[3]
        self.cut_webhook_connections = await self._stack.enter_async_context(
            spreading(front, self._backends)
        )
        """Breaks the connections from the API server to the webhooks."""
        await asyncio.to_thread(self.plane.apply, self._own_objects(front))
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            for process in self.processes:
                await process.terminate()
            await self._stack.aclose()
            path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
            await self.api.raw("DELETE", f"{path}/{self.home}")
            await self.api.raw("DELETE", f"/api/v1/namespaces/{self.namespace}")
        finally:
            await self.close()
            self._ports.release()

    def _own_objects(self, front: int) -> list[dict[str, Any]]:
        own: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in (self.namespace, self.home)
        ]
        for found in yaml.safe_load_all((K8S / "rbac.yaml").read_text()):
            if "namespace" in found["metadata"]:
                found["metadata"]["namespace"] = self.home
                own.append(found)
        webhook = yaml.safe_load(WEBHOOK.read_text())
        webhook["metadata"]["name"] = self.home
        for entry in webhook["webhooks"]:
            entry["clientConfig"] = {"url": f"https://127.0.0.1:{front}/mutate"}
            here = {"key": "kubernetes.io/metadata.name", "operator": "In"}
            here["values"] = [self.namespace]  # type: ignore[assignment]
            entry["namespaceSelector"]["matchExpressions"].append(here)
        return [*own, webhook]

    async def start(self, *flags: str, order: Order = undisturbed) -> ProxiedOperator:
        """Start another operator behind its own proxy; wait until the API server calls it."""
        proxy = await self._stack.enter_async_context(
            fault_proxy(self.plane.server, self.plane.ca_file)
        )
        proxy.order = order
        claim = claim_ports()
        self._stack.callback(claim.release)
        name = f"{self.namespace}-operator-{len(self.processes)}"
        kubeconfig = proxy.write_kubeconfig(
            self.plane.kubeconfig("spotalis"), self._folder / f"{name}.kubeconfig"
        )
        process = ProxiedOperator(
            kubeconfig,
            claim.ports,
            self._folder / f"{name}.log",
            (
                *("--namespace", self.home, "--webhook-configuration-name", self.home),
                "--namespace-selector",
                f"{{matchLabels: {{kubernetes.io/metadata.name: {self.namespace}}}}}",
                *flags,
            ),
        )
        process.proxy = proxy
        self.processes.append(process)
        await self.wait_until(process.is_ready, f"ready (log: {process.log})", within=READY_SECONDS)
        self.add_webhook(claim.ports[0])
        operators = RealOperatorReplicas(self.api, self.plane, self.user)
        # The API server keeps connections, so any of the instances may receive the request.
        operators.instances += self.processes
        await self.wait_until(lambda: self._heeded(operators), "the webhook is called", within=20)
        return process

    async def start_standby(self) -> ProxiedOperator:
        """Start an instance that serves the webhook and cannot write the Lease."""
        return await self.start(order=always(is_lease_write, answered(403, "forbidden")))

    def add_webhook(self, port: int) -> None:
        """Distribute admission requests to this port, too."""
        self._backends.append(port)

    async def start_successor(self, *flags: str) -> ProxiedOperator:
        """Start an operator after a crash. The Lease is deleted, so it leads at once."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases/spotalis"
        await self.api.raw("DELETE", path)
        return await self.start(*flags)

    async def set_up(self, replicas: int = 5, floor: int = 2, moves: int = 2) -> None:
        """Create the workload with all replicas on on-demand."""
        annotations = policy(0, floor, max_moves_in_flight=str(moves))
        await self.create_deployment("web", replicas, annotations)
        await self.wait_for_split("web", replicas, 0)

    async def swap_slots_with_last(self, pod: str) -> None:
        """Swap the slots of this pod and of the pod that would be moved last."""
        slots = {found.name: found.slot for found in await self.pods("web")}
        [last] = [name for name, slot in slots.items() if slot == 0]
        for name, slot in ((pod, 0), (last, slots[pod])):
            body = {"metadata": {"annotations": {f"{PREFIX}slot": str(slot)}}}
            await self._merge(PODS.path(self.namespace, name), body)

    async def touch(self, kind: str) -> None:
        """Change an annotation of an object, so that its watch has an event."""
        [pod, *_] = await self.pods("web")
        path = {
            "pods": PODS.path(self.namespace, pod.name),
            "nodes": NODES.path("", pod.node),
            "deployments": DEPLOYMENTS.path(self.namespace, "web"),
        }[kind]
        await self._merge(path, {"metadata": {"annotations": {"touched": self.namespace}}})

    async def _merge(self, path: str, body: dict[str, Any]) -> None:
        merge = "application/merge-patch+json"
        answer = await self.api.raw("PATCH", path, body, content_type=merge)
        assert answer.status == 200, answer.body

    async def set_spot_percentage(self, percent: str) -> None:
        """Change the policy of the workload."""
        await self.annotate("Deployment", "web", {"spot-percentage": percent})

    async def wait_for_moves(self, percent: str, evictions: int, *, within: float = 90) -> None:
        """Wait for the split of the 5 replicas, and assert the total number of evictions."""
        await self.wait_for_split("web", *PERCENTS[percent], within=within)
        assert len(self.evictions()) == evictions, self.evictions()

    async def assert_quiet(self, seconds: float = 3.0) -> None:
        """Assert that the workload does not change."""
        await self.assert_unchanged("web", seconds=seconds)

    async def wait_for_reason(
        self, process: ProxiedOperator, reason: Reason, *, within: float = 60
    ) -> None:
        """Wait until the metrics of an operator show this reason."""

        async def is_reached() -> bool:
            return await process.reason() is reason

        async def actual() -> str:
            return str(await process.reason())

        await self.wait_until(is_reached, f"the reason is {reason}", within=within, instead=actual)

    async def wait_for_policy(self, process: ProxiedOperator, *, spot: int) -> None:
        """Wait until the metrics of an operator show this number of desired spot replicas."""

        async def is_reached() -> bool:
            samples = await process.samples("spotalis_workload_replicas")
            return any(
                value == spot and 'capacity_type="spot"' in labels and 'state="desired"' in labels
                for labels, value in samples.items()
            )

        await self.wait_until(is_reached, f"{spot} replicas are desired on spot")

    async def wait_for_leader(self, process: ProxiedOperator, *, within: float = 30) -> None:
        """Wait until an operator holds the Lease."""

        async def is_reached() -> bool:
            path = f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases/spotalis"
            answer = await self.api.raw("GET", path)
            return f'"holderIdentity":"{process.identity}"'.encode() in answer.body

        await self.wait_until(is_reached, f"{process.identity} leads", within=within)

    def count_evictions_by(self, process: ProxiedOperator) -> int:
        """Number of evictions by this operator, by the User-Agent in the audit log."""
        return sum(
            event.namespace == self.namespace and process.identity in event.user_agent
            for event in self.plane.evictions(self.user)
        )


class ReadyMinimum:
    """Tracks the minimum number of ready on-demand replicas with a watch."""

    def __init__(self, cluster: FaultTestCluster) -> None:
        self._cluster = cluster
        self._serving: set[str] = set()
        self.minimum = 0

    async def __aenter__(self) -> Self:
        types = await self._cluster.node_types()
        self._nodes = {name for name, kind in types.items() if kind is NodeType.ON_DEMAND}
        path = PODS.path(self._cluster.namespace)
        self._watching = asyncio.create_task(self._watch(path))
        self._serving = _serving(await self._cluster.pods("web"), self._nodes)
        self.minimum = len(self._serving)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert not self._watching.done(), "the watch has ended"
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self, path: str) -> None:
        lines = LineSplitter(limit=8 * 1024 * 1024)
        stream = self._cluster.api.stream(path, [("watch", "true")], silence_seconds=600)
        async for chunk in stream:
            for line in lines.feed(chunk):
                kind, body = _event(line)
                pod = PODS.decode(body)
                if kind != "DELETED" and _serving([pod], self._nodes):
                    self._serving.add(pod.uid)
                else:
                    self._serving.discard(pod.uid)
                self.minimum = min(self.minimum, len(self._serving))


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


def _serving(pods: Collection[Pod], nodes: set[str]) -> set[str]:
    return {p.uid for p in pods if p.ready and p.deleting_at is None and p.node in nodes}


def _event(line: bytes) -> tuple[str, bytes]:
    event = msgspec.json.decode(line, type=_Event)
    return event.type, bytes(event.object)


# Kinds of requests.


def is_authorizing_list(request: Request) -> bool:
    """Whether the request is the quorum list between the ledger write and the eviction."""
    parameters = dict(request.query)
    return (
        request.method == "GET"
        and request.path.endswith("/pods")
        and "/namespaces/" in request.path
        and "watch" not in parameters
        and "resourceVersion" not in parameters
    )


def is_lease_write(request: Request) -> bool:
    """Whether the request acquires or renews the Lease."""
    return request.method in ("POST", "PUT") and "/leases" in request.path


def is_bundle_write(request: Request) -> bool:
    """Whether the request writes ``caBundle``."""
    return request.method == "PATCH" and "/mutatingwebhookconfigurations/" in request.path
