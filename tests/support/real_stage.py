"""Scenarios on the real control plane, with the operator as a process of its own."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # jitter of the administrator's client
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import yaml

from spotalis.app.clock import SystemClock
from spotalis.kube.client import Client
from spotalis.kube.config import load
from spotalis.kube.http import HttpTransport
from tests.support.bed import Bed
from tests.support.free_ports import PortClaim, claim_ports
from tests.support.real_bed import BedConfig, RealBed, binaries_or_skip
from tests.support.stage import Play, Scenario

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "build" / "k8s" / "rbac.yaml"
WEBHOOK = ROOT / "build" / "k8s" / "webhook.yaml"
READY_SECONDS = 30.0
BED_CONFIG = BedConfig(ready_after=1.0, gone_after=1.0, rbac=RBAC)
"""Kubelets that need 1 s to Ready and 1 s to go, as performance.md measures with."""


class OnRealControlPlane(Bed):
    """A :class:`RealBed`, in a scenario's words."""

    namespace = "default"
    user = "spotalis"

    def __init__(self, bed: RealBed, folder: Path, ports: PortClaim) -> None:
        self._bed = bed
        self._folder = folder
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: HttpTransport | None = None

    async def open(self) -> None:
        """Connect as an administrator."""
        clock = SystemClock()
        access = load({}, kubeconfig=str(self._bed.kubeconfig("admin")))
        self._transport = HttpTransport(access, clock=clock)
        self.api = Client(self._transport, clock=clock, dice=random.Random(0))

    async def close(self) -> None:
        """Disconnect."""
        if self._transport is not None:
            await self._transport.close()

    @asynccontextmanager
    async def operator(self, *flags: str) -> AsyncIterator[None]:
        """One replica, ready and heeded by the API server when the block begins."""
        webhook, metrics, health = self._ports.ports[:3]
        configuration = yaml.safe_load(WEBHOOK.read_text())
        for entry in configuration["webhooks"]:
            entry["clientConfig"] = {"url": f"https://127.0.0.1:{webhook}/mutate"}
        self._bed.apply([configuration])
        log = (self._folder / "operator.log").open("ab")
        command = [sys.executable, "-m", "spotalis", "controller"]
        command += ["--kubeconfig", str(self._bed.kubeconfig("spotalis"))]
        command += ["--host", "127.0.0.1", "--webhook-port", str(webhook)]
        command += ["--metrics-port", str(metrics), "--health-port", str(health), *flags]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self._process = process
        try:
            await self.until(
                lambda: _answers(process, f"http://127.0.0.1:{health}/readyz"),
                f"the operator is ready (log: {log.name})",
                within=READY_SECONDS,
            )
            await self.until(
                lambda: self._heeded(metrics), "the API server calls the webhook", within=10
            )
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(process.wait, 20)
            log.close()
        assert process.returncode in (0, -signal.SIGKILL), f"operator exited {process.returncode}"

    async def kill_operator(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait, 10)
        # Its successor has to wait out the Lease; a crash is not what this figure is about.
        path = "/apis/coordination.k8s.io/v1/namespaces/spotalis-system/leases/spotalis"
        await self.api.raw("DELETE", path)

    def evictions(self) -> list[str]:
        """From the audit log."""
        return [e.name for e in self._bed.evictions(self.user) if e.namespace == self.namespace]

    def writes(self) -> list[tuple[str, str]]:
        """From the audit log."""
        events = self._bed.audit(user=self.user)
        reads = {"get", "list", "watch"}
        return [(e.verb, e.kind) for e in events if e.verb not in reads and e.kind != "leases"]

    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """Played by kwok."""
        return await asyncio.to_thread(self._bed.add_nodes, spot=spot, on_demand=on_demand)

    async def now(self) -> datetime:
        """The machine's: all its parts run here."""
        return SystemClock().now()

    async def reclaim(self, node: str) -> None:
        """Node and pods at once."""
        await asyncio.to_thread(self._bed.remove_nodes, node)

    async def _heeded(self, metrics: int) -> bool:
        """Let the API server admit a pod that will never be, until our webhook has been asked."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "probe",
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": "nobody",
                        "uid": "nobody",
                        "controller": True,
                    }
                ],
            },
            "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        await self.api.raw("POST", path, pod, query=(("dryRun", "All"),))
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{metrics}/metrics")
        return any(
            line.startswith("spotalis_webhook_requests_total{") and not line.endswith(" 0.0")
            for line in text.splitlines()
        )


async def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, f"the operator ended with {process.returncode}"
    return bool(await asyncio.to_thread(_read, url))


def _read(url: str) -> str:
    """The body of a 200, else nothing."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError, json.JSONDecodeError):
        return ""


def playing(folder: Path) -> Iterator[Play]:
    """A control plane of the scenario's own, gone afterwards."""
    binaries = binaries_or_skip()

    def play(scenario: Scenario) -> None:
        async def on_stage(bed: RealBed) -> None:
            stage = OnRealControlPlane(bed, folder, ports)
            await stage.open()
            try:
                await scenario(stage)
            finally:
                await stage.close()

        ports = claim_ports()
        try:
            with RealBed.boot(folder / "bed", BED_CONFIG, binaries=binaries) as bed:
                asyncio.run(on_stage(bed))
        finally:
            ports.release()

    yield play
