"""The operator in its own process, with an embedded cluster served on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random  # noqa: TID251  # seeded
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from spotalis.app.clock import SystemClock
from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.controllers.kubelet import KubeletTiming
from spotalis.embedded.http import ADMIN, HttpsWebhookCaller, serve
from spotalis.embedded.nodes import make_node
from spotalis.embedded.server.audit import AuditEntry
from spotalis.webhook.webhook_configuration import webhook_configuration
from tests.support.cluster import NO_POLICY, Policy, policy, workload_body
from tests.support.metrics_text import families_of_text

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 240.0
_QUICK = Timing(kubelet=KubeletTiming(start=timedelta(seconds=0.02), stop=timedelta(seconds=0.02)))
CHEAP = {"pool": "cheap"}
"""A node label that no built-in group of labels contains."""


class OperatorProcess:
    """A running operator process and its cluster."""

    def __init__(
        self,
        cluster: EmbeddedCluster,
        process: asyncio.subprocess.Process,
        ports: Sequence[int],
        log: Path,
        session: aiohttp.ClientSession,
    ) -> None:
        self.cluster = cluster
        self.process = process
        self.ports = ports
        """Ports of webhook, metrics and health that the settings file names."""
        self._log = log
        self._session = session
        self.memory: dict[str, Any] = {}
        """One HTTP session for all requests."""

    async def get(self, port: int, path: str, host: str = HOST) -> str | None:
        """Return the body of a response with any status; "" if there is none."""
        try:
            async with self._session.get(f"http://{host}:{port}{path}") as answer:
                return await answer.text()
        except aiohttp.ClientError:
            return None

    async def health(self, path: str) -> dict[str, Any]:
        """Return the response of /healthz or /readyz; "" if the process does not answer."""
        text = await self.get(self.ports[2], path)
        document: dict[str, Any] = json.loads(text) if text else {}
        return document

    async def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Return all samples: name, labels, value."""
        text = await self.get(self.ports[1], "/metrics")
        families = families_of_text(text or "")
        return [(s.name, dict(s.labels), s.value) for f in families for s in f.samples]

    async def reason(self, workload: str) -> str | None:
        """Return the reason in the workload's status metric; None before its first reconcile."""
        for name, labels, value in await self.metrics():
            if name == "spotalis_workload_status" and labels["workload"] == workload and value:
                return labels["reason"]
        return None

    async def replicas(self, workload: str, state: str) -> dict[str, int]:
        """Return the replicas of a workload in a state, by capacity type, without zeros."""
        return {
            labels["capacity_type"]: int(value)
            for name, labels, value in await self.metrics()
            if name == "spotalis_workload_replicas"
            and (labels["workload"], labels["state"]) == (workload, state)
            and value
        }

    def asked(self, verb: str, plural: str) -> list[AuditEntry]:
        """Return the operator's requests to the API server."""
        entries = self.cluster.audit.find(user=ADMIN, verb=verb)
        return [entry for entry in entries if entry.plural == plural]

    def evicted(self, workload: str) -> int:
        """Return the evictions of a workload's pods."""
        pods = self.cluster.evictions(ADMIN)
        return sum(name.startswith(f"{workload}-") for _, name in pods)

    async def deploy(
        self, namespace: str, name: str, replicas: int, policy: Policy, cpu: str
    ) -> None:
        """Create a Deployment whose pods request this CPU each."""
        await _deploy(self.cluster, namespace, name, replicas, policy, cpu=cpu)

    async def budget(self, namespace: str, name: str, min_available: int) -> None:
        """Create a PodDisruptionBudget for a workload."""
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "minAvailable": min_available,
                "selector": {"matchLabels": {"app": name}},
            },
        }
        await self.cluster.api.create("poddisruptionbudgets", body)

    async def wish(self, namespace: str, name: str, key: str, value: str) -> None:
        """Set a Spotalis annotation of a Deployment."""
        body = {"metadata": {"annotations": {f"spotalis.io/{key}": value}}}
        await self.cluster.api.patch(
            "deployments", namespace, name, body, patch_type="application/merge-patch+json"
        )

    def unschedulable(self, workload: str) -> int:
        """Return the number of a workload's pods that are unschedulable."""
        return sum(
            condition.get("reason") == "Unschedulable"
            for pod in self.cluster.store.list("pods")
            if pod["metadata"]["name"].startswith(f"{workload}-")
            for condition in pod.get("status", {}).get("conditions") or ()
        )

    def conditions(self, namespace: str, name: str) -> set[str]:
        """Return the types of a Deployment's conditions."""
        status = self.cluster.api.get("deployments", namespace, name).get("status", {})
        return {condition["type"] for condition in status.get("conditions") or ()}

    def lease(self) -> dict[str, Any]:
        """Return the spec of the first Lease; {} if there is none."""
        leases = self.cluster.store.list("leases")
        return dict(leases[0]["spec"]) if leases else {}

    def log_text(self) -> str:
        """Return the log so far."""
        return self._log.read_text()

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Return the log entries that are JSON."""
        for line in self.log_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    async def certificate(self) -> bytes:
        """Return the certificate of the webhook, DER; b"" if it does not listen."""
        try:
            _, writer = await asyncio.open_connection(HOST, self.ports[0], ssl=trusting())
        except OSError:
            return b""
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        der = shown.getpeercert(binary_form=True)
        writer.close()
        return der or b""

    async def status_of_nonsense(self, shown_pem: bytes = b"") -> int | None:
        """Send a body that is not an AdmissionReview to the webhook. None without a response."""
        context = trusting()
        if shown_pem:
            context.load_cert_chain(_file(self._log.parent, shown_pem))
        url = f"https://{HOST}:{self.ports[0]}/mutate"
        try:
            async with self._session.post(url, json={}, ssl=context) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return None

    def review_request(self, workload: str, *, dry_run: bool = True) -> bytes:
        """An admission request for one more pod."""
        made_by = next(
            one["metadata"]
            for one in self.cluster.store.list("replicasets")
            if one["metadata"]["name"].startswith(f"{workload}-")
        )
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
        owner |= {key: made_by[key] for key in ("name", "uid")}
        request = {
            "uid": "a-review",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": made_by["namespace"],
            "dryRun": dry_run,
            "object": {"metadata": {"ownerReferences": [owner]}, "spec": {}},
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return json.dumps(review | {"request": request}).encode()

    async def review(self, workload: str, *, dry_run: bool = True) -> list[dict[str, Any]]:
        """Return the patch for one more pod; [] without a response."""
        url = f"https://{HOST}:{self.ports[0]}/mutate"
        body = self.review_request(workload, dry_run=dry_run)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=body, headers=headers, ssl=trusting()
            ) as answer:
                if answer.status != 200:
                    return []
                response = (await answer.json())["response"]
        except aiohttp.ClientError:
            return []
        patch: list[dict[str, Any]] = json.loads(base64.b64decode(response.get("patch", "W10=")))
        return patch

    async def take_lease_away(self) -> None:
        """Delete the Lease and its namespace, so that it cannot be recreated."""
        lease = self.cluster.store.list("leases")[0]["metadata"]
        await self.cluster.api.delete("namespaces", "", lease["namespace"])

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)


def trusting() -> ssl.SSLContext:
    """A TLS context that accepts every certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def operator(
    folder: Path,
    ports: Sequence[int],
    config: Mapping[str, object],
    *,
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    webhook_ca: bytes | None = None,
) -> AsyncIterator[OperatorProcess]:
    """Start a cluster and an operator process, which may not be ready yet.

    Args:
        folder: for the settings file, a kubeconfig and the log.
        ports: webhook, metrics and health ports that the test reads.
        config: the settings file.
        flags: command line flags of the process.
        variables: environment variables of the process; it gets no other ``SPOTALIS_...``.
        webhook_ca: CA of the process's webhook, PEM. Without it the webhook is not called, and no
            pod starts or ends after the setup, so that an evicted pod stays a move in flight.
    """
    folder.mkdir(parents=True)  # noqa: ASYNC240  # nothing else runs yet
    caller = HttpsWebhookCaller()
    cluster = EmbeddedCluster(
        clock=SystemClock(), rng=random.Random(7), timing=_QUICK, webhook=caller
    )
    async with cluster, aiohttp.ClientSession() as session:
        await _set_stage(cluster)
        if webhook_ca is None:
            await cluster.stop_controller("kubelet")
        await _register(cluster, f"https://{HOST}:{ports[0]}/mutate", webhook_ca)
        served = await serve(cluster.api, HOST, 0)
        kubeconfig, file, log = folder / "kubeconfig", folder / "spotalis.yaml", folder / "log"
        kubeconfig.write_text(served.kubeconfig_text)
        file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SPOTALIS_")}  # noqa: TID251  # a process needs its PATH
        with log.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "spotalis", "controller"),
                *("--kubeconfig", str(kubeconfig), "--config", str(file), *flags),
                env=environment | dict(variables or {}),
                stdout=stream,
                stderr=stream,
            )
        try:
            yield OperatorProcess(cluster, process, ports, log, session)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await asyncio.sleep(0.05)  # its connections are still closing
            await served.stop()
            await caller.close()


