"""A real process, with all attackers at once beside one well-behaved workload.

Tenants write as much as the API server accepts, and callers attack every port. Meanwhile the
admissions of the workload are answered, and its policy changes take effect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.test_hostile_callers import (
    attacked_operator,
    expect_patches,
    known_client,
    memory,
    under_attack,
)
from tests.support.hostile_tenant import HostileTenant
from tests.support.operator_process import OperatorProcess
from tests.support.tls_pairs import a_pair

MAX_MIB = 200
MOVE_SECONDS = 120.0
"""For a change of the split, however slow the machine is. ``python -m benchmarks attacks`` measures
how fast admissions are on an idle machine."""


@asynccontextmanager
async def called_operator(folder: Path) -> AsyncIterator[OperatorProcess]:
    """A process that the API server calls: pods start, end and are placed."""
    pair = a_pair()
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.cert_pem)
    key.write_bytes(pair.key_pem)
    serving = {"certificateFile": str(certificate), "keyFile": str(key)}
    ca = pair.authority.cert_pem.bytes()
    async with attacked_operator(folder, serving=serving, webhook_ca=ca) as it:
        yield it


def count_on_spot(it: OperatorProcess) -> int:
    """The ready pods of the workload on spot nodes."""
    nodes = {
        node["metadata"]["name"]
        for node in it.cluster.store.list("nodes")
        if node["metadata"].get("labels", {}).get("karpenter.sh/capacity-type") == "spot"
    }
    return sum(
        pod["spec"].get("nodeName") in nodes and "deletionTimestamp" not in pod["metadata"]
        for pod in it.cluster.store.list("pods")
        if pod["metadata"]["name"].startswith("api-")
    )


async def change_the_split(it: OperatorProcess, seconds: float) -> int:
    """Change the policy of the workload and wait for its split, again and again.

    Returns the number of changes.
    """
    loop = asyncio.get_running_loop()
    until, changes = loop.time() + seconds, 0
    while loop.time() < until:
        percentage, on_spot = ((75, 3), (25, 1))[changes % 2]
        await it.wish("shop", "api", "spot-percentage", str(percentage))
        async with asyncio.timeout(MOVE_SECONDS):
            while count_on_spot(it) != on_spot:
                await asyncio.sleep(0.05)
        changes += 1
    return changes


async def admit(it: OperatorProcess) -> None:
    """Expect that every admission of the workload gets a patch in time."""
    async with known_client(it) as kept:
        while True:
            await expect_patches(it, kept, 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.long)])
async def test_all_attackers_at_once_neither_stop_a_workload_nor_fill_the_memory(
    tmp_path: Path, seconds: int
) -> None:
    async with called_operator(tmp_path) as it, AsyncExitStack() as stack:
        tenant = HostileTenant(it)
        await tenant.settle()
        for port, crowd in zip(it.ports, ("all", "few heads", "few heads"), strict=False):
            await stack.enter_async_context(under_attack(port, crowd))
        others = [asyncio.create_task(tenant.write()), asyncio.create_task(admit(it))]
        changes = await change_the_split(it, seconds)
        for task in others:
            assert not task.done(), task.result()
            task.cancel()
        await asyncio.wait(others)
        peak = memory(it, "VmHWM")
        print(json.dumps({"changes": changes, "MiB": peak}))
        assert changes >= 1
        assert peak < MAX_MIB
