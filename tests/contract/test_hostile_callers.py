"""A real process with a hundred hostile clients at once: its memory, and its other clients.

Any pod in the cluster network can reach the port (docs/concepts/threat-model.md). The process runs
with the environment of the image and must stay below the memory limit in the manifest, while the
hostile clients claim everything that the server's limits allow.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.free_ports import claim_ports
from tests.support.hostile_callers import REVIEW
from tests.support.http_caller import Caller, ask
from tests.support.image import environment
from tests.support.operator_process import HOST, OperatorProcess, operator, trusting

API_REQUESTS = "spotalis_api_requests_total"
ATTACK_SECONDS = 5.0
MAX_GROWTH = round(100 * 0.65 + 2 * (2 * 7 + 9) + 32 * 0.9)
"""MiB: connections, large bodies and ordinary requests in the worst case (webhook/server.py)."""


@asynccontextmanager
async def under_attack(port: int, crowd: str) -> AsyncIterator[None]:
    nice = ("nice", "-n", "5")  # the CPU time of the callers is not the server's
    command = (*nice, sys.executable, "-m", "tests.support.hostile_callers", str(port), crowd)
    hostile = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert hostile.stdout is not None
    try:
        async with asyncio.timeout(120):
            assert await hostile.stdout.readline() == b"attacking\n"
        yield
        assert hostile.returncode is None
    finally:
        if hostile.returncode is None:
            hostile.kill()
        await hostile.wait()


def memory(it: OperatorProcess, field: str) -> int:
    """Memory of a process in MiB: ``VmRSS`` is the current value, ``VmHWM`` the maximum."""
    status = Path(f"/proc/{it.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) // 1024


def manifest_limit() -> int:
    manifest = Path(__file__).parents[2] / "build" / "k8s" / "operator.yaml"
    (limit,) = [
        container["resources"]["limits"]["memory"]
        for document in yaml.safe_load_all(manifest.read_text())
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    assert limit.endswith("Mi")
    return int(limit.removesuffix("Mi"))


async def expect_patches(it: OperatorProcess, kept: Caller, seconds: float) -> None:
    """Expect a patch for every request of a known client; sends at least two requests."""
    count, until = 0, asyncio.get_running_loop().time() + seconds
    request = it.review_request("api")
    while count < 2 or asyncio.get_running_loop().time() < until:
        async with asyncio.timeout(30):
            assert "patch" in (await kept.ask("POST", "/mutate", request)).json()["response"]
        count += 1
        await asyncio.sleep(0.1)


@asynccontextmanager
async def known_client(it: OperatorProcess) -> AsyncIterator[Caller]:
    """A client that keeps its connection, as the API server does."""
    async with Caller(it.ports[0], trusting()) as kept:
        await expect_patches(it, kept, 0)
        yield kept


@asynccontextmanager
async def attacked_operator(
    tmp_path: Path, *, serving: Mapping[str, object] = {}, webhook_ca: bytes | None = None
) -> AsyncIterator[OperatorProcess]:
    """A process that answers admission requests, with the environment of the image.

    Args:
        tmp_path: for its files.
        serving: settings of the section ``serving``.
        webhook_ca: see :func:`operator`.
    """
    claim = claim_ports()
    webhook, metrics, health = claim.ports[:3]
    ports = {"webhookPort": webhook, "metricsPort": metrics, "healthPort": health}
    try:
        async with operator(
            tmp_path / "it",
            claim.ports,
            {"serving": {"host": HOST, **ports, **serving}},
            variables=environment(),
            webhook_ca=webhook_ca,
        ) as it:
            async with asyncio.timeout(120):
                while not await it.review("api"):
                    await asyncio.sleep(0.1)
            yield it
            assert it.process.returncode is None
            assert memory(it, "VmHWM") < manifest_limit()
    finally:
        claim.release()


async def ask_repeatedly(port: int, path: str, status: int, tls: ssl.SSLContext | None) -> float:
    """Send requests on new connections, and return the longest time in seconds until a response."""
    loop = asyncio.get_running_loop()
    until, longest = loop.time() + ATTACK_SECONDS, 0.0
    while loop.time() < until:
        began = loop.time()
        method, body = ("POST", b"{}") if tls else ("GET", None)
        assert (await ask(port, method, path, body, tls=tls)).status == status
        longest = max(longest, loop.time() - began)
        await asyncio.sleep(0.1)
    return longest


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_a_hundred_hostile_clients_neither_exceed_the_memory_limit_nor_delay_other_clients(
    tmp_path: Path,
) -> None:
    async with attacked_operator(tmp_path) as it, known_client(it) as kept:
        before = memory(it, "VmRSS")
        for crowd in ("large", "dense", "rude"):
            async with under_attack(it.ports[0], crowd):
                await expect_patches(it, kept, ATTACK_SECONDS)
        peak = memory(it, "VmHWM")
        assert peak - before < MAX_GROWTH
        for crowd in ("large", "rude"):
            async with under_attack(it.ports[0], crowd):
                await expect_patches(it, kept, ATTACK_SECONDS)
        assert memory(it, "VmHWM") - before < MAX_GROWTH, (
            "disconnected clients leave nothing in memory"
        )


@pytest.mark.parametrize("crowd", ["silent", "half-open", "idle"])
async def test_clients_that_keep_connections_neither_delay_others_nor_end_a_known_connection(
    tmp_path: Path, crowd: str
) -> None:
    async with (
        attacked_operator(tmp_path) as it,
        known_client(it) as kept,
        under_attack(it.ports[0], crowd),
    ):
        longest = await ask_repeatedly(it.ports[0], "/mutate", 400, trusting())
        print(f"{crowd}: at most {longest * 1000:.0f} ms")
        await expect_patches(it, kept, 0)
    assert longest < 8, "with handshakes of 10 s each, 384 clients delay others by 29 s"


@pytest.mark.parametrize(("port", "path"), [(1, "/metrics"), (2, "/healthz")])
async def test_half_open_requests_at_metrics_and_health_neither_fill_the_memory_nor_delay_others(
    tmp_path: Path, port: int, path: str
) -> None:
    async with attacked_operator(tmp_path) as it:
        before = memory(it, "VmRSS")
        async with under_attack(it.ports[port], "heads"):
            longest = await ask_repeatedly(it.ports[port], path, 200, None)
        growth = memory(it, "VmHWM") - before
        print(f"{path}: at most {longest * 1000:.0f} ms, {growth} MiB")
    assert growth < 40, "without limits 300 half-open requests take 286 MiB"
    assert longest < 8


async def test_names_that_callers_invent_cause_neither_requests_nor_metric_series(
    tmp_path: Path,
) -> None:
    async with attacked_operator(tmp_path) as it:
        series, asked = await api_request_series(it), count_owner_requests(it)
        names = ["", "..", "../..", "a/status", "a?watch=true", "a%2fb", "UPPER", "X" * 253]
        names += [f"web-{number}/scale-{number}" for number in range(50)]
        async with Caller(it.ports[0], trusting()) as caller:
            for name in names:
                reply = await caller.ask("POST", "/mutate", review_of(name))
                assert (reply.status, reply.json()["response"]["allowed"]) == (200, True)
        assert count_owner_requests(it) == asked
        assert await api_request_series(it) - series <= {"events", "leases", "configmaps"}


def review_of(owner: str) -> bytes:
    """A request for a pod whose owner has this name."""
    name = b'"name":%s' % json.dumps(owner).encode()
    return (REVIEW % b"").replace(b'"name":"missing"', name)


async def api_request_series(it: OperatorProcess) -> set[str]:
    """The resources that the metrics of requests to the API server name."""
    samples = await it.metrics()
    return {labels["resource"] for name, labels, _ in samples if name == API_REQUESTS}


def count_owner_requests(it: OperatorProcess) -> int:
    """Count the requests for single owners."""
    return sum(len(it.asked("get", plural)) for plural in ("replicasets", "deployments")) + sum(
        len(it.asked("list", plural)) for plural in ("replicasets", "deployments")
    )