async def _register(cluster: EmbeddedCluster, url: str, ca: bytes | None) -> None:
    """Create two webhook configurations; the one that is called has a CA bundle."""
    for name in ("spotalis", "other"):
        body = webhook_configuration(name=name, client_config={"url": url}, excluded=[])
        if ca is not None and name == "spotalis":
            bundle = base64.b64encode(ca).decode()
            body["webhooks"][0]["clientConfig"]["caBundle"] = bundle
        if ca is None:
            body["webhooks"][0]["rules"] = []
        if ca is None or name == "spotalis":
            await cluster.api.create("mutatingwebhookconfigurations", body)


async def _set_stage(cluster: EmbeddedCluster) -> None:
    """Create two Deployments of 4 on on-demand nodes that want half on spot, and two more.

    ``plain`` has no policy; ``odd`` runs on nodes of unknown capacity type.
    """
    namespaces = {"shop": {"team": "a"}, "data": {"team": "b"}, "spotalis-system": {}, "ops": {}}
    for name, labels in namespaces.items():
        await _create(cluster, "namespaces", "v1", "Namespace", {"name": name, "labels": labels})
    for name in ("spotalis-webhook-tls", "other"):
        home = {"name": name, "namespace": "spotalis-system"}
        await _create(cluster, "secrets", "v1", "Secret", home)
    await cluster.fleet.add(on_demand=2)
    await cluster.fleet.register(
        make_node("odd-1", labels=CHEAP, taints=[("odd", "", "NoSchedule")])
    )
    half, nothing = policy(50), policy(enabled="true")
    await _deploy(cluster, "shop", "api", 4, half)
    await _deploy(cluster, "data", "db", 4, half)
    await _deploy(cluster, "shop", "plain", 4, nothing)
    await _deploy(cluster, "shop", "odd", 2, policy(100), node_selector=CHEAP)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not _all_ready(cluster, 14):
            await asyncio.sleep(0.02)
    await cluster.fleet.add(spot=2)


