"""A day with interruptions, and the loss of most spot nodes at once, in virtual time."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import replace

from benchmarks.figure import Figure
from benchmarks.served import memory_mib
from spotalis.model.nodes import NodeType
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster, run_scenario

DAY_SECONDS = 24 * 3600
INTERRUPTIONS = 50
REPLICAS = 20
WORKLOADS = 50
SPOT_NODES, LOST = 120, 100
NEW_POD = ("create", "pods", "")
"""Its entry in the audit log."""
AFTERMATH_SECONDS = 600


def measure() -> list[Figure]:
    """Play both; the embedded cluster's own work is included in CPU time and memory."""
    figures: list[Figure] = []

    async def day(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        figures.extend(await _day(cluster))

    async def day_without_lease(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        cpu = (await _day(cluster, "--leader-election=false"))[0]
        figures.append(replace(cpu, name=f"{cpu.name}, without leader election", at_most=None))

    async def storm(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        figures.extend(await _storm(cluster))

    run_scenario(day)
    run_scenario(day_without_lease)
    run_scenario(storm)
    return figures


async def _day(cluster: EmbeddedTestCluster, *flags: str) -> list[Figure]:
    """Reclaim a spot node every half hour and add another one."""
    await cluster.add_nodes(spot=10, on_demand=5)
    async with cluster.operator(*flags):
        await cluster.create_deployment("web", REPLICAS, policy(70, 2))
        await cluster.wait_for_status("web", "Balanced")
        began, memory = time.process_time(), 0.0
        for number in range(INTERRUPTIONS):
            await cluster.reclaim(cluster.embedded.fleet.names(NodeType.SPOT)[0])
            await cluster.add_nodes(spot=1)
            await asyncio.sleep(DAY_SECONDS / INTERRUPTIONS)
            if number == INTERRUPTIONS // 2:
                memory = memory_mib(os.getpid())
        cpu, growth = time.process_time() - began, memory_mib(os.getpid()) - memory
    how = f"{REPLICAS} replicas, {INTERRUPTIONS} interruptions; operator and embedded cluster"
    return [
        Figure(name="a day in virtual time: CPU", value=cpu, unit="s", at_most=2.0, how=how),
        Figure(
            name="a day in virtual time: memory that its second half adds",
            value=growth,
            unit="MiB",
            at_most=1.0,
        ),
    ]


async def _storm(cluster: EmbeddedTestCluster) -> list[Figure]:
    await cluster.add_nodes(spot=SPOT_NODES, on_demand=40)
    async with cluster.operator():
        for number in range(WORKLOADS):
            await cluster.create_deployment(f"web-{number}", REPLICAS, policy(70, 2))
        for number in range(WORKLOADS):
            await cluster.wait_for_status(f"web-{number}", "Balanced")
        audit, began, cpu = cluster.embedded.audit, await cluster.now(), time.process_time()
        seen = len(audit.entries)
        for node in cluster.embedded.fleet.names(NodeType.SPOT)[:LOST]:
            await cluster.reclaim(node)
        await asyncio.sleep(AFTERMATH_SECONDS)
        cpu = time.process_time() - cpu
        entries = audit.entries[seen:]
    first = next(e.at for e in entries if (e.verb, e.plural, e.subresource) == NEW_POD) - began
    requests = Counter(
        f"{entry.verb} {entry.plural}" + (f"/{entry.subresource}" if entry.subresource else "")
        for entry in entries
        if entry.user == cluster.user and entry.plural != "leases"
    )
    details = ", ".join(f"{count} {what}" for what, count in requests.most_common(5))
    return [
        Figure(
            name="storm: first replacement admitted",
            value=first.total_seconds(),
            unit="s",
            at_most=1.0,
            how=f"{LOST} of {SPOT_NODES} spot nodes end; {WORKLOADS * REPLICAS:,} pods",
        ),
        Figure(
            name="storm: API requests in 10 minutes",
            value=requests.total(),
            unit="requests",
            how=details,
        ),
        Figure(
            name="storm: CPU in 10 minutes",
            value=cpu,
            unit="s",
            how="operator and embedded cluster",
        ),
    ]
