"""The replicas of the owners that create pods, kept up to date from one admission to the next.

In a burst an owner creates thousands of pods. Evaluating all of them for each new one would make
the burst quadratic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from spotalis.controller.changed_pods import OwnerKey
from spotalis.controller.cluster import Cluster
from spotalis.controller.terminations import Terminations
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms, Pod, PodShape
from spotalis.model.possible_types import NodePool
from spotalis.planner.held import HeldReplicas
from spotalis.planner.observed import Replica

MAX_REPLICAS = 20_000
"""Replicas that are tracked, at a quarter of a kilobyte each (measured)."""
MAX_CONSTRAINTS = 64
"""Different constraints of one owner's pods whose possible type is compared. Most owners have
three: without a pin, and with that of each type."""

_Constraints: TypeAlias = tuple[tuple[tuple[str, str], ...], NodeTerms]


@dataclass(slots=True, kw_only=True)
class _Tracked:
    """What is known about one owner, and what it was computed from."""

    held: HeldReplicas
    terminated: Set[str] = frozenset()
    """UIDs of the pods that counted as gone, of any owner."""
    nodes_version: int = -1
    node_pools: tuple[NodePool, ...] = ()
    valid_until: datetime | None = None
    """When the first notice of the nodes of these replicas stops to count."""
    possible_types: dict[_Constraints, tuple[PodShape, NodeType]] = field(default_factory=dict)
    """The only type on which pods with these constraints may run."""


class TrackedOwners:
    """The replicas of the owners whose pods were admitted last."""

    def __init__(
        self,
        cluster: Cluster,
        terminations: Terminations,
        clock: Clock,
        to_replica: Callable[[Pod, NodeType], Replica],
    ) -> None:
        """``to_replica`` evaluates a pod, given the only type on which it may run."""
        self._cluster = cluster
        self._terminations = terminations
        self._clock = clock
        self._to_replica = to_replica
        self._tracked: OrderedDict[OwnerKey, _Tracked] = OrderedDict()
        """The owner that was asked for last is the last."""
        self._size = 0
        """Replicas of all tracked owners."""

    def get(self, namespace: str, owner: str, first_ordinal: int | None) -> HeldReplicas:
        """The replicas of an owner. They are valid until the next await.

        Args:
            first_ordinal: of a StatefulSet; None for a ReplicaSet.
        """
        key = namespace, owner
        tracked = self._tracked.get(key)
        if tracked is None and not self._cluster.pods_owned_by(*key):
            return HeldReplicas(first_ordinal)
        if tracked is None or not self._is_valid(key, tracked, first_ordinal):
            self._forget(key)
            tracked = self._track(key, first_ordinal)
        self._update(key, tracked)
        self._tracked.move_to_end(key)
        if not tracked.held.replicas:
            self._forget(key)
        while self._size > MAX_REPLICAS and len(self._tracked) > 1:
            self._forget(next(iter(self._tracked)))
        return tracked.held

    def _track(self, key: OwnerKey, first_ordinal: int | None) -> _Tracked:
        """Begin to track an owner; all its pods are to be evaluated."""
        tracked = self._tracked[key] = _Tracked(held=HeldReplicas(first_ordinal))
        self._cluster.changed_pods.follow(key, self._cluster.pods_by_uid(*key))
        self._has_same_types(tracked)
        return tracked

    def _forget(self, key: OwnerKey) -> None:
        self._cluster.changed_pods.unfollow(key)
        if (tracked := self._tracked.pop(key, None)) is not None:
            self._size -= len(tracked.held.replicas)

    def _is_valid(self, key: OwnerKey, tracked: _Tracked, first_ordinal: int | None) -> bool:
        """Whether only the replicas of changed pods must be evaluated again."""
        until = tracked.valid_until
        return (
            key in self._cluster.changed_pods
            and tracked.held.first_ordinal == first_ordinal
            and (until is None or self._clock.now() < until)
            and self._has_same_types(tracked)
        )

    def _has_same_types(self, tracked: _Tracked) -> bool:
        """Whether the nodes leave the pods the same types as before."""
        nodes = self._cluster.nodes
        if (tracked.nodes_version, tracked.node_pools) == (nodes.changes, nodes.node_pools):
            return True
        tracked.nodes_version, tracked.node_pools = nodes.changes, nodes.node_pools
        known = tracked.possible_types
        return len(known) <= MAX_CONSTRAINTS and all(
            nodes.pinned_to(shape) is node_type for shape, node_type in known.values()
        )

    def _update(self, key: OwnerKey, tracked: _Tracked) -> None:
        """Evaluate the pods that have changed, or that do or do not count as gone any more."""
        held, changed = tracked.held, self._cluster.changed_pods.take(key)
        if tracked.terminated != self._terminations.uids:
            changed = changed | (tracked.terminated ^ self._terminations.uids)
            tracked.terminated = frozenset(self._terminations.uids)
        before, pods = len(held.replicas), self._cluster.pods_by_uid(*key)
        for uid in changed:
            pod = pods.get(uid)
            if pod is None:
                held.remove(uid)
                continue
            held.put(self._to_replica(pod, self._possible_type(tracked, pod.shape)))
            end = self._cluster.nodes.end_of(pod.node)
            if end is not None and end.until is not None:
                tracked.valid_until = min(end.until, tracked.valid_until or end.until)
        self._size += len(held.replicas) - before

    def _possible_type(self, tracked: _Tracked, shape: PodShape) -> NodeType:
        constraints = shape.node_selector, shape.node_terms
        found = tracked.possible_types.get(constraints)
        if found is None:
            found = shape, self._cluster.nodes.pinned_to(shape)
            tracked.possible_types[constraints] = found
        return found[1]
