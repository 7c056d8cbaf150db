"""A real process beside tenants that write as much as the API server accepts.

The process runs with the environment of the image. Its memory must not grow with what tenants
write, and admission requests of other tenants are answered meanwhile.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_hostile_callers import expect_patches, manifest_limit, memory
from tests.support.cluster import workload_body
from tests.support.free_ports import claim_ports
from tests.support.image import environment
from tests.support.operator_process import HOST, OperatorProcess, operator

MERGE = "application/merge-patch+json"
MAX_GROWTH = 16
"""MiB: buffers for the largest objects of a watch, and fragmentation. 200 Deployments with 250 kB
would take 48 MiB, and the labels of 40 versions of one pod 180 MiB, if they were kept."""


async def annotate_deployments(it: OperatorProcess) -> None:
    """200 Deployments with 250 kB of annotations that Spotalis does not read."""
    for number in range(200):
        body = workload_body("Deployment", f"heavy-{number}", 0)
        body["metadata"] |= {
            "namespace": "shop",
            "annotations": {f"spotalis.io/note-{n}": "x" * 25_000 for n in range(10)},
        }
        await it.cluster.api.create("deployments", body)


async def relabel_a_pod(it: OperatorProcess) -> None:
    """One pod without an owner that gets 500 kB of other labels 40 times."""
    pod: dict[str, Any] = {
        "metadata": {"name": "lonely", "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
    }
    await it.cluster.api.create("pods", pod)
    for version in range(40):
        old = {f"{'k' * 40}-{version - 1}-{n}": None for n in range(5_000) if version}
        new = {f"{'k' * 40}-{version}-{n}": "x" * 50 for n in range(5_000)}
        body = {"metadata": {"labels": old | new}}
        await it.cluster.api.patch("pods", "shop", "lonely", body, patch_type=MERGE)
        await asyncio.sleep(0)


async def write_long_policies(it: OperatorProcess) -> None:
    """Twenty enabled Deployments with a duration of 24,000 digits, written again ten times."""
    for number in range(20):
        body = workload_body("Deployment", f"long-{number}", 0)
        body["metadata"] |= {"namespace": "shop", "labels": {"spotalis.io/enabled": "true"}}
        await it.cluster.api.create("deployments", body)
    for version in range(10):
        for number in range(20):
            value = str(version) * 24_000
            body = {"metadata": {"annotations": {"spotalis.io/spot-fallback": value}}}
            await it.cluster.api.patch(
                "deployments", "shop", f"long-{number}", body, patch_type=MERGE
            )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_tenants_that_write_all_they_may_neither_fill_the_memory_nor_delay_others(
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
            for attack in (write_long_policies, annotate_deployments, relabel_a_pod):
                await attack(it)
                await expect_patches(it, 2.0)
                assert it.process.returncode is None
            assert await it.reason("long-19") == "InvalidPolicy"
            assert memory(it, "VmHWM") < manifest_limit()
            assert memory(it, "VmRSS") - before < MAX_GROWTH
    finally:
        claim.release()
