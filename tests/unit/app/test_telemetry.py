"""The metrics of a reconcile result."""

from __future__ import annotations

from spotalis.app.process import Process
from spotalis.app.telemetry import _row, take_snapshot
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.store import StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.decision import Defer, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState
from spotalis.settings.options import ServingOptions
from tests.support.builders import NOW
from tests.support.manual_clock import ManualClock


def test_a_row_has_the_counts_of_its_result() -> None:
    result = ReconcileResult(
        key=WorkloadKey("Deployment", "shop", "api"),
        at=NOW,
        decision=Defer(Reason.NO_SPOT_CAPACITY, "why"),
        state=ReplicaState(desired=10, percent=70, floor=2, spot=4, on_demand=6),
        ready={NodeType.SPOT: 3, NodeType.ON_DEMAND: 6},
        fallbacks=3,
    )
    row = _row(result)
    assert (row.namespace, row.workload, row.workload_type) == ("shop", "api", "deployment")
    assert (row.reason, row.blocked, row.fallback) == ("NoSpotCapacity", True, 3)
    assert set(row.replicas) >= {
        ("spot", "ready", 3),
        ("spot", "pending", 1),
        ("spot", "desired", 7),
        ("on-demand", "ready", 6),
        ("on-demand", "pending", 0),
        ("on-demand", "desired", 3),
    }


async def test_the_age_of_a_cache_is_that_of_its_oldest_watch_without_denied_lists() -> None:
    clock = ManualClock()
    access = ClusterAccess(server="http://127.0.0.1:1")
    process = Process(access, ControllerConfiguration(), ServingOptions(), clock=clock)
    operator = process.operator
    _denied, old, new = (StoreWriter(operator.cluster.pods, each) for each in ("a", "b", "c"))
    assert take_snapshot(operator, clock).cache_ages == {}
    for writer in (old, new):
        writer.end_relist()
        writer.mark_fresh(clock.monotonic())
        clock.advance(10)
    assert take_snapshot(operator, clock).cache_ages == {"pods": 20.0}
