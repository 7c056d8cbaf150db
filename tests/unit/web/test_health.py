"""What the probes are told, from which facts."""

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
WELL = HealthState(
    leader=True, leader_election="active", webhook_server="running", controllers="started"
)


def test_a_well_process_answers_what_the_contract_says() -> None:
    status, body = healthz(WELL, NOW)
    assert status == 200
    assert json.loads(body) == {
        "status": "ok",
        "timestamp": "2026-11-23T10:00:00Z",
        "version": spotalis.__version__,
        "leader": True,
    }


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        pytest.param({"stalled": True}, 503, id="a stalled event loop is unhealthy"),
        pytest.param({"task_ended": True}, 503, id="a task that ended is unhealthy"),
        pytest.param(
            {"task_ended": True, "shutting_down": True}, 200, id="tasks end while shutting down"
        ),
        pytest.param({"api_reachable": False}, 200, id="an unreachable API server is not"),
        pytest.param({"certificate_expired": True}, 200, id="an expired certificate is not"),
        pytest.param({"caches": "waiting for pods"}, 200, id="caches being filled are not"),
        pytest.param({"leader": False, "leader_election": "standby"}, 200, id="a standby is not"),
    ],
)
def test_unhealthy_is_only_what_a_restart_would_cure(facts: dict[str, Any], status: int) -> None:
    answered, body = healthz(replace(WELL, **facts), NOW)
    assert answered == status
    assert json.loads(body)["status"] == ("ok" if status == 200 else "unhealthy")
    assert json.loads(body).keys() == {"status", "timestamp", "version", "leader"}


def test_a_ready_process_answers_what_the_contract_says() -> None:
    status, body = readyz(WELL)
    assert status == 200
    assert json.loads(body) == {
        "status": "ready",
        "leader_election": "active",
        "webhook_server": "running",
        "controllers": "started",
        "caches": "synced",
    }


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        pytest.param({"caches": "waiting for pods"}, "CachesNotSynced", id="caches"),
        pytest.param({"api_reachable": False}, "APIServerUnreachable", id="API server"),
        pytest.param({"certificate_expired": True}, "CertificateExpired", id="certificate"),
        pytest.param({"webhook_server": "waiting"}, "WebhookNotServing", id="webhook"),
        pytest.param({"shutting_down": True}, "ShuttingDown", id="shutdown"),
    ],
)
def test_a_process_that_cannot_answer_reviews_well_is_not_ready_and_says_why(
    facts: dict[str, Any], because: str
) -> None:
    status, body = readyz(replace(WELL, **facts))
    assert status == 503
    assert json.loads(body)["status"] == "not ready"
    assert json.loads(body)["not_ready_because"] == [because]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(
            {"leader": False, "leader_election": "standby", "controllers": "waiting"},
            id="a standby, which answers reviews",
        ),
        pytest.param({"leader_election": "disabled"}, id="no leader election"),
        pytest.param({"webhook_server": "disabled"}, id="no webhook"),
    ],
)
def test_ready_is_also(facts: dict[str, Any]) -> None:
    status, body = readyz(replace(WELL, **facts))
    assert status == 200
    for key in ("leader_election", "webhook_server", "controllers"):
        assert json.loads(body)[key] == facts.get(key, getattr(WELL, key))


def test_several_reasons_are_all_told() -> None:
    _, body = readyz(replace(WELL, caches="waiting for nodes", shutting_down=True))
    assert json.loads(body)["not_ready_because"] == ["ShuttingDown", "CachesNotSynced"]


def test_the_lag_is_how_much_later_than_a_second_the_beat_comes() -> None:
    clock, told = ManualClock(), list[float]()
    watch = EventLoopMonitor(clock, report=told.append)
    clock.advance(1.0)
    watch.beat()
    clock.advance(1.25)
    watch.beat()
    clock.advance(1.0)
    watch.beat()
    assert told == pytest.approx([0.0, 0.25, 0.25])


def test_a_lag_is_forgotten_after_a_minute() -> None:
    clock = ManualClock()
    watch = EventLoopMonitor(clock)
    clock.advance(3.0)
    watch.beat()
    for _ in range(59):
        clock.advance(1.0)
        watch.beat()
    assert watch.worst_seconds == pytest.approx(2.0)
    clock.advance(1.0)
    watch.beat()
    assert watch.worst_seconds == pytest.approx(0.0)


def test_a_loop_is_stalled_while_its_beat_is_ten_seconds_overdue() -> None:
    clock = ManualClock()
    watch = EventLoopMonitor(clock)
    clock.advance(10.9)
    assert not watch.stalled()
    clock.advance(0.2)
    assert watch.stalled()
    watch.beat()
    assert not watch.stalled()


async def test_a_blocked_loop_is_measured() -> None:
    class RealClock(ManualClock):
        def monotonic(self) -> float:
            return perf_counter()

    measured = asyncio.Event()
    lags: list[float] = []

    def report(seconds: float) -> None:
        lags.append(seconds)
        measured.set()

    watch = EventLoopMonitor(RealClock(), report=report, interval_seconds=0.01)
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0)  # let it set its timer
    until = perf_counter() + 0.1
    while perf_counter() < until:
        pass
    await measured.wait()
    running.cancel()
    assert lags[0] > 0.05
