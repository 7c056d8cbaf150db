"""The nodes of the cluster: capacity types, interruption notices and losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from spotalis.kube.store import Store, StoreChange
from spotalis.model.classification import Pin
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.group_memory import GroupMemory, merge, remembered, renew
from spotalis.model.nodes import NodeType, ProviderGroup
from spotalis.model.objects import NODE_NAME_FIELD, Node, NodeTerms, PodShape
from spotalis.model.possible_types import NODE_POOL, KnownNode, NodePool
from spotalis.planner.interruption import (
    NodeState,
    first_seen,
    interruption_notices,
    is_removed_by_autoscaler,
    node_state,
    terminating_until,
)
from spotalis.planner.storm import StormState, evaluate, record_loss

_Constraints: TypeAlias = tuple[tuple[tuple[str, str], ...], NodeTerms]
"""The node selector and the node terms of a shape."""

MAX_ANSWERS = 256
"""Different constraints of pods for which the possible type is remembered."""


class NodeEnd(NamedTuple):
    """How a node ends, or has ended."""

    by_autoscaler: bool
    """An autoscaler has decided it, and not the provider."""
    created_at: datetime | None
    until: datetime | None = None
    """When its notices stop to count; None for a node that is gone."""


class Nodes:
    """The node cache, and what is derived from it."""

    def __init__(
        self,
        settings: ControllerConfiguration,
        clock: Clock,
        has_pods: Callable[[str], bool],
    ) -> None:
        """``has_pods`` tells whether pods exist on the node of a name, even if the node is gone."""
        self.store: Store[Node] = Store()
        self._classification = settings.classification
        self._breaker = settings.storm
        self._clock = clock
        self._has_pods = has_pods
        self._types: dict[str, NodeType] = {}
        self._known: dict[str, KnownNode] = {}
        self._answers: dict[tuple[object, NodeTerms], NodeType] = {}
        """What :meth:`pinned_to` has answered since the last change of a node."""
        self._pins: dict[tuple[NodeType, tuple[str, ...]], Pin | None] = {}
        """What :meth:`pin` has answered, by the names of the groups in use."""
        self._own: dict[_Constraints, _Constraints] = {}
        """What :meth:`without_pins` has answered."""
        self._in_use: tuple[object, tuple[ProviderGroup, ...]] = (None, ())
        """What :meth:`groups_in_use` has answered last, after what it was computed from."""
        self._of_pools: set[str] = set()
        """Names of the nodes that belong to a NodePool of Karpenter."""
        self.changes = 0
        """Counts the changes that placements may depend on."""
        self._group_uses: Counter[str] = Counter()
        self.served: dict[str, bool] = {}
        """Whether the API server serves an API group, by its last answer."""
        self._node_pools: tuple[NodePool, ...] = ()
        self._memory: GroupMemory = {}
        self._notices: dict[str, dict[str, datetime]] = {}
        """By node name: when each of its interruption notices was first seen."""
        self._deleted: dict[str, NodeEnd] = {}
        """By name: deleted nodes that still have pods."""
        self._lost: set[str] = set()
        """UIDs of spot nodes that were counted as lost and still exist."""
        self._opened: dict[str, datetime] = {}
        """By node name: when the node last changed so that it might take more pods."""
        self._storm = StormState()
        self._losses_changed = False

    @property
    def node_pools(self) -> tuple[NodePool, ...]:
        """Of Karpenter; empty if they are not known."""
        return self._node_pools

    @node_pools.setter
    def node_pools(self, pools: tuple[NodePool, ...]) -> None:
        self._node_pools = pools
        self._answers.clear()

    def get(self, name: str) -> Node | None:
        """The node of this name."""
        return self.store.get("", name)

    def type_of(self, name: str) -> NodeType | None:
        """The capacity type of a node; None for a node that is not in the cache."""
        return self._types.get(name)

    def of_type(self, node_type: NodeType) -> list[Node]:
        """All nodes of a capacity type."""
        return [node for node in self.store if self._types.get(node.name) is node_type]

    @property
    def has_node_pool(self) -> bool:
        """Whether a node belongs to a NodePool of Karpenter."""
        return bool(self._of_pools)

    def opened_at(self, name: str) -> datetime | None:
        """When the node last changed so that it might take more pods; None if that is not known."""
        return self._opened.get(name)

    def end_of(self, name: str) -> NodeEnd | None:
        """How a node ends or has ended; None for a node that stays, or is not in the cache yet.

        The pods of a deleted node exist for up to a minute longer, until the pod garbage collector
        removes them.
        """
        since = self._notices.get(name)
        node = self.get(name)
        if node is None or not since:
            return self._deleted.get(name)
        now = self._clock.now()
        if node_state(node, since, now) is not NodeState.TERMINATING:
            return None
        until = terminating_until(node, since, now)
        return NodeEnd(is_removed_by_autoscaler(node, since), node.created_at, until)

    def is_terminating(self, name: str) -> bool:
        """Whether a node ends or has ended."""
        return self.end_of(name) is not None

    @property
    def storm_until(self) -> datetime | None:
        """When the current storm ends; None or a past instant if there is none."""
        if self._losses_changed and self.store.synced:  # the share is unknown before the first list
            left = sum(node.uid not in self._lost for node in self.of_type(NodeType.SPOT))
            self._storm = evaluate(self._storm, left, self._breaker)
            self._losses_changed = False
        return self._storm.frozen_until

    @property
    def is_storm(self) -> bool:
        """Whether a storm suspends moves to spot now."""
        until = self.storm_until
        return until is not None and self._clock.now() < until

    def groups_in_use(self) -> tuple[ProviderGroup, ...]:
        """The rule groups whose nodes exist, or may be added."""
        today, seen = self._clock.now().date(), self._groups_of_nodes()
        question = (today, seen, tuple(self.served.items()), self._memory)
        if self._in_use[0] != question:
            memory = remembered(self._memory, today)
            self._in_use = question, self._classification.in_use(seen, self.served, memory)
        return self._in_use[1]

    @property
    def api_groups(self) -> Set[str]:
        """The API groups that tell whether a provider group is in use."""
        return {group.api_group for group in self._classification.groups if group.api_group}

    def recall(self, memory: GroupMemory | None) -> None:
        """Add what an instance has written to the memory; None clears the memory."""
        self._memory = {} if memory is None else merge(self._memory, memory)

    def renew_memory(self) -> GroupMemory:
        """The memory with the groups of the nodes, and without those whose API is gone."""
        seen = self._groups_of_nodes()
        self._memory = renew(self._memory, seen, self._clock.now().date())
        gone = {
            group.name
            for group in self._classification.groups
            if self.served.get(group.api_group) is False and group.name not in seen
        }
        return {name: day for name, day in self._memory.items() if name not in gone}

    def _groups_of_nodes(self) -> Set[str]:
        return {name for name, nodes in self._group_uses.items() if nodes}

    def pin(self, node_type: NodeType) -> Pin | None:
        """What pins a pod to a capacity type; None while no node has a known type."""
        groups = self.groups_in_use()
        question = (node_type, tuple(group.name for group in groups))
        if question not in self._pins:
            self._pins[question] = self._classification.pin(node_type, groups)
        return self._pins[question]

    def pinned_to(self, shape: PodShape) -> NodeType:
        """The only capacity type on whose nodes a pod of this shape may run; unknown if none."""
        question = (shape.node_selector, shape.node_terms)
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            known = tuple(self._known.values())
            answer = self._classification.pinned_to(shape, known, self.node_pools)
            self._answers[question] = answer
        return answer

    def without_pins(self, shape: PodShape) -> PodShape:
        """The shape of an admitted pod without what pins of any provider have added."""
        question = (shape.node_selector, shape.node_terms)
        own = self._own.get(question)
        if own is None:
            if len(self._own) >= MAX_ANSWERS:
                self._own.clear()
            found = self._classification.without_pins(shape)
            own = self._own[question] = (found.node_selector, found.node_terms)
        if own == question:
            return shape
        return msgspec.structs.replace(shape, node_selector=own[0], node_terms=own[1])

    def on_change(self, change: StoreChange[Node]) -> bool:
        """Update the derived state; returns whether placements may change."""
        old, new = change.old, change.new
        if new is not None and (group := self._classification.group_of(new.labels)):
            self._group_uses[group.name] += 1
        if old is not None and (group := self._classification.group_of(old.labels)):
            self._group_uses[group.name] -= 1
            if not self._group_uses[group.name]:
                self._memory = renew(self._memory, {group.name}, self._clock.now().date())
        if old is not None and (new is None or new.uid != old.uid):
            by_autoscaler = is_removed_by_autoscaler(old, self._notices.get(old.name, {}))
            if not by_autoscaler:
                self._count_loss(old, self._clock.now())
            self._lost.discard(old.uid)
            self._notices.pop(old.name, None)
            self._types.pop(old.name, None)
            self._known.pop(old.name, None)
            self._of_pools.discard(old.name)
            self._opened.pop(old.name, None)
            if self._has_pods(old.name):
                self._deleted[old.name] = NodeEnd(by_autoscaler, old.created_at)
        if new is not None:
            node_type = self._classification.classify(new.labels)
            self._types[new.name] = node_type
            self._known[new.name] = ({**new.labels, NODE_NAME_FIELD: new.name}, node_type)
            (self._of_pools.add if NODE_POOL in new.labels else self._of_pools.discard)(new.name)
            self._deleted.pop(new.name, None)
            self._record_notices(new)
            if self.store.synced and _gates(old) != _gates(new):
                self._opened[new.name] = self._clock.now()
        if _placement_fields(old) == _placement_fields(new):
            return False
        self._answers.clear()
        self.changes += 1
        return True

    def on_last_pod_removed(self, name: str) -> None:
        """Forget a deleted node once it has no pods."""
        self._deleted.pop(name, None)

    def _record_notices(self, node: Node) -> None:
        """Record the interruption notices of a node, and its loss if its provider reclaims it."""
        since = first_seen(node, self._notices.get(node.name), self._clock.now())
        self._notices[node.name] = since
        end = self.end_of(node.name)
        if end is not None and not end.by_autoscaler:
            self._count_loss(node, max(since.values()))

    def _count_loss(self, node: Node, at: datetime) -> None:
        """Count the loss of a spot node: once, by its notice or by its deletion."""
        if self._types.get(node.name) is NodeType.SPOT and node.uid not in self._lost:
            self._lost.add(node.uid)
            self._storm = record_loss(self._storm, at, self._breaker)
            self._losses_changed = True


def _gates(node: Node | None) -> tuple[object, ...] | None:
    """The fields of a node for which the scheduler may have refused pods that fit."""
    return None if node is None else (node.ready, node.cordoned, node.taints, node.other)


def _placement_fields(node: Node | None) -> tuple[object, ...] | None:
    """The fields of a node on which placements depend; heartbeats change none of them."""
    if node is None:
        return None
    return (
        node.labels,
        node.taints,
        node.ready,
        node.cordoned,
        tuple(notice.signal for notice in interruption_notices(node)),
        node.cpu_millis,
        node.memory_bytes,
        node.pods,
        node.other,
    )
