"""Exports what the operator reports as metrics."""

from __future__ import annotations

from spotalis.app.operator import Operator
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.kube.watch import WatchReport
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.web.exposition import Snapshot, WorkloadRow
from spotalis.web.metrics import Metrics

_NOT_BLOCKED = frozenset({Reason.BALANCED, Reason.REBALANCING, Reason.NOT_MANAGED})


class MetricsTelemetry(Telemetry):
    """Counts every report."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        """Count the reconcile and its evictions."""
        kind = result.key.kind.lower()
        action = "evict" if result.evictions else "none"
        self._metrics.record_reconciliation(kind, action, str(result.reason), seconds)
        for eviction in result.evictions:
            self._metrics.record_eviction(
                result.key.namespace, kind, str(eviction.move.target), eviction.outcome.lower()
            )

    def on_reconcile_error(self, key: WorkloadKey, error: Exception) -> None:
        """Count the error by its type."""
        self._metrics.record_reconciliation_error(key.kind.lower(), type(error).__name__)

    def on_admission(self, result: str) -> None:
        """Count the admission by its result."""
        self._metrics.record_admission(result)

    def on_forward(self, result: str) -> None:
        """Count the attempt to forward by its result."""
        self._metrics.record_forward(result)

    def on_leadership_change(self, leads: bool) -> None:
        """Export whether this instance leads."""
        self._metrics.set_leader(leads)

    def on_request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """Count the request by its HTTP status."""
        self._metrics.record_api_request(verb, resource, str(status or "none"), seconds)

    def on_watch(self, report: WatchReport) -> None:
        """Count the restart of a watch."""
        if report.retry_seconds:
            self._metrics.record_watch_restart(report.resource)


def take_snapshot(operator: Operator, clock: Clock) -> Snapshot:
    """The series that are computed at each scrape, from the last results and the stores."""
    now = clock.monotonic()
    return Snapshot(
        workloads=[_row(result) for result in operator.results.values()],
        cache_ages={
            plural: now - store.fresh_at
            for plural, store in operator.cluster.stores().items()
            if store.synced
        },
        storm_active=operator.cluster.nodes.is_storm,
    )


def _row(result: ReconcileResult) -> WorkloadRow:
    state = result.state
    replicas = [
        (str(node_type), word, count)
        for node_type in NodeType
        for word, count in (
            ("ready", result.ready.get(node_type, 0)),
            ("pending", state.count(node_type) - result.ready.get(node_type, 0)),
            ("desired", state.desired_for(node_type)),
        )
    ]
    return WorkloadRow(
        namespace=result.key.namespace,
        workload=result.key.name,
        workload_type=result.key.kind.lower(),
        reason=str(result.reason),
        replicas=replicas,
        blocked=result.reason not in _NOT_BLOCKED and state.surplus_type is not None,
        fallback=result.fallbacks,
    )
