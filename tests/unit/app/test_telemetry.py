"""The metrics of a reconcile result."""

from __future__ import annotations

from spotalis.app.telemetry import _row
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.model.decision import Defer, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState
from tests.support.builders import NOW


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
