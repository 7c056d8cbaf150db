"""What the operator's last turns say, as metrics."""

from __future__ import annotations

from spotalis.app.operator import Operator
from spotalis.controller.result import ReconcileResult
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.web.exposition import Snapshot, WorkloadRow
from spotalis.web.metrics import Metrics

_BLOCKED = frozenset(Reason) - {Reason.BALANCED, Reason.REBALANCING, Reason.NOT_MANAGED}


class Report:
    """Makes the per-workload series from the operator's turns, at each scrape."""

    def __init__(self, operator: Operator, clock: Clock) -> None:
        self._operator = operator
        self._clock = clock

    def snapshot(self) -> Snapshot:
        """The state now; cheap: it walks the managed workloads once."""
        turns = self._operator.turns.values()
        now = self._clock.monotonic()
        stores = self._operator.cluster.stores()
        return Snapshot(
            workloads=[_row(turn) for turn in turns],
            cache_ages={
                plural: now - store.fresh_at for plural, store in stores.items() if store.synced
            },
            storm_active=self._operator.cluster.nodes.is_storm,
        )


def _row(turn: ReconcileResult) -> WorkloadRow:
    state = turn.state
    replicas = [
        (str(node_type), word, count)
        for node_type in NodeType
        for word, count in (
            ("ready", turn.ready.get(node_type, 0)),
            ("pending", state.count(node_type) - turn.ready.get(node_type, 0)),
            ("desired", state.desired_for(node_type)),
        )
    ]
    return WorkloadRow(
        namespace=turn.key.namespace,
        workload=turn.key.name,
        workload_type=turn.key.kind.lower(),
        reason=str(turn.reason),
        replicas=replicas,
        blocked=turn.reason in _BLOCKED and state.surplus_type is not None,
        fallback=turn.fallbacks,
    )


def count(metrics: Metrics, turn: ReconcileResult, seconds: float) -> None:
    """Count a turn and its evictions."""
    kind = turn.key.kind.lower()
    action = "evict" if turn.evictions else "none"
    metrics.record_reconciliation(kind, action, str(turn.reason), seconds)
    for eviction in turn.evictions:
        metrics.record_eviction(
            turn.key.namespace, kind, str(eviction.move.target), eviction.outcome.lower()
        )
