"""Scenarios on the real control plane: the operator runs in its own process."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # jitter of the administrator's client
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from scripts.manifests import PERMISSION_FILES
from spotalis.app.clock import SystemClock
from spotalis.kube.client import Client
from spotalis.kube.config.access import load
from spotalis.kube.http import HttpTransport
from tests.support.cluster import Answer, TestCluster
from tests.support.control_plane import (
    ControlPlane,
    ControlPlaneConfig,
    binaries_or_skip,
)
from tests.support.free_ports import PortClaim, claim_ports
from tests.support.https_posts import answering
from tests.support.operator_replicas import (
    FAILED_OPEN,
    LEASE_PATH,
    AcceptedEviction,
    OperatorInstance,
    OperatorReplicas,
)
from tests.support.process_groups import clean_environment
from tests.support.provisioning import custom_resource, provisioning
from tests.support.scenarios import Scenario, ScenarioRunner
from tests.support.spreader import spreading

ROOT = Path(__file__).parents[2]
WEBHOOK = ROOT / "build" / "k8s" / "webhook.yaml"
READY_SECONDS = 60.0
"""Timeout for the start of a process, which takes 2 s on an idle machine."""
ENDS_SECONDS = 60.0
"""Timeout for the graceful shutdown of a process, which takes up to 15 s."""
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
UNUSED_PORT = 3
"""Index of a port on which nothing listens, unless several instances run."""
CONTROL_PLANE_CONFIG = ControlPlaneConfig(ready_after=1.0, gone_after=1.0, rbac=PERMISSION_FILES)
"""Pods become Ready 1 s after they are bound and terminate within 1 s."""


class RealTestCluster(TestCluster):
    """A :class:`TestCluster` on a :class:`ControlPlane`."""

    namespace = "default"
    user = "spotalis"
    slack = 4.0

    def __init__(self, control_plane: ControlPlane, folder: Path, ports: PortClaim) -> None:
        self.plane = control_plane
        """The control plane. Tests may stop and restart its processes."""
        self.expects_denials = False
        """Set by scenarios that limit permissions, or restart the API server: it answers 403
        until it has loaded the roles.
        """
        self._folder = folder
        self._ports = ports
        self._operators: RealOperatorReplicas | None = None
        self._transport: HttpTransport | None = None
        self._webhook = 0

    async def open(self) -> None:
        """Connect as administrator."""
        clock = SystemClock()
        access = load({}, kubeconfig=str(self.plane.kubeconfig("admin")))
        self.reader = self._transport = HttpTransport(access, clock=clock)
        self.api = Client(self._transport, clock=clock, rng=random.Random(0))

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.close()

    @property
    def addresses(self) -> tuple[str, str]:
        """Host and port of the webhook and of the metrics of :meth:`operator`."""
        webhook, metrics = self._ports.ports[:2]
        return f"127.0.0.1:{webhook}", f"127.0.0.1:{metrics}"

    @asynccontextmanager
    async def mutating_webhook(self, answer: Answer) -> AsyncIterator[Mapping[str, Any]]:
        """Serve a mutating webhook over HTTPS."""

        def said(path: str, body: bytes) -> tuple[int, bytes]:
            return 200, json.dumps(answer(json.loads(body))).encode()

        with answering(said) as (url, authority):
            yield {"url": url, "caBundle": authority}

    @asynccontextmanager
    async def operator(self, *flags: str) -> AsyncIterator[None]:
        """Run one instance during the block. The API server calls its webhook when the block
        begins.
        """
        async with self._running(self._ports.ports[0], [self._ports], flags):
            yield

    @asynccontextmanager
    async def operators(self, count: int, *flags: str) -> AsyncIterator[RealOperatorReplicas]:
        """Run several instances behind one address. The API server calls them when the block
        begins.
        """
        claims = [claim_ports() for _ in range(count)]
        front = self._ports.ports[3]
        try:
            async with (
                spreading(front, [claim.ports[0] for claim in claims]),
                self._running(front, claims, flags) as operators,
            ):
                yield operators
        finally:
            for claim in claims:
                claim.release()

    @asynccontextmanager
    async def _running(
        self, webhook: int, claims: Sequence[PortClaim], flags: tuple[str, ...]
    ) -> AsyncIterator[RealOperatorReplicas]:
        self._webhook = webhook
        self._register(self._ports.ports[UNUSED_PORT] if self.webhook_unreachable else webhook)
        kubeconfig = self.plane.kubeconfig("spotalis")
        self._operators = operators = RealOperatorReplicas(self.api, self.plane, self.user)
        try:
            for number, claim in enumerate(claims):
                log = self._folder / f"operator-{number}.log"
                operators.instances.append(
                    RealOperatorInstance(kubeconfig, claim.ports, log, flags)
                )
            for instance in operators.instances:
                await self.wait_until(
                    instance.is_ready,
                    f"the operator is ready (log: {instance.log})",
                    within=READY_SECONDS,
                )
            if not self.webhook_unreachable:
                await self._until_heeded()
            yield operators
        finally:
            for instance in operators.instances:
                await instance.terminate()
        for instance in operators.instances:
            assert instance.exit_code in (0, -signal.SIGKILL), f"exited with {instance.exit_code}"
        refused = self.refused()
        assert self.expects_denials or not refused, (
            f"not granted by the manifests in build/k8s: {refused}"
        )

    def _register(self, port: int) -> None:
        configuration = yaml.safe_load(WEBHOOK.read_text())
        for entry in configuration["webhooks"]:
            entry["clientConfig"] = {"url": f"https://127.0.0.1:{port}/mutate"}
            if self.webhook_timeout_seconds is not None:
                entry["timeoutSeconds"] = self.webhook_timeout_seconds
        self.plane.apply([configuration])

    async def restore_webhook(self) -> None:
        """Correct the address in the webhook configuration."""
        self.webhook_unreachable = False
        self._register(self._webhook)
        await self._until_heeded()

    async def _until_heeded(self) -> None:
        operators = self._operators
        assert operators is not None
        await self.wait_until(lambda: self._heeded(operators), "the API server calls the webhook")

    async def kill_operator(self) -> None:
        """Send SIGKILL."""
        assert self._operators is not None
        await self._operators.instances[0].kill()
        # The next operator would wait until the Lease expires. Scenarios with one instance do not
        # test that.
        await self.api.raw("DELETE", LEASE_PATH)

    def evictions(self) -> list[str]:
        """Read from the audit log."""
        return [e.name for e in self.plane.evictions(self.user) if e.namespace == self.namespace]

    def eviction_times(self) -> list[datetime]:
        """Read from the audit log."""
        events = self.plane.evictions(self.user)
        return [e.received for e in events if e.namespace == self.namespace]

    def count_refused_evictions(self) -> int:
        """Read from the audit log."""
        asked = self.plane.audit(user=self.user, verb="create", kind="pods/eviction")
        return sum(e.code >= 300 for e in asked if e.namespace == self.namespace)

    async def get_status_reason(self, name: str) -> str:
        """Read from /metrics of the running instances."""
        assert self._operators is not None
        for instance in self._operators.instances:
            for labels, value in (await instance.samples("spotalis_workload_status")).items():
                said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                if value and (said["namespace"], said["workload"]) == (self.namespace, name):
                    return str(said["reason"])
        return ""

    async def count_reconciles(self) -> int:
        """Read from /metrics of the running instances."""
        assert self._operators is not None
        found = [
            await i.samples("spotalis_reconciliations_total") for i in self._operators.instances
        ]
        return int(sum(sum(samples.values()) for samples in found))

    def writes(self) -> list[tuple[str, str]]:
        """Read from the audit log."""
        events = self.plane.audit(user=self.user)
        reads = {"get", "list", "watch"}
        return [(e.verb, e.kind) for e in events if e.verb not in reads and e.kind != "leases"]

    def refused(self) -> Counter[tuple[str, str]]:
        """Count the operator's requests that were rejected with 401 or 403, from the audit log."""
        asked = self.plane.audit(user=self.user, stage=None)
        return Counter((e.verb, e.kind) for e in asked if e.code in (401, 403))

    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """Add nodes that kwok simulates."""
        return await asyncio.to_thread(self.plane.add_nodes, spot=spot, on_demand=on_demand)

    def provisioner(self) -> AbstractAsyncContextManager[None]:
        """Add nodes from this process: the control plane has no provisioner."""
        return provisioning(self)

    async def serve_api(
        self, group: str, *, plural: str = "things", objects: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Create a CustomResourceDefinition and the objects."""
        definition = custom_resource(group, plural)
        await self._post(DEFINITIONS, definition)
        await self._wait_for_status(f"/apis/{group}", 200)
        await self._wait_for_status(f"/apis/{group}/v1/{plural}", 200)
        kind = definition["spec"]["names"]["kind"]
        for one in objects:
            body = {"apiVersion": f"{group}/v1", "kind": kind, **one}
            await self._post(f"/apis/{group}/v1/{plural}", body)

    async def remove_api(self, group: str, *, plural: str = "things") -> None:
        """Delete the CustomResourceDefinition."""
        await self.api.raw("DELETE", f"{DEFINITIONS}/{plural}.{group}")
        await self._wait_for_status(f"/apis/{group}", 404)

    async def _wait_for_status(self, path: str, status: int) -> None:
        async def is_reached() -> bool:
            return (await self.api.raw("GET", path)).status == status

        await self.wait_until(is_reached, f"HTTP {status} for {path}")

    async def now(self) -> datetime:
        """Return the time of this machine."""
        return SystemClock().now()

    async def reclaim(self, *nodes: str) -> None:
        """Delete the Node objects first, so that no pod is bound to a node that is removed next."""
        await asyncio.to_thread(self.plane.remove_nodes, *nodes)

    async def _heeded(self, operators: RealOperatorReplicas) -> bool:
        """Create a pod by a dry run. True if one of the instances has answered an admission
        request.
        """
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "probe",
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": "missing",
                        "uid": "missing",
                        "controller": True,
                    }
                ],
            },
            "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        await self.api.raw("POST", path, pod, query=(("dryRun", "All"),))
        return any([await instance.asked() for instance in operators.instances])


class RealOperatorInstance(OperatorInstance):
    """A process that runs ``python -m spotalis controller``."""

    def __init__(
        self,
        kubeconfig: Path,
        ports: Sequence[int],
        log: Path,
        flags: Sequence[str],
        source: Path | None = None,
    ) -> None:
        """Start it. ``source`` is the folder of other code: of another version."""
        self._started_with = (kubeconfig, ports, log, flags, source)
        webhook, self._metrics, self._health = ports[:3]
        self.log = log
        command = [sys.executable, "-m", "spotalis", "controller"]
        command += ["--kubeconfig", str(kubeconfig)]
        command += ["--host", "127.0.0.1", "--webhook-port", str(webhook)]
        command += ["--metrics-port", str(self._metrics), "--health-port", str(self._health)]
        command += flags
        self._begins_at = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            variables = (
                None if source is None else {**clean_environment(), "PYTHONPATH": str(source)}
            )
            self._process = subprocess.Popen(command, stdout=file, stderr=file, env=variables)
        self.identity = ""

    @property
    def exit_code(self) -> int | None:
        """None while the process runs; the negative signal number if a signal ended it."""
        return self._process.poll()

    async def is_ready(self) -> bool:
        """True if /readyz answers 200. Then :attr:`identity` is known."""
        code = self._process.poll()
        assert code is None, f"the operator ended with {code} (log: {self.log})"
        if not await asyncio.to_thread(_read, f"http://127.0.0.1:{self._health}/readyz"):
            return False
        lines = self.log.read_bytes()[self._begins_at :].splitlines()
        said = [json.loads(line) for line in lines if line.startswith(b"{")]
        self.identity = next(line["identity"] for line in said if "identity" in line)
        return True

    async def samples(self, family: str) -> dict[str, float]:
        """Return the samples of a metric by the text of their labels."""
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self._metrics}/metrics")
        found = {}
        for line in text.splitlines():
            if line.startswith(family + "{"):
                labels, _, value = line.removeprefix(family + "{").rpartition("} ")
                found[labels] = float(value)
            elif line.startswith(family + " "):
                found[""] = float(line.rpartition(" ")[2])
        return found

    async def asked(self) -> bool:
        """True if the instance has answered an admission request."""
        return sum((await self.samples("spotalis_webhook_requests_total")).values()) > 0

    def successor(self) -> RealOperatorInstance:
        """Start a process with the same arguments, after this one has ended."""
        return RealOperatorInstance(*self._started_with)

    async def terminate(self) -> None:
        """Send SIGTERM if the process runs, and wait until it ends."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait, ENDS_SECONDS)

    async def kill(self) -> None:
        """Send SIGKILL and wait until the process ends."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait, ENDS_SECONDS)

    def freeze(self) -> None:
        """Send SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self._process.send_signal(signal.SIGCONT)


class RealOperatorReplicas(OperatorReplicas):
    """Processes behind one address."""

    def __init__(self, api: Client, control_plane: ControlPlane, user: str) -> None:
        self.api = api
        self.plane = control_plane
        self._user = user
        self.instances: list[RealOperatorInstance] = []

    def evictions(self) -> list[AcceptedEviction]:
        """Read from the audit log. The User-Agent names the instance."""
        return [
            AcceptedEviction(e.received, e.timestamp, e.user_agent.partition("(")[2].rstrip(")"))
            for e in self.plane.evictions(self._user)
        ]

    async def forward_results(self) -> Counter[str]:
        """Sum the counts in /metrics of the running instances."""
        results: Counter[str] = Counter()
        for instance in self.instances:
            samples = await instance.samples("spotalis_webhook_forwarded_total")
            for labels, count in samples.items():
                results[labels.removeprefix('result="').rstrip('"')] += int(count)
        return results

    def unanswered_pods(self) -> list[str]:
        """Read from the annotations of the audit log."""
        return [
            event.name or event.namespace
            for event in self.plane.audit(verb="create", kind="pods")
            if any(key.startswith(FAILED_OPEN) for key in event.annotations)
        ]


def _read(url: str) -> str:
    """Return the body of a 200 response, else ""."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError, json.JSONDecodeError):
        return ""


def scenario_runner(folder: Path) -> ScenarioRunner:
    """Return a function that runs a scenario on a real control plane of its own.

    The control plane keeps its files in ``folder`` and stops when the scenario ends. Skips the test
    if the binaries of the control plane are missing and cannot be built.
    """
    binaries = binaries_or_skip()

    def run(scenario: Scenario) -> None:
        async def on_cluster(control_plane: ControlPlane) -> None:
            cluster = RealTestCluster(control_plane, folder, ports)
            await cluster.open()
            try:
                await scenario(cluster)
            finally:
                await cluster.close()

        ports = claim_ports()
        try:
            with ControlPlane.boot(
                folder / "control-plane", CONTROL_PLANE_CONFIG, binaries=binaries
            ) as control_plane:
                asyncio.run(on_cluster(control_plane))
        finally:
            ports.release()

    return run
