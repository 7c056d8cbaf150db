"""Early eviction: pods leave a spot node when the provider announces that it reclaims the node.

See docs/reference/behaviour.md, "Interruptions".
"""

from __future__ import annotations

from datetime import datetime

from spotalis.model.nodes import NodeType
from spotalis.planner.budget import DisruptionBudgets
from spotalis.planner.guards import BASIC_GUARDS, first_objection
from spotalis.planner.observed import Observed, Replica


def early_evictions(observed: Observed, now: datetime) -> tuple[Replica, ...]:
    """The replicas on spot nodes that the provider reclaims and budgets allow to evict, by name.

    These evictions are not moves: the pods are lost soon in any case. Therefore rollouts,
    windows and move limits do not stop them. Only spot nodes count: spot replicas never count
    toward the minimum, so a notice that was just withdrawn cannot break it. Pods that ask not to
    be disrupted stay on their node.
    """
    if observed.cluster.read_only or first_objection(BASIC_GUARDS, observed, now) is not None:
        return ()
    budgets = DisruptionBudgets(observed.budgets)
    evicted: list[Replica] = []
    for replica in sorted(observed.replicas, key=lambda replica: replica.pod.name):
        pod = replica.pod
        stays = not replica.on_reclaimed_node or replica.node_type is not NodeType.SPOT
        ended = pod.deleting_at is not None or pod.finished or replica.counts_as_gone
        refused = observed.is_backing_off(pod.uid, now)
        if stays or ended or refused or pod.protected or budgets.objection(pod):
            continue
        budgets.spend(pod)
        evicted.append(replica)
    return tuple(evicted)
