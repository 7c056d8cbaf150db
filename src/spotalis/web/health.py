"""Is this process alive, and is it ready: decided purely, from facts that others gather."""

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
from spotalis.model.errors import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """What the answers depend on; as it is at this moment."""

    leader: bool
    leader_election: Literal["active", "standby", "disabled"]
    webhook_server: Literal["running", "disabled", "waiting"]
    """``waiting``: it is meant to run, and does not yet, or any more."""
    controllers: Literal["started", "waiting"]
    caches: str = "synced"
    """``synced``, or which resources are missing: ``waiting for pods, nodes``."""
    stalled: bool = False
    """The event loop does not turn (:class:`EventLoopMonitor`)."""
    task_ended: bool = False
    """A task that must run as long as the process, such as a watch, is over."""
    certificate_expired: bool = False
    shutting_down: bool = False
    api_reachable: bool = True


def healthz(facts: HealthState, now: datetime) -> tuple[int, bytes]:
    """Status and JSON: unhealthy is only what a restart would cure.

    An unreachable API server or an expired certificate is not: a restart would only lose the
    caches. A task that ends while the process shuts down is meant to.
    """
    healthy = not facts.stalled and (facts.shutting_down or not facts.task_ended)
    body = {
        "status": "ok" if healthy else "unhealthy",
        "timestamp": rfc3339(now),
        "version": __version__,
        "leader": facts.leader,
    }
    return 200 if healthy else 503, msgspec.json.encode(body)


def readyz(facts: HealthState) -> tuple[int, bytes]:
    """Status and JSON: ready is who can answer the API server's reviews, leader or not.

    While not ready, ``not_ready_because`` lists every reason; a ready answer has no such key.
    """
    because = [
        reason
        for reason, holds in (
            ("ShuttingDown", facts.shutting_down),
            ("CachesNotSynced", facts.caches != "synced"),
            ("APIServerUnreachable", not facts.api_reachable),
            ("WebhookNotServing", facts.webhook_server == "waiting"),
            ("CertificateExpired", facts.certificate_expired),
        )
        if holds
    ]
    body: dict[str, object] = {
        "status": "not ready" if because else "ready",
        "leader_election": facts.leader_election,
        "webhook_server": facts.webhook_server,
        "controllers": facts.controllers,
        "caches": facts.caches,
    }
    if because:
        body["not_ready_because"] = because
    return 503 if because else 200, msgspec.json.encode(body)


class EventLoopMonitor:
    """Measures how late the event loop is, by a timer that should go off every second."""

    def __init__(
        self,
        clock: Clock,
        *,
        report: Callable[[float], None] = lambda seconds: None,
        interval_seconds: float = 1.0,
        window_seconds: float = 60.0,
        stalled_seconds: float = 10.0,
    ) -> None:
        """Start the count; :meth:`run` keeps it.

        Args:
            clock: its monotonic seconds are compared.
            report: told the worst lag of the window, in seconds, after every beat.
            interval_seconds: between two beats.
            window_seconds: longer than Prometheus' usual 30 s between scrapes, so that it sees
                every stall.
            stalled_seconds: a loop that is so late cannot keep its Lease either, whose renew
                deadline is 10 s (:class:`spotalis.model.controller_configuration.LeaderElection`).
        """
        self._clock = clock
        self._report = report
        self._interval = interval_seconds
        self._stalled_seconds = stalled_seconds
        self._lags: deque[float] = deque(maxlen=max(1, round(window_seconds / interval_seconds)))
        self._last_beat = clock.monotonic()

    @property
    def worst_seconds(self) -> float:
        """The longest lag within the window."""
        return max(self._lags, default=0.0)

    def stalled(self) -> bool:
        """Whether the next beat is overdue, or its task gone."""
        return self._lag() > self._stalled_seconds

    def beat(self) -> None:
        """Note how late it is."""
        self._lags.append(max(0.0, self._lag()))
        self._last_beat = self._clock.monotonic()
        self._report(self.worst_seconds)

    async def run(self) -> None:
        """Beat until cancelled."""
        self._last_beat = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            self.beat()

    def _lag(self) -> float:
        return self._clock.monotonic() - self._last_beat - self._interval
