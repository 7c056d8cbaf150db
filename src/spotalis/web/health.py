"""The answers of the liveness and readiness probes, as pure functions of the instance's state."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from spotalis import __version__
from spotalis.model.environment import Clock
from spotalis.model.timestamps import format_time

WINDOW_SECONDS = 60.0
"""Longer than the usual 30 s between two scrapes, so that Prometheus sees every stall."""
STALLED_SECONDS = 10.0
"""A loop with this lag cannot renew its Lease either: the renew deadline is 10 s by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """The state of one instance at the time of a probe."""

    leader: bool
    leader_election: Literal["active", "standby", "disabled"]
    webhook_server: Literal["running", "stopped"]
    controllers: Literal["started", "waiting"]
    """``waiting`` until the first list of every watched resource has arrived."""
    caches: str = "synced"
    """``synced``, or the resources not listed yet: ``waiting for pods, nodes``."""
    denied: tuple[str, ...] = ()
    """The lists that the API server denies: ``pods in shop``. Other workloads are served."""
    stalled: bool = False
    """The event loop does not run (:meth:`EventLoopMonitor.is_stalled`)."""
    certificate_expired: bool = False
    shutting_down: bool = False
    api_reachable: bool = True


def healthz(state: HealthState, now: datetime) -> tuple[int, bytes]:
    """Return the HTTP status and the JSON body of the liveness probe.

    An instance is unhealthy only if a restart would help. An unreachable API server or an expired
    certificate does not count: a restart would only discard the caches. A failed task does not
    need a probe, because it ends the process.
    """
    body = {
        "status": "unhealthy" if state.stalled else "ok",
        "timestamp": format_time(now),
        "version": __version__,
        "leader": state.leader,
    }
    return 503 if state.stalled else 200, msgspec.json.encode(body)


def readyz(state: HealthState) -> tuple[int, bytes]:
    """Return the HTTP status and the JSON body of the readiness probe.

    An instance is ready if it can answer admission requests, whether or not it is the leader.
    ``not_ready_because`` lists every reason for not being ready; it is absent from the body of a
    ready instance.
    """
    conditions = {
        "ShuttingDown": state.shutting_down,
        "CachesNotSynced": state.caches != "synced",
        "APIServerUnreachable": not state.api_reachable,
        "WebhookNotServing": state.webhook_server == "stopped",
        "CertificateExpired": state.certificate_expired,
    }
    reasons = [reason for reason, holds in conditions.items() if holds]
    body: dict[str, object] = {
        "status": "not ready" if reasons else "ready",
        "leader_election": state.leader_election,
        "webhook_server": state.webhook_server,
        "controllers": state.controllers,
        "caches": state.caches,
    }
    if state.denied:
        body["denied"] = state.denied
    if reasons:
        body["not_ready_because"] = reasons
    return 503 if reasons else 200, msgspec.json.encode(body)


class EventLoopMonitor:
    """Measures the lag of the event loop with a timer that is due every second."""

    def __init__(
        self,
        clock: Clock,
        *,
        on_lag: Callable[[float], None] = lambda seconds: None,
        interval_seconds: float = 1.0,
    ) -> None:
        """Start measuring now; :meth:`run` keeps the timer going.

        ``on_lag`` is called after every beat with the longest lag within the window, in seconds.
        """
        self._clock = clock
        self._on_lag = on_lag
        self._interval = interval_seconds
        self._lags: deque[float] = deque(maxlen=round(WINDOW_SECONDS / interval_seconds))
        self._last_beat = clock.monotonic()

    @property
    def longest_lag_seconds(self) -> float:
        """The longest lag within the window."""
        return max(self._lags, default=0.0)

    def is_stalled(self) -> bool:
        """Whether the next beat is overdue by ``STALLED_SECONDS``."""
        return self._lag() > STALLED_SECONDS

    def beat(self) -> None:
        """Record the lag of this beat."""
        self._lags.append(max(0.0, self._lag()))
        self._last_beat = self._clock.monotonic()
        self._on_lag(self.longest_lag_seconds)

    async def run(self) -> None:
        """Beat until cancelled."""
        self._last_beat = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            self.beat()

    def _lag(self) -> float:
        return self._clock.monotonic() - self._last_beat - self._interval
