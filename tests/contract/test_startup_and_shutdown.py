"""How the process begins and ends: what is said and done in which order, with which exit code."""

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

HOME = "spotalis-system"
_ROUTED_FOR = (
    "import sys; from spotalis.app import process; "
    "process.ENDPOINT_DRAIN_SECONDS = float(sys.argv.pop(1)); "
    "from spotalis.__main__ import main; main()"
)
"""The same program, but it takes reviews for so many seconds after ``/readyz`` says no: within its
usual second a slow machine may not get round to look."""


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
        lease = self.cluster.store.get("leases", HOME, "spotalis")
        return str(lease["spec"].get("holderIdentity", "")) if lease is not None else ""

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    async def leads(self) -> None:
        async with asyncio.timeout(120):
            while not (self.holder() and (said := await self.readyz()) and said.status == 200):
                assert self.process.returncode is None
                await asyncio.sleep(0.05)

    async def exit_code(self) -> int:
        async with asyncio.timeout(120):
            return await self.process.wait()


@asynccontextmanager
async def starting(
    folder: Path,
    *flags: str,
    home: bool = True,
    secret: bool = True,
    routed_seconds: float | None = None,
) -> AsyncIterator[Running]:
    cluster = EmbeddedCluster(clock=SystemClock(), rng=random.Random(1))
    ports = claim_ports()
    async with cluster:
        if home:
            await cluster.api.create("namespaces", {"metadata": {"name": HOME}})
        if home and secret:
            empty = {"metadata": {"name": "spotalis-webhook-tls", "namespace": HOME}}
            await cluster.api.create("secrets", empty)
        served = await serve(cluster.api, "127.0.0.1", 0)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(served.kubeconfig_text)
        webhook, metrics, health = ports.ports[:3]
        program = ["-m", "spotalis"]
        if routed_seconds is not None:
            program = ["-c", _ROUTED_FOR, str(routed_seconds)]
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
async def running(folder: Path, *, routed_seconds: float) -> AsyncIterator[Running]:
    async with starting(folder, routed_seconds=routed_seconds) as it:
        await it.leads()
        yield it


async def test_without_the_manifests_it_says_what_is_missing(tmp_path: Path) -> None:
    async with starting(tmp_path, secret=False) as it:
        assert await it.exit_code() == 1
    said = (tmp_path / "log").read_text()
    assert "error[SP009]" in said
    assert 'secrets "spotalis-webhook-tls" not found' in said
    assert "fix: apply build/k8s/install.yaml" in said


async def test_without_its_namespace_it_says_how_to_make_it(tmp_path: Path) -> None:
    async with starting(tmp_path, home=False) as it:
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
            "  or, to only observe: --read-only --no-leader-election\n"
        )
    )


async def test_to_look_at_a_cluster_takes_no_manifests(tmp_path: Path) -> None:
    async with starting(tmp_path, "--read-only", secret=False) as it:
        await it.leads()
        assert (await ask(it.webhook, "POST", "/mutate", b"{}", tls=it.tls())).status == 400
        it.process.send_signal(signal.SIGTERM)
        assert await it.exit_code() == 0
        assert {e.plural for e in it.cluster.audit.entries if e.verb == "update"} == {"leases"}


async def test_the_first_signal_ends_it_in_order_and_the_lease_goes_last(tmp_path: Path) -> None:
    async with (
        running(tmp_path, routed_seconds=8) as it,
        Caller(it.webhook, it.tls()) as before,
    ):
        assert (await before.ask("POST", "/mutate", b"{}")).status == 400
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (said := await it.readyz()) is None or said.status == 200:
                await asyncio.sleep(0.005)
        assert (said.status, said.json()["not_ready_because"]) == (503, ["ShuttingDown"])
        assert it.holder(), "not ready any more, and still the leader"
        known = await before.ask("POST", "/mutate", b"{}")
        new = await ask(it.webhook, "POST", "/mutate", b"{}", tls=it.tls())
        assert (known.status, known.headers["connection"]) == (400, "close"), "look elsewhere"
        assert new.status == 400, "who has not heard of it yet is still answered"
        assert it.holder(), "reviews are answered by a leader to the end"
        assert await it.exit_code() == 0
        assert it.holder() == ""
        writes = [(e.verb, e.plural) for e in it.cluster.audit.entries if e.verb != "watch"]
        assert writes[-1] == ("update", "leases")
    said_last = [
        json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()
    ]
    assert said_last[-1] == "Stopped"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    async with running(tmp_path, routed_seconds=60) as it:
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (said := await it.readyz()) is None or said.status == 200:
                await asyncio.sleep(0.005)
        it.process.send_signal(second)
        assert await it.exit_code() == -signal.SIGTERM
        assert it.holder(), "nothing was released: the Lease runs out"
