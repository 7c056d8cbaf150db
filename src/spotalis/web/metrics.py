"""Everything that is counted, under the names of the contract (behaviour.md 8).

Whoever has something to count gets a method of :class:`Metrics` as a callable, and knows nothing
of Prometheus. What only has to be read when a scrape comes is in :mod:`spotalis.web.exposition`.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from spotalis.web.exposition import Snapshot, write

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

WEBHOOK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds: from a review answered from memory to the timeout of our webhook configuration."""
RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: from a plan that holds, through one that writes, to an API server in trouble."""
API_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_EOF = b"# EOF\n"
_Child = TypeVar("_Child", bound=MetricWrapperBase)

# A second series beside each counter with the time of its birth: nobody asks, and it doubles them.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # no annotations


class _Family(Collector):
    """One metric, so that a registry can be written one metric at a time."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


class _Children(dict[tuple[str, ...], _Child]):
    """The series of one metric by their label values; four times as fast as asking for them."""

    def __init__(self, metric: _Child) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> _Child:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """The counters and gauges of one process, in a registry of their own."""

    def __init__(self, *, version: str, revision: str = "unknown") -> None:
        """Register every metric; those without labels show 0 from the start."""
        r = self._registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=r)  # memory, CPU, descriptors from /proc
        Gauge(
            "spotalis_build_info",
            "1 for the version that runs.",
            ("version", "revision", "python"),
            registry=r,
        ).labels(version, revision, platform.python_version()).set(1)
        self._reconciliations = _Children(
            Counter(
                "spotalis_reconciliations",
                "Workloads looked at, by what was done.",
                ("workload_type", "action", "result"),
                registry=r,
            )
        )
        self._reconciliation_seconds = Histogram(
            "spotalis_reconciliation_duration_seconds",
            "How long looking at one workload took.",
            buckets=RECONCILE_BUCKETS,
            registry=r,
        )
        self._reconciliation_errors = _Children(
            Counter(
                "spotalis_reconciliation_errors",
                "Workloads whose turn ended in an error.",
                ("workload_type", "error_type"),
                registry=r,
            )
        )
        self._evictions = _Children(
            Counter(
                "spotalis_evictions",
                "Evictions asked for, by the class moved to and by the API server's answer.",
                ("namespace", "workload_type", "target", "outcome"),
                registry=r,
            )
        )
        self._webhook_requests = _Children(
            Counter(
                "spotalis_webhook_requests",
                "Admission reviews, by how they were answered.",
                ("operation", "result"),
                registry=r,
            )
        )
        self._webhook_seconds = Histogram(
            "spotalis_webhook_request_duration_seconds",
            "How long an admission review took, from its head to its answer.",
            buckets=WEBHOOK_BUCKETS,
            registry=r,
        )
        self._mutations = _Children(
            Counter(
                "spotalis_webhook_mutations",
                "Pods patched, by what was patched.",
                ("mutation_type",),
                registry=r,
            )
        )
        self._forwarded = _Children(
            Counter(
                "spotalis_webhook_forwarded",
                "Reviews of managed pods, by how this replica came to a decision: led, forwarded "
                "to the leader, or decided alone, and why.",
                ("result",),
                registry=r,
            )
        )
        self._leader = Gauge(
            "spotalis_leader_election_status", "1 while this replica leads.", registry=r
        )
        self._leadership_changes = Counter(
            "spotalis_leadership_changes",
            "Times that this replica began or ceased to lead.",
            registry=r,
        )
        self._api_requests = _Children(
            Counter(
                "spotalis_api_requests",
                "Requests to the API server; code is none where no answer came.",
                ("verb", "resource", "code"),
                registry=r,
            )
        )
        self._api_seconds = _Children(
            Histogram(
                "spotalis_api_request_duration_seconds",
                "How long the API server took to answer; watches count until they open.",
                ("verb",),
                buckets=API_BUCKETS,
                registry=r,
            )
        )
        self._watch_restarts = _Children(
            Counter(
                "spotalis_watch_restarts",
                "Watches begun again, whatever ended the last one.",
                ("resource",),
                registry=r,
            )
        )
        self._loop_lag = Gauge(
            "spotalis_event_loop_lag_seconds",
            "The longest that the event loop kept a timer waiting within the last minute.",
            registry=r,
        )
        self._certificate_expires = Gauge(
            "spotalis_webhook_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate ends, in Unix time; 0 without one.",
            registry=r,
        )
        self._leading = False

    def record_reconciliation(
        self, workload_type: str, action: str, result: str, seconds: float
    ) -> None:
        """A workload's turn is over."""
        self._reconciliations[workload_type, action, result].inc()
        self._reconciliation_seconds.observe(seconds)

    def record_reconciliation_error(self, workload_type: str, error_type: str) -> None:
        """A turn ended in an error; ``error_type`` is from a small fixed set, never a message."""
        self._reconciliation_errors[workload_type, error_type].inc()

    def record_eviction(
        self, namespace: str, workload_type: str, target: str, outcome: str
    ) -> None:
        """The API server answered an eviction, or did not."""
        self._evictions[namespace, workload_type, target, outcome].inc()

    def record_webhook_request(self, operation: str, result: str, seconds: float) -> None:
        """A review was answered, or refused."""
        self._webhook_requests[operation, result].inc()
        self._webhook_seconds.observe(seconds)

    def record_admission(self, kind: str) -> None:
        """A pod was patched."""
        self._mutations[(kind,)].inc()

    def record_forward(self, way: str) -> None:
        """A review was decided, by the leader or without it."""
        self._forwarded[(way,)].inc()

    def set_leader(self, leading: bool) -> None:
        """Whether this replica leads now; may be told as often as one likes."""
        if leading != self._leading:
            self._leadership_changes.inc()
        self._leading = leading
        self._leader.set(leading)

    def record_api_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """The API server answered with an HTTP status, or ``none`` came."""
        self._api_requests[verb, resource, code].inc()
        self._api_seconds[(verb,)].observe(seconds)

    def record_watch_restart(self, resource: str) -> None:
        """A watch ended and is begun again."""
        self._watch_restarts[(resource,)].inc()

    def set_event_loop_lag(self, seconds: float) -> None:
        """The worst lag of late (:class:`spotalis.web.health.EventLoopMonitor`)."""
        self._loop_lag.set(seconds)

    def set_certificate_expiry(self, at: datetime) -> None:
        """The webhook shows a certificate that is valid until then."""
        self._certificate_expires.set(at.timestamp())

    async def expose(self, snapshot: Snapshot, *, open_metrics: bool) -> AsyncIterator[bytes]:
        """Everything as text, in pieces, with turns of the event loop between them."""
        for metric in self._registry.collect():
            if open_metrics:
                text: bytes = openmetrics.generate_latest(_Family(metric))  # type: ignore[no-untyped-call]  # nor here
                yield text.removesuffix(_EOF)
            else:
                yield exposition.generate_latest(_Family(metric))
            await asyncio.sleep(0)
        async for piece in write(snapshot):
            yield piece
        if open_metrics:
            yield _EOF


def content_type(accept: str) -> str:
    """What to answer to an Accept header: OpenMetrics to those that name it, text to the rest."""
    return OPEN_METRICS if "application/openmetrics-text" in accept else TEXT
