"""A real process beside objects and requests that are as large as the API server accepts.

A tenant may create all of them. The process stays below its memory limit, answers the requests of
others, and moves the replicas of other workloads.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from spotalis.model.nodes import NodeType
from tests.contract.test_hostile_callers import attacked_operator, expect_patches, known_client
from tests.integration.setting_probes import CERTIFICATE
from tests.support.cluster import CAPACITY_TYPE_LABEL, policy, workload_body
from tests.support.hostile_callers import REVIEW
from tests.support.http_caller import Caller, ask
from tests.support.operator_process import OperatorProcess, trusting

MERGE = "application/merge-patch+json"
MOST_REPLICAS = 2**31 - 1
"""The largest value that the API server accepts."""
MOVE_SECONDS = 120.0
NOWHERE = "no-scheduler"
"""Pods that name this scheduler stay Pending."""


async def expect_moves(it: OperatorProcess) -> None:
    """Change the split of a workload of another tenant, and expect it to be reached."""
    for percentage, split in (("25", (3, 1)), ("50", (2, 2))):
        await it.wish("shop", "api", "spot-percentage", percentage)
        await wait_for_ready(it, "api", on_demand=split[0], spot=split[1])


async def add_pending_pods(it: OperatorProcess) -> None:
    """50 Pending pods with 5,000 terms each, and 5,000 plain ones, beside 100 more nodes."""
    await it.cluster.fleet.add(spot=100)
    await it.cluster.stop_controller("scheduler")  # It would look at each of them each time.
    terms = [
        {"matchExpressions": [{"key": "example.com/rack", "operator": "In", "values": [str(n)]}]}
        for n in range(5_000)
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    for number in range(5_050):
        pod: dict[str, Any] = {
            "metadata": {"name": f"waiting-{number}", "namespace": "data"},
            "spec": {
                "schedulerName": NOWHERE,
                "nodeSelector": {CAPACITY_TYPE_LABEL: str(NodeType.SPOT)},
                "containers": [{"name": "main", "image": "registry.example/main:1"}],
            },
        }
        if number < 50:
            pod["spec"]["affinity"] = {"nodeAffinity": required}
        await it.cluster.api.create("pods", pod)
        await asyncio.sleep(0)
    await it.cluster.start_controller("scheduler")


async def write_unknown_keys(it: OperatorProcess) -> None:
    """A Deployment with 4,000 keys that Spotalis does not know, changed twenty times."""
    body = workload_body("Deployment", "keys", 0, policy(50))
    keys = {f"spotalis.io/spot-percentag{n:04}": "x" for n in range(4_000)}
    body["metadata"] |= {"namespace": "data", "annotations": body["metadata"]["annotations"] | keys}
    await it.cluster.api.create("deployments", body)
    for version in range(20):
        change = {"metadata": {"labels": {"version": str(version)}}}
        await it.cluster.api.patch("deployments", "data", "keys", change, patch_type=MERGE)

    def messages() -> list[str]:
        return [
            event["message"]
            for event in it.cluster.store.list("events")
            if event["involvedObject"]["name"] == "keys"
        ]

    async with asyncio.timeout(60):
        while not any("and 3994 more are not read" in message for message in messages()):
            await asyncio.sleep(0.2)
    assert len(messages()) == 6


async def send_long_uids(it: OperatorProcess) -> None:
    """Admission requests whose UID is almost as long as a body may be."""
    body = REVIEW.replace(b'"uid":"a"', b'"uid":"%s"' % (b"u" * 6_900_000)) % b""
    for _ in range(5):
        status = (await ask(it.ports[0], "POST", "/mutate", body, tls=trusting())).status
        assert status == 400


async def hide_an_encoding(it: OperatorProcess) -> None:
    """A request with a second Content-Encoding, behind one that is accepted."""
    async with Caller(it.ports[0], trusting()) as caller:
        head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += "Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n"
        await caller.send(head.encode() + b"{}")
        assert (await caller.answer()).status == 415


async def ask_for_most_replicas(it: OperatorProcess) -> None:
    """A Deployment that wants two thousand million replicas; one admission, and dry runs."""
    await it.deploy("data", "huge", 1, policy(70), "1m")
    async with asyncio.timeout(60):
        while await it.replicas("huge", "ready") not in ({"on-demand": 1}, {"spot": 1}):
            await asyncio.sleep(0.1)
    for controller in ("deployment", "replicaset"):  # They would create the pods.
        await it.cluster.stop_controller(controller)
    for plural in ("replicasets", "deployments"):
        for each in it.cluster.store.list(plural):
            name = each["metadata"]["name"]
            if name.startswith("huge"):
                change = {"spec": {"replicas": MOST_REPLICAS}}
                await it.cluster.api.patch(plural, "data", name, change, patch_type=MERGE)
    async with asyncio.timeout(60):
        while sum((await it.replicas("huge", "desired")).values()) != MOST_REPLICAS:
            await asyncio.sleep(0.1)
    for dry_run in (True, True, False, True):
        assert await it.review("huge", dry_run=dry_run)


def webhook_operator(tmp_path: Path) -> AbstractAsyncContextManager[OperatorProcess]:
    """A process whose webhook the cluster calls."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(CERTIFICATE.pair.cert_pem)
    key.write_bytes(CERTIFICATE.pair.key_pem)
    serving = {"certificateFile": str(certificate), "keyFile": str(key)}
    return attacked_operator(tmp_path, serving=serving, webhook_ca=CERTIFICATE.ca_pem)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_objects_and_requests_of_any_size_stop_neither_moves_nor_admissions_of_others(
    tmp_path: Path,
) -> None:
    async with webhook_operator(tmp_path) as it, known_client(it) as kept:
        for attack in (hide_an_encoding, send_long_uids, write_unknown_keys, add_pending_pods):
            await attack(it)
            await expect_moves(it)
            await expect_patches(it, kept, 0.0)
        await ask_for_most_replicas(it)
        await expect_patches(it, kept, 0.0)


