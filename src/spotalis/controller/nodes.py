"""Nodes: the class of each, which of them are being taken, and how many were lost at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from spotalis.kube.store import Store, StoreChange
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType, Pin, ProviderGroup
from spotalis.model.objects import Node
from spotalis.planner.interruption import NodeState, first_seen, interruption_notices, node_state
from spotalis.planner.storm import StormState, evaluate, record_loss


class Nodes:
    """What the watch has shown of nodes, and what follows from it."""

    def __init__(
        self,
        settings: ControllerConfiguration,
        clock: Clock,
        has_pods: Callable[[str], bool],
    ) -> None:
        """``has_pods`` says whether there are pods of a node, by its name, be it gone or not."""
        self.store: Store[Node] = Store()
        self._classification = settings.classification
        self._breaker = settings.storm
        self._clock = clock
        self._has_pods = has_pods
        self._types: dict[str, NodeType] = {}
        self._group_uses: Counter[str] = Counter()
        self._noticed: dict[str, dict[str, datetime]] = {}
        """By name: since when each of a node's notices stands."""
        self._gone: set[str] = set()
        """Names of nodes whose pods have outlived them."""
        self._lost: set[str] = set()
        """UIDs of spot nodes that are leaving, and counted as losses."""
        self._weather = StormState()
        self._unjudged = False

    def get(self, name: str) -> Node | None:
        """The node of this name."""
        return self.store.get("", name)

    def type_of(self, name: str) -> NodeType | None:
        """The class of a known node; None for a node that we have not seen."""
        return self._types.get(name)

    def of_type(self, node_type: NodeType) -> list[Node]:
        """All nodes of a class."""
        return [node for node in self.store if self._types.get(node.name) is node_type]

    def is_terminating(self, name: str) -> bool:
        """Whether the provider is taking the node of this name, or has taken it.

        A node's pods outlive it by up to a minute, until the pod garbage collector finds them.
        False for a node that we have not seen yet.
        """
        since = self._noticed.get(name)
        node = self.get(name)
        if node is None or not since:
            return name in self._gone
        return node_state(node, since, self._clock.now()) is NodeState.TERMINATING

    @property
    def storm_until(self) -> datetime | None:
        """Until when moves towards spot rest; None, or past: no storm."""
        if self._unjudged and self.store.synced:  # of half a list nobody knows the share
            left = sum(node.uid not in self._lost for node in self.of_type(NodeType.SPOT))
            self._weather = evaluate(self._weather, left, self._breaker)
            self._unjudged = False
        return self._weather.frozen_until

    @property
    def is_storm(self) -> bool:
        """Whether moves towards spot rest now."""
        until = self.storm_until
        return until is not None and self._clock.now() < until

    def groups_in_use(self) -> tuple[ProviderGroup, ...]:
        """The rule groups that at least one node matches or that the settings name."""
        return tuple(
            group
            for group in self._classification.groups
            if self._group_uses[group.name] or group.name in self._classification.named
        )

    def pin(self, node_type: NodeType) -> Pin | None:
        """What pins a pod to a class here and now; None while no node says its class."""
        return self._classification.pin(node_type, self.groups_in_use())

    def on_change(self, change: StoreChange[Node]) -> bool:
        """Keep what follows from a node; whether room or class changed for anybody's pods."""
        old, new = change.old, change.new
        if old is not None and (group := self._classification.group_of(old.labels)):
            self._group_uses[group.name] -= 1
        if new is not None and (group := self._classification.group_of(new.labels)):
            self._group_uses[group.name] += 1
        if old is not None and (new is None or new.uid != old.uid):
            self._count_loss(old, self._clock.now())
            self._lost.discard(old.uid)
            self._noticed.pop(old.name, None)
            self._types.pop(old.name, None)
            if self._has_pods(old.name):
                self._gone.add(old.name)
        if new is not None:
            self._types[new.name] = self._classification.classify(new.labels)
            self._gone.discard(new.name)
            self._notice(new)
        return _placement_fields(old) != _placement_fields(new)

    def on_last_pod_removed(self, name: str) -> None:
        """The last pod of a node is gone: nobody asks any more whether that was taken."""
        self._gone.discard(name)

    def _notice(self, node: Node) -> None:
        """Keep since when each notice of a node stands; one that begins to leave is lost."""
        since = first_seen(node, self._noticed.get(node.name), self._clock.now())
        self._noticed[node.name] = since
        if self.is_terminating(node.name):
            self._count_loss(node, max(since.values()))

    def _count_loss(self, node: Node, at: datetime) -> None:
        """A spot node is lost once, by its notice or with it gone."""
        if self._types.get(node.name) is NodeType.SPOT and node.uid not in self._lost:
            self._lost.add(node.uid)
            self._weather = record_loss(self._weather, at, self._breaker)
            self._unjudged = True


def _placement_fields(node: Node | None) -> tuple[object, ...] | None:
    """What of a node other pods' placement depends on; heartbeats change none of it."""
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
    )
