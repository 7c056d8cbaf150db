"""The state of the operator that is exported at each scrape."""

from __future__ import annotations

from spotalis.app.operator import Operator
from spotalis.controller.result import ReconcileResult
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.web.exposition import Snapshot, WorkloadRow

_NOT_BLOCKED = frozenset({Reason.BALANCED, Reason.REBALANCING, Reason.NOT_MANAGED})


def take_snapshot(operator: Operator, clock: Clock) -> Snapshot:
    """The series that are computed at each scrape, from the last results and the stores."""
    now = clock.monotonic()
    return Snapshot(
        workloads=[_row(result) for result in operator.results.values()],
        cache_ages={
            plural: now - min(heard)
            for plural, store in operator.cluster.stores().items()
            # The API server may deny the first list of single namespaces.
            if (heard := [at for at in store.fresh_at_by_scope.values() if at > float("-inf")])
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
