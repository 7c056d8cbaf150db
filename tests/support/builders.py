"""Builders of complete values for unit tests. A test names only the fields that it is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Decision
from spotalis.model.disruption import DisruptionPolicy, DisruptionWindow, MoveLimit
from spotalis.model.nodes import NodeType
from spotalis.model.objects import (
    PREFIX,
    DisruptionBudget,
    LabelSelector,
    Namespace,
    Node,
    Owner,
    Pod,
    PodShape,
    Requirement,
    Taint,
    Workload,
)
from spotalis.model.replicas import slot_type
from spotalis.planner.decide import ReconcilePlan, decide
from spotalis.planner.fallback import waiting_for_spot
from spotalis.planner.observed import (
    ClusterState,
    MoveBudget,
    Observed,
    Replica,
    SpotCapacity,
)
from spotalis.planner.reserved_slots import Reservation, ReservedSlots

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)

SPOT, ON_DEMAND, UNKNOWN = NodeType.SPOT, NodeType.ON_DEMAND, NodeType.UNKNOWN
DEPLOYMENT, STATEFUL_SET = "Deployment", "StatefulSet"
BOTH_KINDS = (DEPLOYMENT, STATEFUL_SET)


def owner_of(kind: str) -> Owner:
    """Return the owner of the pods of ``api``: its ReplicaSet, or the StatefulSet itself."""
    if kind == STATEFUL_SET:
        return Owner(group="apps", kind=kind, name="api", uid="api-uid")
    return Owner(group="apps", kind="ReplicaSet", name="api-6c9f7d", uid="api-6c9f7d-uid")


def a_pod(name: str = "api-0", *, ready: bool = True, **changes: Any) -> Pod:
    """A running pod of ``api``; ``changes`` are fields of :class:`Pod`."""
    fields: dict[str, Any] = {
        "namespace": "shop",
        "name": name,
        "uid": f"{name}-uid",
        "labels": {"app": "api"},
        "owner": owner_of(DEPLOYMENT),
        "node": f"node-of-{name}",
        "phase": "Running",
        "ready": ready,
        "ready_at": LONG_AGO if ready else None,
        "created_at": LONG_AGO,
    }
    return Pod(**(fields | changes))


def a_replica(
    pod: Pod | None = None,
    *,
    node_type: NodeType = SPOT,
    on_terminating_node: bool = False,
    on_reclaimed_node: bool = False,
    node_created_at: datetime | None = None,
    counts_as_gone: bool = False,
    user_pinned: bool = False,
    other_pods: int = 0,
    **pod_changes: Any,
) -> Replica:
    """A replica. Unknown keywords are fields of its pod."""
    return Replica(
        pod=a_pod(**pod_changes) if pod is None else msgspec.structs.replace(pod, **pod_changes),
        node_type=node_type,
        on_terminating_node=on_terminating_node,
        on_reclaimed_node=on_reclaimed_node,
        node_created_at=node_created_at,
        counts_as_gone=counts_as_gone,
        user_pinned=user_pinned,
        other_pods=other_pods,
    )


def a_configuration(
    *,
    percent: int | None = 70,
    floor: int | None = 2,
    moves: MoveLimit = MoveLimit(count=1),
    window: DisruptionWindow | None = None,
    paused_until: datetime | None = None,
    **changes: Any,
) -> WorkloadConfiguration:
    """The policy of a workload; ``changes`` are fields of :class:`WorkloadConfiguration`."""
    fields: dict[str, Any] = {
        "enabled": True,
        "spot_percentage": percent,
        "min_on_demand": floor,
        "disruption": DisruptionPolicy(
            window=window, moves_in_flight=moves, paused_until=paused_until
        ),
    }
    return WorkloadConfiguration(**(fields | changes))


def a_workload(
    *,
    kind: str = DEPLOYMENT,
    replicas: int | None = None,
    spot: int = 0,
    on_demand: int = 0,
    unknown: int = 0,
    percent: int | None = 70,
    floor: int | None = 2,
    moves: int | MoveLimit = 1,
    window: DisruptionWindow | None = None,
    paused_until: datetime | None = None,
    placed: bool = True,
    ordered: bool = False,
    min_ready_seconds: int = 0,
    budgets: Sequence[DisruptionBudget] = (),
    **changes: Any,
) -> Observed:
    """A workload at rest with this many ready replicas of each capacity type, one per node.

    Replica k is named ``api-k``. Slots are filled in order, each with its own capacity type while
    replicas of that type are left. Replicas of unknown type come last.

    Args:
        replicas: desired number; by default the number of replicas.
        placed: the webhook has placed the pods, so that those of a Deployment have slots.
        moves: maximum number of moves in flight.
        changes: fields of :class:`Observed` and of its groups: see :func:`with_facts`.
    """
    present = spot + on_demand + unknown
    wanted = present if replicas is None else replicas
    classes = _classes(spot, on_demand, unknown, percent or 0, floor or 0)
    fields: dict[str, Any] = {
        "workload": workload_named_api(
            kind=kind,
            replicas=wanted,
            present=present,
            ordered=ordered,
            min_ready_seconds=min_ready_seconds,
        ),
        "configuration": a_configuration(
            percent=percent,
            floor=floor,
            moves=moves if isinstance(moves, MoveLimit) else MoveLimit(count=moves),
            window=window,
            paused_until=paused_until,
        ),
        "replicas": tuple(
            a_replica(
                name=f"api-{slot}",
                node_type=node_type,
                owner=owner_of(kind),
                slot=slot if placed and kind == DEPLOYMENT else None,
                rule="share" if placed else "",
            )
            for slot, node_type in enumerate(classes)
        ),
        "budgets": tuple(budgets),
    }
    return with_facts(Observed(**fields), **changes)


def workload_named_api(
    *, kind: str = DEPLOYMENT, replicas: int = 10, present: int | None = None, **changes: Any
) -> Workload:
    """The Deployment or StatefulSet at rest; ``changes`` are fields of Workload."""
    there = replicas if present is None else present
    fields: dict[str, Any] = {
        "kind": kind,
        "namespace": "shop",
        "name": "api",
        "uid": "api-uid",
        "generation": 1,
        "observed_generation": 1,
        "replicas": replicas,
        "status_replicas": there,
        "updated_replicas": there,
        "selector": a_selector({"app": "api"}),
        "template_labels": {"app": "api"},
        "current_revision": "api-1",
        "update_revision": "api-1",
    }
    return Workload(**(fields | changes))


_GROUPS = {
    name: (group, name)
    for group, kind in (("cluster", ClusterState), ("spot", SpotCapacity), ("moves", MoveBudget))
    for name in (field.name for field in dataclasses.fields(kind))
} | {"free": ("spot", "free"), "moves_free": ("moves", "free")}


def with_facts(observed: Observed, **changes: Any) -> Observed:
    """Return a copy with other facts: fields of :class:`Observed` or of one of its groups.

    ``free`` is the free capacity on spot; ``moves_free`` is the cluster's budget of moves.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for name in changes.keys() & _GROUPS.keys():
        group, field = _GROUPS[name]
        grouped.setdefault(group, {})[field] = changes.pop(name)
    for group, values in grouped.items():
        changes[group] = dataclasses.replace(getattr(observed, group), **values)
    return dataclasses.replace(observed, **changes)


