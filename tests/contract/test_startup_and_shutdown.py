"""Startup and shutdown of the process: messages, order and exit codes."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # names in the embedded cluster
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from spotalis.app.clock import SystemClock
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.http import serve
from tests.support.free_ports import claim_ports
from tests.support.http_caller import Caller, Reply, ask

NAMESPACE = "spotalis-system"
_PROGRAM = (
    "import sys; from spotalis.app import process; "
    "process.ENDPOINT_DRAIN_SECONDS = float(sys.argv.pop(1)); "
    "from spotalis.__main__ import main; main()"
)
"""``spotalis`` with another drain time: the default of 1 s is too short on a slow machine."""


@dataclass
class Running:
    """``spotalis controller`` against an embedded API server."""

    cluster: EmbeddedCluster
    process: asyncio.subprocess.Process
    webhook: int
    health: int

    async def readyz(self) -> Reply | None:
        try:
            return await ask(self.health, "GET", "/readyz")
        except (OSError, asyncio.IncompleteReadError):
            return None

    def holder(self) -> str:
        lease = self.cluster.store.get("leases", NAMESPACE, "spotalis")
        return str(lease["spec"].get("holderIdentity", "")) if lease is not None else ""

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    async def wait_until_leading(self) -> None:
        async with asyncio.timeout(120):
            while not (self.holder() and (reply := await self.readyz()) and reply.status == 200):
                assert self.process.returncode is None
                await asyncio.sleep(0.05)

    async def exit_code(self) -> int:
        async with asyncio.timeout(120):
            return await self.process.wait()


@asynccontextmanager
async def starting(
    folder: Path,
    *flags: str,
    namespace: bool = True,
    secret: bool = True,
    drain_seconds: float | None = None,
) -> AsyncIterator[Running]:
    cluster = EmbeddedCluster(clock=SystemClock(), rng=random.Random(1))
    ports = claim_ports()
    async with cluster:
        if namespace:
            await cluster.api.create("namespaces", {"metadata": {"name": NAMESPACE}})
        if namespace and secret:
            empty = {"metadata": {"name": "spotalis-webhook-tls", "namespace": NAMESPACE}}
            await cluster.api.create("secrets", empty)
        served = await serve(cluster.api, "127.0.0.1", 0)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(served.kubeconfig_text)
        webhook, metrics, health = ports.ports[:3]
        program = ["-m", "spotalis"]
        if drain_seconds is not None:
            program = ["-c", _PROGRAM, str(drain_seconds)]
        command = [sys.executable, *program, "controller"]
        command += ["--kubeconfig", str(kubeconfig), "--host", "127.0.0.1"]
        command += ["--webhook-port", str(webhook), "--metrics-port", str(metrics)]
        command += ["--health-port", str(health), *flags]
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        it = Running(cluster, process, webhook, health)
        try:
            yield it
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await served.stop()
            ports.release()


@asynccontextmanager
async def running(folder: Path, *, drain_seconds: float) -> AsyncIterator[Running]:
    async with starting(folder, drain_seconds=drain_seconds) as it:
        await it.wait_until_leading()
        yield it


async def test_a_missing_secret_is_reported_with_the_fix(tmp_path: Path) -> None:
    async with starting(tmp_path, secret=False) as it:
        assert await it.exit_code() == 1
    log = (tmp_path / "log").read_text()
    assert "error[SP009]" in log
    assert 'secrets "spotalis-webhook-tls" not found' in log
    assert "fix: apply build/k8s/install.yaml" in log


async def test_a_missing_namespace_is_reported_with_the_fix(tmp_path: Path) -> None:
    async with starting(tmp_path, namespace=False) as it:
        assert await it.exit_code() == 1
        assert it.cluster.audit.find(user="admin", verb="create") == []
    assert (
        (tmp_path / "log")
        .read_text()
        .endswith(
            "error[SP008]: namespace spotalis-system does not exist\n"
            "  the operator keeps its Lease and its ledgers there\n"
            "  nothing was started\n"
            "fix: kubectl create namespace spotalis-system\n"
            "  or, to only look, without a namespace: spotalis status -A\n"
        )
    )


async def test_read_only_mode_works_without_the_manifests(tmp_path: Path) -> None:
    async with starting(tmp_path, "--read-only", secret=False) as it:
        await it.wait_until_leading()
        assert (await ask(it.webhook, "POST", "/mutate", b"{}", tls=it.tls())).status == 400
        it.process.send_signal(signal.SIGTERM)
        assert await it.exit_code() == 0
        assert {e.plural for e in it.cluster.audit.entries if e.verb == "update"} == {"leases"}


async def test_the_first_signal_drains_the_webhook_before_the_lease_is_released(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path, drain_seconds=8) as it,
        Caller(it.webhook, it.tls()) as before,
    ):
        assert (await before.ask("POST", "/mutate", b"{}")).status == 400
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (ready := await it.readyz()) is None or ready.status == 200:
                await asyncio.sleep(0.005)
        assert (ready.status, ready.json()["not_ready_because"]) == (503, ["ShuttingDown"])
        assert it.holder(), "the instance still leads while it is not ready"
        known = await before.ask("POST", "/mutate", b"{}")
        new = await ask(it.webhook, "POST", "/mutate", b"{}", tls=it.tls())
        assert (known.status, known.headers["connection"]) == (400, "close"), "drained"
        assert new.status == 400, "new connections are still answered"
        assert it.holder(), "the instance leads while it answers requests"
        assert await it.exit_code() == 0
        assert it.holder() == ""
        writes = [(e.verb, e.plural) for e in it.cluster.audit.entries if e.verb != "watch"]
        assert writes[-1] == ("update", "leases")
    messages = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert messages[-1] == "Stopped"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_terminates_at_once(tmp_path: Path, second: signal.Signals) -> None:
    async with running(tmp_path, drain_seconds=60) as it:
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (ready := await it.readyz()) is None or ready.status == 200:
                await asyncio.sleep(0.005)
        it.process.send_signal(second)
        assert await it.exit_code() == -signal.SIGTERM
        assert it.holder(), "the Lease was not released and expires"
