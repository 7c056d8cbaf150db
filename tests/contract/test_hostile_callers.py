"""A hundred hostile callers at once, against a real process: its memory, and who is still answered.

Any pod on the network may reach the port (docs/concepts/threat-model.md), and what does not fit
into the container's memory limit ends the operator. So the process is held to that limit, as the
manifest states it, with the environment of the image, while it is given everything at once that its
limits let in.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.free_ports import claim_ports
from tests.support.hostile_callers import CROWDS
from tests.support.image import environment
from tests.support.operator_process import HOST, Operator, operator

ATTACK_SECONDS = 5.0
HELD_AT_MOST = round(100 * 0.65 + 2 * (2 * 7 + 9) + 32 * 0.9)
"""MiB: connections, large bodies and ordinary reviews, each at its worst (webhook/server.py)."""


@asynccontextmanager
async def under_attack(port: int, crowd: str) -> AsyncIterator[None]:
    command = (sys.executable, "-m", "tests.support.hostile_callers", str(port), crowd)
    hostile = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield
        assert hostile.returncode is None
    finally:
        if hostile.returncode is None:
            hostile.kill()
        await hostile.wait()


def memory(it: Operator, what: str) -> int:
    """MiB of a process, as the kernel counts: VmRSS now, VmHWM at the most so far."""
    status = Path(f"/proc/{it.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) // 1024


def limit_in_the_manifest() -> int:
    manifest = Path(__file__).parents[2] / "build" / "k8s" / "operator.yaml"
    (limit,) = [
        container["resources"]["limits"]["memory"]
        for document in yaml.safe_load_all(manifest.read_text())
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    assert limit.endswith("Mi")
    return int(limit.removesuffix("Mi"))


async def answered(it: Operator, seconds: float) -> None:
    """Every review of a well-behaved caller is answered with a patch, two at least."""
    count, until = 0, asyncio.get_running_loop().time() + seconds
    while count < 2 or asyncio.get_running_loop().time() < until:
        async with asyncio.timeout(30):
            assert await it.review("api")
        count += 1
        await asyncio.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_a_hundred_hostile_callers_fit_into_the_containers_memory_and_hold_up_nobody(
    tmp_path: Path,
) -> None:
    claim = claim_ports()
    webhook, metrics, health = claim.ports[:3]
    ports = {"webhookPort": webhook, "metricsPort": metrics, "healthPort": health}
    try:
        async with operator(
            tmp_path / "it",
            claim.ports,
            {"serving": {"host": HOST} | ports},
            variables=environment(),
        ) as it:
            async with asyncio.timeout(120):
                while not await it.review("api"):
                    await asyncio.sleep(0.1)
            before = memory(it, "VmRSS")
            for crowd in CROWDS:
                async with under_attack(webhook, crowd):
                    await answered(it, ATTACK_SECONDS)
            most = memory(it, "VmHWM")
            assert it.process.returncode is None
            assert most < limit_in_the_manifest()
            assert most - before < HELD_AT_MOST
            for crowd in ("large", "rude"):
                async with under_attack(webhook, crowd):
                    await answered(it, ATTACK_SECONDS)
            assert memory(it, "VmHWM") - before < HELD_AT_MOST, "whoever goes leaves nothing behind"
    finally:
        claim.release()
