"""The counters, gauges and histograms of one instance.

Other packages report to :class:`Metrics` as :class:`Telemetry` and do not know Prometheus.
Metrics that are read at scrape time are in :mod:`spotalis.web.exposition`.
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

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.kube.watch import WatchReport
from spotalis.web.exposition import Snapshot, write

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

WEBHOOK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds: from an answer out of memory to the timeout of the webhook configuration."""
RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: from a reconcile that writes nothing to one that waits for a slow API server."""
API_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_EOF = b"# EOF\n"
_Child = TypeVar("_Child", bound=MetricWrapperBase)

# Without this, every counter has a second series with its creation time.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # no annotations


class _Family(Collector):
    """A single metric, so that a registry can be rendered one metric at a time."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


class _Children(dict[tuple[str, ...], _Child]):
    """The series of one metric by label values; four times as fast as ``labels()`` (measured)."""

    def __init__(self, metric: _Child) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> _Child:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Metrics(Telemetry):
    """The metrics of one process, in a registry of their own."""

    def __init__(self, *, version: str, revision: str = "unknown") -> None:
        """Register every metric; metrics without labels have the value 0 from the start."""
        self._registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        self._register_build_info(version, revision)
        self._register_controller_metrics()
        self._register_webhook_metrics()
        self._register_instance_metrics()
        self._leads = False

    def _register_build_info(self, version: str, revision: str) -> None:
        info = self._gauge(
            "spotalis_build_info",
            "1 for the running version.",
            labels=("version", "revision", "python"),
        )
        info.labels(version, revision, platform.python_version()).set(1)

    def _register_controller_metrics(self) -> None:
        self._reconciliations = self._counter(
            "spotalis_reconciliations",
            "Number of reconciles by action taken and status reason.",
            labels=("workload_type", "action", "result"),
        )
        self._reconciliation_seconds = self._histogram(
            "spotalis_reconciliation_duration_seconds",
            "Duration of the reconcile of one workload in seconds.",
            RECONCILE_BUCKETS,
        )
        self._reconciliation_errors = self._counter(
            "spotalis_reconciliation_errors",
            "Number of reconciles that ended in an error.",
            labels=("workload_type", "error_type"),
        )
        self._evictions = self._counter(
            "spotalis_evictions",
            "Number of eviction requests by target capacity type and outcome.",
            labels=("namespace", "workload_type", "target", "outcome"),
        )

    def _register_webhook_metrics(self) -> None:
        self._webhook_requests = self._counter(
            "spotalis_webhook_requests",
            "Number of admission requests by operation and result.",
            labels=("operation", "result"),
        )
        self._webhook_seconds = self._histogram(
            "spotalis_webhook_request_duration_seconds",
            "Duration of admission requests in seconds, from the request head to the response.",
            WEBHOOK_BUCKETS,
        )
        self._admissions = self._counter(
            "spotalis_webhook_mutations",
            "Number of admission decisions: the assigned capacity type, or why the pod is "
            "unchanged.",
            labels=("mutation_type",),
        )
        self._forwards = self._counter(
            "spotalis_webhook_forwarded",
            "Number of admission requests for managed pods, by whether the leader decided them "
            "and, if not, why.",
            labels=("result",),
        )
        self._certificate_expiry = self._gauge(
            "spotalis_webhook_certificate_expiry_timestamp_seconds",
            "Expiry of the webhook's certificate as a Unix timestamp; 0 without a certificate.",
        )

    def _register_instance_metrics(self) -> None:
        self._leader = self._gauge(
            "spotalis_leader_election_status", "1 while this instance is the leader."
        )
        self._leadership_changes = Counter(
            "spotalis_leadership_changes",
            "Number of times this instance gained or lost leadership.",
            registry=self._registry,
        )
        self._api_requests = self._counter(
            "spotalis_api_requests",
            "Number of requests to the API server; code is none without a response.",
            labels=("verb", "resource", "code"),
        )
        self._api_seconds = _Children(
            self._histogram(
                "spotalis_api_request_duration_seconds",
                "Duration of API requests in seconds; of watches until the stream opens.",
                API_BUCKETS,
                labels=("verb",),
            )
        )
        self._watch_restarts = self._counter(
            "spotalis_watch_restarts", "Number of watch restarts.", labels=("resource",)
        )
        self._loop_lag = self._gauge(
            "spotalis_event_loop_lag_seconds",
            "Longest delay of a timer within the last minute in seconds.",
        )

    def _counter(self, name: str, help_: str, *, labels: tuple[str, ...]) -> _Children[Counter]:
        return _Children(Counter(name, help_, labels, registry=self._registry))

    def _gauge(self, name: str, help_: str, *, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, help_, labels, registry=self._registry)

    def _histogram(
        self, name: str, help_: str, buckets: tuple[float, ...], *, labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, help_, labels, buckets=buckets, registry=self._registry)

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        """Count the reconcile of a workload and its evictions."""
        kind = result.key.kind.lower()
        action = "evict" if result.evictions else "none"
        self._reconciliations[kind, action, str(result.reason)].inc()
        self._reconciliation_seconds.observe(seconds)
        for eviction in result.evictions:
            target, outcome = str(eviction.move.target), eviction.outcome.lower()
            self._evictions[result.key.namespace, kind, target, outcome].inc()

    def on_reconcile_error(self, key: WorkloadKey, error: Exception) -> None:
        """Count a failed reconcile by the class of the error, never by its message."""
        self._reconciliation_errors[key.kind.lower(), type(error).__name__].inc()

    def on_webhook_request(self, operation: str, result: str, seconds: float) -> None:
        """Count an admission request, answered or rejected."""
        self._webhook_requests[operation, result].inc()
        self._webhook_seconds.observe(seconds)

    def on_admission(self, result: str) -> None:
        """Count an admission decision."""
        self._admissions[(result,)].inc()

    def on_forward(self, result: str) -> None:
        """Count an admission request for a managed pod, by where it was decided."""
        self._forwards[(result,)].inc()

    def on_leadership_change(self, leads: bool) -> None:
        """Export whether this instance leads; counts a change only if the value changes."""
        if leads != self._leads:
            self._leadership_changes.inc()
        self._leads = leads
        self._leader.set(leads)

    def on_request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """Count a request to the API server."""
        self._api_requests[verb, resource, str(status or "none")].inc()
        self._api_seconds[(verb,)].observe(seconds)

    def on_watch(self, report: WatchReport) -> None:
        """Count a watch that ended and starts again."""
        if report.retry_seconds:
            self._watch_restarts[(report.resource,)].inc()

    def set_event_loop_lag(self, seconds: float) -> None:
        """Record the longest lag (:class:`spotalis.web.health.EventLoopMonitor`)."""
        self._loop_lag.set(seconds)

    def set_certificate_expiry(self, at: datetime) -> None:
        """Record when the certificate in use expires."""
        self._certificate_expiry.set(at.timestamp())

    async def expose(self, snapshot: Snapshot, *, open_metrics: bool) -> AsyncIterator[bytes]:
        """Yield all metrics as text, metric by metric, yielding to the event loop in between."""
        for metric in self._registry.collect():
            if open_metrics:
                text: bytes = openmetrics.generate_latest(_Family(metric))  # type: ignore[no-untyped-call]  # no annotations
                yield text.removesuffix(_EOF)
            else:
                yield exposition.generate_latest(_Family(metric))
            await asyncio.sleep(0)
        async for piece in write(snapshot):
            yield piece
        if open_metrics:
            yield _EOF


def content_type(accept: str) -> str:
    """Choose the format by the Accept header: OpenMetrics if it is listed, else text."""
    return OPEN_METRICS if "application/openmetrics-text" in accept else TEXT