def plan_of(observed: Observed, now: datetime = NOW, *, instance: str = "me") -> ReconcilePlan:
    """Return what a reconcile of an instance that leads decides."""
    waiting = waiting_for_spot(observed, now)
    return decide(observed, waiting, now=now, instance=instance, can_evict=True)


def decision_of(observed: Observed, now: datetime = NOW) -> Decision:
    """Return the decision of :func:`plan_of`."""
    return plan_of(observed, now).decision


def with_workload(observed: Observed, **changes: Any) -> Observed:
    """Return a copy with other fields of the Deployment or StatefulSet."""
    return dataclasses.replace(
        observed, workload=msgspec.structs.replace(observed.workload, **changes)
    )


def with_configuration(observed: Observed, **changes: Any) -> Observed:
    """Return a copy with another policy."""
    return dataclasses.replace(
        observed, configuration=dataclasses.replace(observed.configuration, **changes)
    )


_OF_REPLICA = frozenset(field.name for field in msgspec.structs.fields(Replica)) - {"pod"}


def with_replicas(
    observed: Observed, which: Callable[[Replica], bool] | Sequence[int] | int, **changes: Any
) -> Observed:
    """Return a copy with some replicas changed: fields of :class:`Replica`, or of its pod.

    Args:
        which: a predicate, or positions.
    """
    if isinstance(which, int):
        which = (which,)
    of_replica = {name: value for name, value in changes.items() if name in _OF_REPLICA}
    of_pod = {name: value for name, value in changes.items() if name not in _OF_REPLICA}
    if of_pod.get("ready") is False:
        of_pod.setdefault("ready_at", None)
    return dataclasses.replace(
        observed,
        replicas=tuple(
            msgspec.structs.replace(
                replica, pod=msgspec.structs.replace(replica.pod, **of_pod), **of_replica
            )
            if (which(replica) if callable(which) else position in which)
            else replica
            for position, replica in enumerate(observed.replicas)
        ),
    )


