"""Webhook latency of other tenants during attacks, compared with a quiet server in the same run.

The load, the attackers and the API server are on other cores than the operator if there are any;
the callers have a low priority. On a machine with other work compare the ratios only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.client import milliseconds
from benchmarks.figure import Figure
from tests.contract.test_crowd import called_operator
from tests.contract.test_hostile_callers import under_attack
from tests.support.hostile_tenant import MERGE, PAUSE_SECONDS, HostileTenant
from tests.support.http_caller import ask
from tests.support.operator_process import OperatorProcess, trusting

RATE = 50
"""Admission requests per second, as of a rollout of a large workload."""
SECONDS = 8
CONNECTIONS = 4
REPLICAS = 10_000
"""Desired replicas of the workload, so that it lacks every pod of the load."""
AT_MOST_MS = 50.0
NEW_CLIENTS = 10
API_SERVER_MS = 2000.0
"""The ``timeoutSeconds`` of the shipped webhook configuration."""
ROOT = Path(__file__).parents[1]

CALLERS = {
    "silent connections (row 6)": (0, "silent"),
    "half-open handshakes (row 6)": (0, "half-open"),
    "complete handshakes (row 6)": (0, "handshakes"),
    "idle answered connections (row 6)": (0, "idle"),
    "half-open heads at /metrics (row 5)": (1, "heads"),
    "half-open heads at /healthz (row 5)": (2, "heads"),
    "invented owners (row 9)": (0, "invented"),
    "large bodies (row 15)": (0, "large"),
    "dense bodies (row 15)": (0, "dense"),
    "slow bodies and heads (row 15)": (0, "rude"),
    "TLS records of one byte": (0, "tiny"),
    "unknown paths": (0, "paths"),
}
"""Crowds of callers, with the number of their port."""


def measure() -> list[Figure]:
    """Measure each attack by itself, then all of them together."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="spotalis-bench-") as folder:
        async with called_operator(Path(folder)) as it:
            await _scale(it)
            quiet = await _latencies(it)
            figures = _figures("quiet", quiet, quiet)
            for name, (port, crowd) in CALLERS.items():
                async with under_attack(it.ports[port], crowd):
                    figures += _figures(name, await _latencies(it), quiet)
                    if port == 0:
                        figures.append(await _first_request(it, name))
            tenant = HostileTenant(it)
            await tenant.settle()
            figures += _figures("Pending pods, budgets (rows 4, 15)", await _latencies(it), quiet)
            for name, write in {
                "long policies (row 1)": tenant.write_policy,
                "largest replicas (row 2)": tenant.ask_for_huge,
                "other labels (row 3)": tenant.relabel,
            }.items():
                async with _repeated(write):
                    figures += _figures(name, await _latencies(it), quiet)
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(_repeated(tenant.write_policy))
                await stack.enter_async_context(_repeated(tenant.relabel))
                for port, crowd in zip(it.ports, ("all", "few heads", "few heads"), strict=False):
                    await stack.enter_async_context(under_attack(port, crowd))
                figures += _figures("all at once", await _latencies(it), quiet)
            return figures


async def _scale(it: OperatorProcess) -> None:
    """Let the workload lack pods; no controller creates them."""
    for controller in ("deployment", "replicaset"):
        await it.cluster.stop_controller(controller)
    body = {"spec": {"replicas": REPLICAS}}
    name = _owner(it)["name"]
    await it.cluster.api.patch("deployments", "shop", "api", body, patch_type=MERGE)
    await it.cluster.api.patch("replicasets", "shop", name, body, patch_type=MERGE)
    await asyncio.sleep(1)


def _owner(it: OperatorProcess) -> dict[str, str]:
    request = json.loads(it.review_request("api"))["request"]
    (owner,) = request["object"]["metadata"]["ownerReferences"]
    return {"name": owner["name"], "uid": owner["uid"]}


@asynccontextmanager
async def _repeated(write: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Write again and again during the block."""

    async def repeat() -> None:
        while True:
            await write()
            await asyncio.sleep(PAUSE_SECONDS)

    task = asyncio.create_task(repeat())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _latencies(it: OperatorProcess) -> list[float]:
    plan = {
        "port": it.ports[0],
        "connections": CONNECTIONS,
        "rate": RATE,
        "seconds": SECONDS,
        "namespace": "shop",
        "owners": [_owner(it)],
    }
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await load.communicate(json.dumps(plan).encode())
    latencies = sorted(json.loads(output))
    assert len(latencies) == RATE * SECONDS
    return latencies


async def _first_request(it: OperatorProcess, name: str) -> Figure:
    """The longest time from connecting until the response of a new client."""
    loop, tls, request = asyncio.get_running_loop(), trusting(), it.review_request("api")
    longest = 0.0
    for _ in range(NEW_CLIENTS):
        began = loop.time()
        assert (await ask(it.ports[0], "POST", "/mutate", request, tls=tls)).status == 200
        longest = max(longest, loop.time() - began)
    return Figure(
        name=f"first request of a connection: {name}",
        value=1000 * longest,
        unit="ms",
        at_most=API_SERVER_MS,
        how=f"longest of {NEW_CLIENTS}, the TLS handshake included",
    )


def _figures(name: str, latencies: list[float], quiet: list[float]) -> list[Figure]:
    p50, p99 = (milliseconds(latencies, share) for share in (0.5, 0.99))
    print(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", file=sys.stderr, flush=True)
    ratio = p99 / milliseconds(quiet, 0.99)
    return [
        Figure(
            name=f"p99 during: {name}",
            value=p99,
            unit="ms",
            at_most=AT_MOST_MS,
            how=f"p50 {p50:.1f} ms, maximum {1000 * latencies[-1]:.0f} ms, "
            f"{ratio:.1f} times the quiet p99",
        )
    ]
