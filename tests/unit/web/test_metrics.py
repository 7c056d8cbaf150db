"""The names and labels of the metrics, and the two formats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client.samples import Sample

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import EvictionRecord, ReconcileResult
from spotalis.kube.eviction import EvictionOutcome
from spotalis.kube.watch import WatchProblem, WatchReport
from spotalis.model.decision import Defer, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState
from spotalis.web.exposition import Snapshot, WorkloadRow
from spotalis.web.metrics import OPEN_METRICS, TEXT, WEBHOOK_BUCKETS, Metrics, content_type
from tests.support.builders import NOW, a_pod
from tests.support.metrics_text import families_of_open_metrics, families_of_text

ROW = WorkloadRow(
    namespace="shop",
    workload="api",
    workload_type="deployment",
    reason="Balanced",
    replicas=(("spot", "ready", 7),),
    blocked=True,
)


def used_metrics() -> Metrics:
    """Metrics of which each method was called once."""
    metrics = Metrics(version="0.1.0", revision="abc")
    key = WorkloadKey("Deployment", "shop", "api")
    eviction = EvictionRecord(move=Move(a_pod(), NodeType.SPOT), outcome=EvictionOutcome.EVICTED)
    result = ReconcileResult(
        key=key,
        at=NOW,
        decision=Defer(Reason.REBALANCING, "moving"),
        state=ReplicaState(desired=10, percent=70, floor=2, spot=6, on_demand=4),
        evictions=(eviction,),
    )
    metrics.on_reconcile(result, 0.02)
    metrics.on_reconcile_error(key, ConnectionError("transport"))
    metrics.on_webhook_request("create", "answered", 0.0004)
    metrics.on_admission("spot")
    metrics.on_forward("forwarded")
    metrics.on_leadership_change(True)
    metrics.on_request("create", "pods/eviction", 201, 0.01)
    metrics.on_watch(WatchReport("pods", WatchProblem.DISCONNECTED, "broken", retry_seconds=1.0))
    metrics.set_event_loop_lag(0.002)
    metrics.set_certificate_expiry(datetime(2026, 11, 23, tzinfo=UTC))
    return metrics


async def _text(metrics: Metrics, *, open_metrics: bool = False) -> str:
    snapshot = Snapshot(workloads=[ROW], cache_ages={"pods": 0.5})
    pieces = [piece async for piece in metrics.expose(snapshot, open_metrics=open_metrics)]
    return b"".join(pieces).decode()


async def _samples(metrics: Metrics) -> list[Sample]:
    return [s for family in families_of_text(await _text(metrics)) for s in family.samples]


LABELS = {
    "spotalis_reconciliations_total": {"workload_type", "action", "result"},
    "spotalis_reconciliation_duration_seconds_bucket": {"le"},
    "spotalis_reconciliation_errors_total": {"workload_type", "error_type"},
    "spotalis_managed_workloads": {"namespace"},
    "spotalis_workload_replicas": {
        "namespace",
        "workload",
        "workload_type",
        "capacity_type",
        "state",
    },
    "spotalis_workload_status": {"namespace", "workload", "workload_type", "reason"},
    "spotalis_evictions_total": {"namespace", "workload_type", "target", "outcome"},
    "spotalis_moves_blocked": {"reason"},
    "spotalis_fallback_replicas": set(),
    "spotalis_storm_active": set(),
    "spotalis_webhook_requests_total": {"operation", "result"},
    "spotalis_webhook_request_duration_seconds_bucket": {"le"},
    "spotalis_webhook_mutations_total": {"mutation_type"},
    "spotalis_webhook_forwarded_total": {"result"},
    "spotalis_leader_election_status": set(),
    "spotalis_leadership_changes_total": set(),
    "spotalis_api_requests_total": {"verb", "resource", "code"},
    "spotalis_cache_age_seconds": {"resource"},
    "spotalis_event_loop_lag_seconds": set(),
}


@pytest.mark.parametrize(("name", "labels"), LABELS.items(), ids=LABELS)
async def test_a_metric_has_exactly_these_labels(name: str, labels: set[str]) -> None:
    found = [s for s in await _samples(used_metrics()) if s.name == name]
    assert found
    assert {frozenset(s.labels) for s in found} == {frozenset(labels)}


async def test_both_formats_have_the_same_series() -> None:
    metrics = used_metrics()
    own = {
        (s.name, frozenset(s.labels.items()), s.value)
        for s in await _samples(metrics)
        if s.name.startswith("spotalis")
    }
    text = await _text(metrics, open_metrics=True)
    strict = {
        (s.name, frozenset(s.labels.items()), s.value)
        for family in families_of_open_metrics(text)
        for s in family.samples
        if s.name.startswith("spotalis")
    }
    assert own == strict
    assert text.count("# EOF") == 1
    assert text.endswith("# EOF\n")


async def test_counters_have_no_series_with_their_creation_time() -> None:
    assert not [s.name for s in await _samples(used_metrics()) if s.name.endswith("_created")]


async def test_the_metrics_include_the_memory_and_the_version_of_the_process() -> None:
    samples = {s.name: s for s in await _samples(Metrics(version="1.2.3", revision="abc"))}
    assert samples["process_resident_memory_bytes"].value > 1_000_000
    assert "process_cpu_seconds_total" in samples
    assert samples["spotalis_build_info"].labels["version"] == "1.2.3"
    assert samples["spotalis_build_info"].labels["revision"] == "abc"


async def test_a_repeated_leadership_status_is_not_a_change() -> None:
    metrics = Metrics(version="0")
    for leading in (False, True, True, False, True):
        metrics.on_leadership_change(leading)
    samples = {s.name: s.value for s in await _samples(metrics)}
    assert samples["spotalis_leadership_changes_total"] == 3
    assert samples["spotalis_leader_election_status"] == 1


def test_the_buckets_of_the_webhook_start_at_half_a_millisecond() -> None:
    assert WEBHOOK_BUCKETS[0] == 0.0005


async def test_two_instances_of_metrics_are_independent() -> None:
    one, other = Metrics(version="0"), Metrics(version="0")
    one.on_admission("spot")
    assert "spotalis_webhook_mutations_total" in {s.name for s in await _samples(one)}
    assert "spotalis_webhook_mutations_total" not in {s.name for s in await _samples(other)}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param("", TEXT, id="no header"),
        pytest.param("*/*", TEXT, id="anything"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPEN_METRICS,
            id="Prometheus",
        ),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, expected: str) -> None:
    assert content_type(accept) == expected