async def wait_for_ready(it: OperatorProcess, workload: str, **replicas: int) -> None:
    """Wait for the ready replicas by capacity type."""
    wanted = {node_type.replace("_", "-"): count for node_type, count in replicas.items()}
    async with asyncio.timeout(MOVE_SECONDS):
        while await it.replicas(workload, "ready") != wanted:
            await asyncio.sleep(0.2)


@pytest.mark.long  # 5 minutes
async def test_a_probe_that_does_not_end_delays_the_probe_of_another_namespace_by_5_minutes(
    tmp_path: Path,
) -> None:
    """The scheduler stops, so that it says nothing about the pod of the first probe."""
    async with webhook_operator(tmp_path) as it:
        for workload in ("api", "db"):
            await wait_for_ready(it, workload, on_demand=2, spot=2)
        for namespace, name in (("shop", "first"), ("data", "second")):
            await it.deploy(namespace, name, 2, policy(0, 0), "1m")
            await wait_for_ready(it, name, on_demand=2)
        for node in it.cluster.store.list("nodes"):
            is_spot = node["metadata"]["labels"].get(CAPACITY_TYPE_LABEL) == "spot"
            change: dict[str, Any] = {"metadata": {"labels": {"karpenter.sh/nodepool": None}}}
            change |= {"spec": {"unschedulable": True}} if is_spot else {}
            name = node["metadata"]["name"]
            await it.cluster.api.patch("nodes", "", name, change, patch_type=MERGE)
        await it.cluster.stop_controller("scheduler")
        await it.wish("shop", "first", "spot-percentage", "100")
        async with asyncio.timeout(MOVE_SECONDS):
            while not it.evicted("first"):
                await asyncio.sleep(0.1)
        clock = asyncio.get_running_loop()
        began = clock.time()
        await it.wish("data", "second", "spot-percentage", "100")
        async with asyncio.timeout(600):
            while not it.evicted("second"):
                await asyncio.sleep(0.5)
        assert 295 < clock.time() - began < 420
        assert it.evicted("first") == 1
