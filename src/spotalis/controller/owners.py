"""The workload behind the owner reference of a pod."""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.model.objects import Owner, ReplicaSet, Workload


@dataclass(frozen=True, slots=True)
class ResolvedOwner:
    """The workload behind a pod's owner reference, and the controller that owns the pod."""

    workload: Workload
    owner_uid: str
    """Of the ReplicaSet, or of the StatefulSet itself."""
    owner_replicas: int
    """``spec.replicas`` of that controller."""


@dataclass(frozen=True, slots=True)
class NoWorkload:
    """A pod's owner is known and has no workload of a known kind: there is nothing to wait for."""


def resolve_owner(
    owner: Owner,
    replica_set: ReplicaSet | None,
    workload: Workload | None,
    *,
    has_parent: bool = True,
) -> ResolvedOwner | NoWorkload | None:
    """Match a pod's owner reference with the objects of its names.

    Returns None if one of them is missing or another object.

    Args:
        owner: the reference, to a ReplicaSet or to the workload itself.
        replica_set: None if the owner is a StatefulSet.
        workload: the StatefulSet, or the Deployment or Rollout of the ReplicaSet.
        has_parent: the ReplicaSet belongs to a workload of a kind that is watched.
    """
    if replica_set is not None and replica_set.uid == owner.uid and not has_parent:
        return NoWorkload()
    if workload is None:
        return None
    controller: ReplicaSet | Workload = workload
    if replica_set is not None:
        if replica_set.owner is None or replica_set.owner.uid != workload.uid:
            return None
        controller = replica_set
    if controller.uid != owner.uid:
        return None
    return ResolvedOwner(workload, controller.uid, controller.replicas)
