"""The endpoints as a probe, Prometheus and a browser meet them (behaviour.md 8)."""

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
        workload_type="Deployment",
        reason="Balanced",
        replicas=(("spot", "ready", 7), ("on-demand", "ready", 3)),
    )
    for number in range(1000)
]


class Served:
    """Both servers, and the facts that the health one tells."""

    facts = HealthState(
        leader=True, leader_election="active", webhook_server="running", controllers="started"
    )
    health = 0
    metrics = 0


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    it = Served()
    clock = ManualClock()
    health = health_server(lambda: it.facts, clock=clock)
    metrics = metrics_server(
        Metrics(version="0.1.0"), lambda: Snapshot(workloads=ROWS), clock=clock
    )
    it.health = await health.start("127.0.0.1", 0)
    it.metrics = await metrics.start("127.0.0.1", 0)
    yield it
    await health.stop()
    await metrics.stop()


async def test_healthz_follows_the_facts(served: Served) -> None:
    well = await ask(served.health, "GET", "/healthz")
    assert (well.status, well.json()["status"], well.json()["leader"]) == (200, "ok", True)
    assert well.json()["timestamp"] == "2026-11-23T10:00:00Z"
    served.facts = replace(served.facts, stalled=True, leader=False)
    ill = await ask(served.health, "GET", "/healthz")
    assert (ill.status, ill.json()["status"], ill.json()["leader"]) == (503, "unhealthy", False)


async def test_readyz_follows_the_facts(served: Served) -> None:
    assert (await ask(served.health, "GET", "/readyz")).json() == {
        "status": "ready",
        "leader_election": "active",
        "webhook_server": "running",
        "controllers": "started",
        "caches": "synced",
    }
    served.facts = replace(served.facts, caches="waiting for pods")
    waiting = await ask(served.health, "GET", "/readyz")
    assert (waiting.status, waiting.json()["caches"]) == (503, "waiting for pods")


async def test_metrics_are_text_unless_openmetrics_is_asked_for(served: Served) -> None:
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
async def test_head_answers_as_get_without_a_body(served: Served, path: str) -> None:
    port = served.metrics if path == "/metrics" else served.health
    head, get = await ask(port, "HEAD", path), await ask(port, "GET", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nowhere"])
async def test_no_answer_may_be_kept_or_do_anything_in_a_browser(served: Served, path: str) -> None:
    reply = await ask(served.metrics if path == "/metrics" else served.health, "GET", path)
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


async def test_health_is_not_on_the_metrics_port_nor_metrics_on_the_health_port(
    served: Served,
) -> None:
    assert (await ask(served.metrics, "GET", "/healthz")).status == 404
    assert (await ask(served.health, "GET", "/metrics")).status == 404