async def _create(
    cluster: EmbeddedCluster, plural: str, version: str, kind: str, metadata: Mapping[str, Any]
) -> None:
    body = {"apiVersion": version, "kind": kind, "metadata": dict(metadata)}
    await cluster.api.create(plural, body)


async def _deploy(
    cluster: EmbeddedCluster,
    namespace: str,
    name: str,
    replicas: int,
    policy: Policy = NO_POLICY,
    node_selector: Mapping[str, str] | None = None,
    cpu: str = "100m",
) -> None:
    body = workload_body("Deployment", name, replicas, policy, node_selector)
    body["metadata"]["namespace"] = namespace
    spec = body["spec"]["template"]["spec"]
    spec["containers"][0]["resources"]["requests"]["cpu"] = cpu
    if node_selector:
        spec["tolerations"] = [{"key": "odd", "operator": "Exists"}]
    await cluster.api.create("deployments", body)


def _all_ready(cluster: EmbeddedCluster, count: int) -> bool:
    """Set the status that matches the Deployments, so that the operator sees no rollout."""
    statuses = [one.get("status", {}) for one in cluster.store.list("deployments")]
    return sum(int(status.get("availableReplicas", 0)) for status in statuses) == count


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "shown.pem"
    path.write_bytes(content)
    return path
