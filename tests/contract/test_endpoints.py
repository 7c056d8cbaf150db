"""The health and metrics endpoints (docs/reference/behaviour.md, "Endpoints")."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from spotalis.web.exposition import Snapshot, WorkloadRow
from spotalis.web.health import HealthState
from spotalis.web.metrics import Metrics
from spotalis.web.server import health_server, metrics_server
from tests.support.http_caller import ask
from tests.support.manual_clock import ManualClock
from tests.support.metrics_text import families_of_open_metrics, families_of_text

ROWS = [
    WorkloadRow(
        namespace="shop",
        workload=f"api-{number}",
        workload_type="deployment",
        reason="Balanced",
        replicas=(("spot", "ready", 7), ("on-demand", "ready", 3)),
    )
    for number in range(1000)
]


class Served:
    """Both servers, and the state that the health server reports."""

    state = HealthState(
        leader=True, leader_election="active", webhook_server="running", controllers="started"
    )
    health = 0
    metrics = 0


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    it = Served()
    clock = ManualClock()
    health = health_server(lambda: it.state, clock=clock)
    metrics = metrics_server(
        Metrics(version="0.1.0"), lambda: Snapshot(workloads=ROWS), clock=clock
    )
    it.health = await health.start("127.0.0.1", 0)
    it.metrics = await metrics.start("127.0.0.1", 0)
    yield it
    await health.stop()
    await metrics.stop()


async def test_healthz_reports_the_current_state(served: Served) -> None:
    healthy = await ask(served.health, "GET", "/healthz")
    assert (healthy.status, healthy.json()["status"], healthy.json()["leader"]) == (200, "ok", True)
    assert healthy.json()["timestamp"] == "2026-11-23T10:00:00Z"
    served.state = replace(served.state, stalled=True, leader=False)
    unhealthy = await ask(served.health, "GET", "/healthz")
    assert (unhealthy.status, unhealthy.json()["status"], unhealthy.json()["leader"]) == (
        503,
        "unhealthy",
        False,
    )


async def test_readyz_reports_the_current_state(served: Served) -> None:
    assert (await ask(served.health, "GET", "/readyz")).json() == {
        "status": "ready",
        "leader_election": "active",
        "webhook_server": "running",
        "controllers": "started",
        "caches": "synced",
    }
    served.state = replace(served.state, caches="waiting for pods")
    waiting = await ask(served.health, "GET", "/readyz")
    assert (waiting.status, waiting.json()["caches"]) == (503, "waiting for pods")


async def test_metrics_are_text_unless_the_client_accepts_openmetrics(served: Served) -> None:
    plain = await ask(served.metrics, "GET", "/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    opened = await ask(served.metrics, "GET", "/metrics", headers=accept)
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    for families in (
        families_of_text(plain.body.decode()),
        families_of_open_metrics(opened.body.decode()),
    ):
        counts = {family.name: len(family.samples) for family in families}
        assert counts["spotalis_workload_replicas"] == 2000
        assert counts["spotalis_workload_status"] == 1000


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_head_returns_the_headers_of_get_without_a_body(served: Served, path: str) -> None:
    port = served.metrics if path == "/metrics" else served.health
    head, get = await ask(port, "HEAD", path), await ask(port, "GET", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nowhere"])
async def test_responses_forbid_caching_and_use_in_a_browser(served: Served, path: str) -> None:
    reply = await ask(served.metrics if path == "/metrics" else served.health, "GET", path)
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


async def test_each_port_serves_only_its_own_paths(
    served: Served,
) -> None:
    assert (await ask(served.metrics, "GET", "/healthz")).status == 404
    assert (await ask(served.health, "GET", "/metrics")).status == 404
