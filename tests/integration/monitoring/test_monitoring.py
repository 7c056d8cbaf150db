"""Real Prometheus scrapes the operator: each alert fires in its story and is resolved after it,
and each query of the dashboards finds data.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scripts.dashboards import PAGES, render
from tests.support.cluster import TestCluster, policy
from tests.support.operator_replicas import HOME
from tests.support.prometheus import CHART_FILES, Prometheus, prometheus_beside
from tests.support.real_cluster import RealTestCluster
from tests.support.scenarios import only_real

DASHBOARDS = sorted((CHART_FILES / "dashboards").glob("*.json"))
_ROLE = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{HOME}/roles/spotalis"
_VARIABLES = {
    "$job": "spotalis",
    "$namespace": "default",
    "$workload": "web",
    "$__rate_interval": "1m",
}


def _on_webhook(cluster: TestCluster) -> tuple[str, int, ssl.SSLContext]:
    assert isinstance(cluster, RealTestCluster)
    host, _, port = cluster.addresses[0].partition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return host, int(port), context


async def _post(cluster: TestCluster, body: bytes, *, seconds: float = 0.0) -> None:
    """Send a request whose body arrives after some seconds."""
    host, port, context = _on_webhook(cluster)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    head = "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        await asyncio.sleep(seconds)
        writer.write(body)
        await reader.read()
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _repeated(cluster: TestCluster, *, seconds: float = 0.0) -> AsyncIterator[None]:
    """Send invalid requests, one after the other, during the block."""

    async def repeat() -> None:
        while True:
            await _post(cluster, b"{}", seconds=seconds)
            await asyncio.sleep(0.2)

    sending = asyncio.create_task(repeat())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@only_real
async def test_the_alert_of_an_absent_operator_fires_until_it_runs(cluster: TestCluster) -> None:
    async with prometheus_beside(cluster) as prometheus:
        await prometheus.wait_until_fires("SpotalisDown")
        cluster.webhook_unreachable = True
        flags = ["--webhook-certificates-duration", "240h"]
        async with cluster.operator(*flags):
            await prometheus.wait_until_resolved("SpotalisDown")
            await prometheus.wait_until_fires("SpotalisCertificateExpiring")
            # The API server does not reach the webhook: a replacement lands on spot again.
            await cluster.add_nodes(spot=3)
            await cluster.create_deployment("web", 4, policy(100))
            await cluster.wait_for_split("web", 0, 4)
            await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
            await prometheus.wait_until_fires("SpotalisWebhookNotCalled")
            await cluster.add_nodes(on_demand=3)
            await cluster.restore_webhook()
            await cluster.scale("Deployment", "web", 6)
            await prometheus.wait_until_resolved("SpotalisWebhookNotCalled")
        await cluster.api.raw("DELETE", f"/api/v1/namespaces/{HOME}/secrets/spotalis-webhook")
        async with cluster.operator():
            await prometheus.wait_until_resolved("SpotalisCertificateExpiring")


@only_real
async def test_the_alerts_of_workloads_fire_and_are_resolved(cluster: TestCluster) -> None:
    await cluster.add_nodes(on_demand=2)
    async with prometheus_beside(cluster) as prometheus, cluster.operator():
        # No spot node.
        fallback = policy(100, spot_fallback="1s")
        await cluster.create_deployment("cheap", 2, fallback)
        await prometheus.wait_until_fires("SpotalisSpotUnavailable")
        await cluster.add_nodes(spot=2)
        await prometheus.wait_until_resolved("SpotalisSpotUnavailable")
        # A budget that allows no eviction, then too few on-demand replicas.
        await cluster.create_deployment("web", 4, policy(100))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.create_budget("web", "web", minAvailable=4)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await prometheus.wait_until_fires("SpotalisWorkloadOffTarget")
        await prometheus.wait_until_fires("SpotalisOnDemandReplicasMissing")
        await cluster.delete_budget("web")
        await prometheus.wait_until_resolved("SpotalisWorkloadOffTarget")
        await prometheus.wait_until_resolved("SpotalisOnDemandReplicasMissing")
        # A policy that cannot be read.
        await cluster.annotate("Deployment", "web", {"spot-percentage": "half"})
        await prometheus.wait_until_fires("SpotalisPolicyInvalid")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await prometheus.wait_until_resolved("SpotalisPolicyInvalid")


@pytest.mark.long
@only_real
async def test_the_alerts_of_the_operator_fire_and_are_resolved(cluster: TestCluster) -> None:
    assert isinstance(cluster, RealTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with prometheus_beside(cluster) as prometheus, cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        async with _repeated(cluster):
            await prometheus.wait_until_fires("SpotalisWebhookErrors")
        await prometheus.wait_until_resolved("SpotalisWebhookErrors")
        async with _repeated(cluster, seconds=1.0):
            await prometheus.wait_until_fires("SpotalisWebhookSlow")
        await prometheus.wait_until_resolved("SpotalisWebhookSlow")
        await _deny_ledgers(cluster, prometheus)
        cluster.plane.pause("kube-apiserver")
        try:
            await prometheus.wait_until_fires("SpotalisCacheStale")
            await prometheus.wait_until_fires("SpotalisNoLeader")
        finally:
            cluster.plane.resume("kube-apiserver")
        await prometheus.wait_until_resolved("SpotalisCacheStale")
        await prometheus.wait_until_resolved("SpotalisNoLeader")
        await _dashboards_find_data(cluster, prometheus)


async def _deny_ledgers(cluster: TestCluster, prometheus: Prometheus) -> None:
    """A move needs a ledger; the right to write it is taken away for a while."""
    assert isinstance(cluster, RealTestCluster)
    cluster.expects_denials = True
    role = json.loads((await cluster.api.raw("GET", _ROLE)).body)
    role["metadata"].pop("resourceVersion")
    without = [rule for rule in role["rules"] if "configmaps" not in rule["resources"]]
    await cluster.api.raw("PUT", _ROLE, role | {"rules": without})
    await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
    await prometheus.wait_until_fires("SpotalisReconcileErrors")
    await cluster.api.raw("PUT", _ROLE, role)
    await prometheus.wait_until_resolved("SpotalisReconcileErrors")
    await cluster.wait_for_split("web", 1, 3)


async def _dashboards_find_data(cluster: TestCluster, prometheus: Prometheus) -> None:
    """Each query finds data while a workload is off target after evictions."""
    await cluster.create_budget("web", "web", minAvailable=4)
    await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
    await cluster.wait_for_status("web", "BlockedByPDB")

    async def without_data() -> list[str]:
        return [query for query in _queries() if not await prometheus.query(query)]

    async def all_find_data() -> bool:
        return not await without_data()

    async def missing() -> str:
        return "\n".join(await without_data())

    await cluster.wait_until(all_find_data, "each query finds data", instead=missing)


def _queries() -> Iterator[str]:
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield _with_values(target["expr"])


def _with_values(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_each_variable_of_the_dashboards_is_declared_and_each_panel_has_its_own_id() -> None:
    for file in DASHBOARDS:
        document: dict[str, Any] = json.loads(file.read_text())
        declared = {variable["name"] for variable in document["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(document["panels"])))
        assert used <= declared, file.name
        ids = [panel["id"] for panel in document["panels"]]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_the_dashboards_are_as_the_script_writes_them(file: Any) -> None:
    assert file.read_text() == render(PAGES[file.name]())
