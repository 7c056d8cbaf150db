"""The answers of the probes, and the monitor of the event loop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import pytest

import spotalis
from spotalis.web.health import EventLoopMonitor, HealthState, healthz, readyz
from tests.support.manual_clock import ManualClock

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HEALTHY = HealthState(
    leader=True, leader_election="active", webhook_server="running", controllers="started"
)


def test_healthz_of_a_healthy_instance() -> None:
    status, body = healthz(HEALTHY, NOW)
    assert status == 200
    assert json.loads(body) == {
        "status": "ok",
        "timestamp": "2026-11-23T10:00:00Z",
        "version": spotalis.__version__,
        "leader": True,
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"stalled": True}, 503, id="stalled event loop"),
        pytest.param({"api_reachable": False}, 200, id="unreachable API server"),
        pytest.param({"certificate_expired": True}, 200, id="expired certificate"),
        pytest.param({"caches": "waiting for pods"}, 200, id="caches not synced"),
        pytest.param({"leader": False, "leader_election": "standby"}, 200, id="standby"),
    ],
)
def test_healthz_fails_only_if_a_restart_would_help(changes: dict[str, Any], status: int) -> None:
    answered, body = healthz(replace(HEALTHY, **changes), NOW)
    assert answered == status
    assert json.loads(body)["status"] == ("ok" if status == 200 else "unhealthy")
    assert json.loads(body).keys() == {"status", "timestamp", "version", "leader"}


def test_readyz_of_a_ready_instance() -> None:
    status, body = readyz(HEALTHY)
    assert status == 200
    assert json.loads(body) == {
        "status": "ready",
        "leader_election": "active",
        "webhook_server": "running",
        "controllers": "started",
        "caches": "synced",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"caches": "waiting for pods"}, "CachesNotSynced", id="caches"),
        pytest.param({"api_reachable": False}, "APIServerUnreachable", id="API server"),
        pytest.param({"certificate_expired": True}, "CertificateExpired", id="certificate"),
        pytest.param({"webhook_server": "stopped"}, "WebhookNotServing", id="webhook"),
        pytest.param({"shutting_down": True}, "ShuttingDown", id="shutdown"),
    ],
)
def test_an_instance_that_cannot_answer_admission_requests_is_not_ready_and_reports_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    status, body = readyz(replace(HEALTHY, **changes))
    assert status == 503
    assert json.loads(body)["status"] == "not ready"
    assert json.loads(body)["not_ready_because"] == [reason]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"leader": False, "leader_election": "standby", "controllers": "waiting"},
            id="standby",
        ),
        pytest.param({"leader_election": "disabled"}, id="leader election disabled"),
    ],
)
def test_an_instance_is_ready_whether_or_not_it_is_the_leader(changes: dict[str, Any]) -> None:
    status, body = readyz(replace(HEALTHY, **changes))
    assert status == 200
    for key in ("leader_election", "webhook_server", "controllers"):
        assert json.loads(body)[key] == changes.get(key, getattr(HEALTHY, key))


def test_a_denied_list_is_named_and_does_not_make_an_instance_unready() -> None:
    status, body = readyz(replace(HEALTHY, denied=("pods in shop",)))
    assert (status, json.loads(body)["denied"]) == (200, ["pods in shop"])


def test_readyz_lists_every_reason() -> None:
    _, body = readyz(replace(HEALTHY, caches="waiting for nodes", shutting_down=True))
    assert json.loads(body)["not_ready_because"] == ["ShuttingDown", "CachesNotSynced"]


def test_the_lag_is_the_delay_of_a_beat_beyond_one_second() -> None:
    clock, reported = ManualClock(), list[float]()
    monitor = EventLoopMonitor(clock, on_lag=reported.append)
    clock.advance(1.0)
    monitor.beat()
    clock.advance(1.25)
    monitor.beat()
    clock.advance(1.0)
    monitor.beat()
    assert reported == pytest.approx([0.0, 0.25, 0.25])


def test_a_lag_leaves_the_window_after_a_minute() -> None:
    clock = ManualClock()
    monitor = EventLoopMonitor(clock)
    clock.advance(3.0)
    monitor.beat()
    for _ in range(59):
        clock.advance(1.0)
        monitor.beat()
    assert monitor.longest_lag_seconds == pytest.approx(2.0)
    clock.advance(1.0)
    monitor.beat()
    assert monitor.longest_lag_seconds == pytest.approx(0.0)


def test_the_loop_is_stalled_while_a_beat_is_ten_seconds_overdue() -> None:
    clock = ManualClock()
    monitor = EventLoopMonitor(clock)
    clock.advance(10.9)
    assert not monitor.is_stalled()
    clock.advance(0.2)
    assert monitor.is_stalled()
    monitor.beat()
    assert not monitor.is_stalled()


async def test_the_lag_of_a_blocked_loop_is_measured() -> None:
    class RealClock(ManualClock):
        def monotonic(self) -> float:
            return perf_counter()

    measured = asyncio.Event()
    lags: list[float] = []

    def report(seconds: float) -> None:
        lags.append(seconds)
        measured.set()

    monitor = EventLoopMonitor(RealClock(), on_lag=report, interval_seconds=0.01)
    running = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)  # the monitor starts its timer
    until = perf_counter() + 0.1
    while perf_counter() < until:
        pass
    await measured.wait()
    running.cancel()
    assert lags[0] > 0.05
