"""Who leaves a node at the provider's notice instead of with the node (behaviour.md 6, Taken)."""

from __future__ import annotations

from datetime import datetime

from spotalis.model.nodes import NodeType
from spotalis.planner.budget import Budgets
from spotalis.planner.fallback import GUARDS
from spotalis.planner.observed import Observed, Replica


def early_evictions(observed: Observed, now: datetime) -> tuple[Replica, ...]:
    """The replicas on leaving spot nodes that budgets let go now, in the order of their names.

    Not a move: they go anyway, and soon. So neither rollouts nor windows nor the limits of moves
    keep them. Only spot: the floor never counts those, so whatever our view misses (a notice that
    was just withdrawn), an early eviction cannot break it; on-demand nodes are drained by whoever
    takes them. Who asks not to be disrupted is left to its node.
    """
    if observed.read_only or any(guard(observed, now) is not None for guard in GUARDS):
        return ()
    budgets = Budgets(observed.budgets)
    going: list[Replica] = []
    for replica in sorted(observed.replicas, key=lambda one: one.pod.name):
        pod = replica.pod
        over = pod.deleting_at is not None or pod.finished or replica.evicted
        stays = not replica.on_terminating_node or replica.node_type is not NodeType.SPOT
        if stays or over or pod.protected or budgets.refuses(pod):
            continue
        budgets.spend(pod)
        going.append(replica)
    return tuple(going)