def is_spot(replica: Replica) -> bool:
    """For :func:`with_replicas`."""
    return replica.node_type is SPOT


def is_on_demand(replica: Replica) -> bool:
    """For :func:`with_replicas`."""
    return replica.node_type is ON_DEMAND


def a_reservation(
    slot: int,
    node_type: NodeType,
    *,
    kind: str = DEPLOYMENT,
    request_uid: str = "",
    namespace: str = "shop",
) -> Reservation:
    """A pod that is admitted, but not yet in the cache."""
    return Reservation(
        request_uid=request_uid or f"request-{slot}",
        namespace=namespace,
        owner=owner_of(kind).uid,
        slot=slot,
        node_type=node_type,
        name=f"api-{slot}" if kind == STATEFUL_SET else "",
    )


def reserved(*reservations: Reservation) -> dict[str, ReservedSlots]:
    """Reservations as the planner sees them, by owner."""
    owners = {reservation.owner for reservation in reservations}
    return {
        owner: ReservedSlots.of(r for r in reservations if r.owner == owner) for owner in owners
    }


def a_selector(labels: Mapping[str, str]) -> LabelSelector:
    """``matchLabels``."""
    return LabelSelector(
        tuple(Requirement(key=key, operator="In", values=(value,)) for key, value in labels.items())
    )


def a_budget(
    allowed: int = 1,
    *,
    name: str = "api",
    selects: Mapping[str, str] | None = None,
    healthy: int = 10,
    desired: int = 9,
    **changes: Any,
) -> DisruptionBudget:
    """A PodDisruptionBudget for the pods of ``api``; ``changes`` are its fields."""
    fields: dict[str, Any] = {
        "namespace": "shop",
        "name": name,
        "uid": f"{name}-pdb-uid",
        "selector": a_selector({"app": "api"} if selects is None else selects),
        "disruptions_allowed": allowed,
        "current_healthy": healthy,
        "desired_healthy": desired,
        "generation": 1,
        "observed_generation": 1,
    }
    return DisruptionBudget(**(fields | changes))


def a_node(
    name: str = "node-1",
    *,
    node_type: NodeType = SPOT,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Taint] = (),
    **changes: Any,
) -> Node:
    """A Ready node of Karpenter with 4 CPUs, 16 GiB and capacity for 58 pods."""
    fields: dict[str, Any] = {
        "name": name,
        "uid": f"{name}-uid",
        "labels": {"karpenter.sh/capacity-type": str(node_type)} if labels is None else labels,
        "taints": tuple(taints),
        "ready": True,
        "cpu_millis": 4000,
        "memory_bytes": 16 * 2**30,
        "pods": 58,
        "created_at": LONG_AGO,
    }
    return Node(**(fields | changes))


def a_shape(cpu_millis: int = 500, memory_bytes: int = 2**30, **changes: Any) -> PodShape:
    """The scheduling requirements of a pod; ``changes`` are fields of :class:`PodShape`."""
    return PodShape(cpu_millis=cpu_millis, memory_bytes=memory_bytes, **changes)


def annotated(**values: str) -> dict[str, str]:
    """``spot_percentage="70"`` as an annotation."""
    return {PREFIX + key.replace("_", "-"): value for key, value in values.items()}


def a_namespace(
    name: str = "shop",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Namespace:
    """A namespace."""
    return Namespace(
        name=name, uid=f"{name}-uid", labels=labels or {}, annotations=annotations or {}
    )


def _classes(
    spot: int, on_demand: int, unknown: int, percent: int, floor: int
) -> Sequence[NodeType]:
    left = {SPOT: spot, ON_DEMAND: on_demand}
    classes: list[NodeType] = []
    for slot in range(spot + on_demand):
        node_type = slot_type(slot, percent, floor)
        if not left[node_type]:
            node_type = node_type.other
        left[node_type] -= 1
        classes.append(node_type)
    return [*classes, *[UNKNOWN] * unknown]
