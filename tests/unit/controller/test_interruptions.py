"""The state of nodes that providers reclaim, and storms of lost nodes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spotalis.controller.cluster import Cluster
from spotalis.controller.nodes import NodeEnd
from spotalis.controller.reservations import Reservations
from spotalis.kube.store import Event, EventType, StoreChange, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.objects import Node, Taint
from spotalis.planner.interruption import NOTICE_TTL
from tests.support.builders import NOW, ON_DEMAND, SPOT, a_node, a_pod
from tests.support.manual_clock import ManualClock

MINUTE = 60.0
DISRUPTED = Taint("karpenter.sh/disrupted", effect="NoSchedule")
SPOT_ITN = Taint("aws-node-termination-handler/spot-itn", effect="NoSchedule")
REBALANCE = Taint("aws-node-termination-handler/rebalance-recommendation", effect="NoSchedule")


class Nodes:
    """The nodes of a cluster, and the watch that reports them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        settings = ControllerConfiguration()
        self.cluster = Cluster(
            settings, Reservations(self.clock), lambda key: None, clock=self.clock
        )
        self.known = self.cluster.nodes
        self._writer = StoreWriter(self.known.store)
        self._version = 0

    def list(self, nodes: Iterable[Node]) -> None:
        self._writer.begin_relist()
        for node in nodes:
            self.put(node)
        self._writer.end_relist()

    def put(self, node: Node) -> None:
        self._apply(EventType.MODIFIED, node)

    def taint(self, name: str, *taints: Taint) -> None:
        node = self.known.get(name)
        assert node is not None
        self.put(msgspec.structs.replace(node, taints=taints))

    def delete(self, name: str) -> None:
        node = self.known.get(name)
        assert node is not None
        self._apply(EventType.DELETED, node)

    def _apply(self, kind: EventType, node: Node) -> None:
        self._version += 1
        node = msgspec.structs.replace(node, resource_version=str(self._version))
        change = self._writer.apply(Event(kind, node))
        if change is not None:
            self.cluster.on_node_change(change)


def spot_nodes(count: int, **changes: Any) -> list[Node]:
    return [a_node(f"spot-{number}", node_type=SPOT, **changes) for number in range(count)]


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def test_a_node_is_terminating_for_15_minutes_after_its_notice(nodes: Nodes) -> None:
    nodes.list(spot_nodes(2))
    assert not nodes.known.is_terminating("spot-0")
    nodes.taint("spot-0", DISRUPTED)
    assert nodes.known.is_terminating("spot-0")
    assert not nodes.known.is_terminating("spot-1")
    nodes.clock.advance(15 * MINUTE - 1)
    nodes.put(a_node("spot-0", taints=[DISRUPTED], cordoned=True))
    assert nodes.known.is_terminating("spot-0")
    nodes.clock.advance(1)
    assert not nodes.known.is_terminating("spot-0")


def test_a_node_is_not_terminating_after_its_notice_is_withdrawn(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.taint("spot-0", DISRUPTED)
    nodes.taint("spot-0")
    assert not nodes.known.is_terminating("spot-0")


def test_a_node_with_a_rebalance_recommendation_is_not_terminating(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.taint("spot-0", REBALANCE)
    assert not nodes.known.is_terminating("spot-0")
    assert not nodes.known.is_terminating("never-seen")


def test_a_deleted_node_is_terminating_until_its_last_pod_is_gone(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    pod = a_pod(node="spot-0")
    nodes.cluster.on_pod_change(StoreChange(None, pod))
    nodes.delete("spot-0")
    assert nodes.known.is_terminating("spot-0")
    nodes.clock.advance(60 * MINUTE)
    assert nodes.known.is_terminating("spot-0")
    nodes.cluster.on_pod_change(StoreChange(pod, None))
    assert not nodes.known.is_terminating("spot-0")


def test_a_new_node_with_the_name_of_a_deleted_one_is_not_terminating(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.cluster.on_pod_change(StoreChange(None, a_pod(node="spot-0")))
    nodes.delete("spot-0")
    nodes.put(a_node("spot-0", uid="another"))
    assert not nodes.known.is_terminating("spot-0")


@pytest.mark.parametrize("by_autoscaler", [True, False])
def test_the_cause_of_the_end_of_a_deleted_node_is_remembered(
    nodes: Nodes, by_autoscaler: bool
) -> None:
    nodes.list(spot_nodes(1, created_at=NOW))
    nodes.cluster.on_pod_change(StoreChange(None, a_pod(node="spot-0")))
    if by_autoscaler:
        nodes.taint("spot-0", DISRUPTED)
        assert nodes.known.end_of("spot-0") == NodeEnd(True, NOW, NOW + NOTICE_TTL)
    nodes.delete("spot-0")
    assert nodes.known.end_of("spot-0") == NodeEnd(by_autoscaler, NOW)


class TestStorm:
    def test_does_not_count_nodes_that_an_autoscaler_removes(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(9))
        for number in range(9):
            nodes.taint(f"spot-{number}", DISRUPTED)
            nodes.delete(f"spot-{number}")
        assert nodes.known.storm_until is None

    def test_starts_when_4_of_10_spot_nodes_are_lost_in_any_way(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(10))
        nodes.taint("spot-0", SPOT_ITN)
        nodes.taint("spot-1", SPOT_ITN)
        nodes.delete("spot-2")
        assert nodes.known.storm_until is None
        nodes.delete("spot-3")
        assert nodes.known.storm_until == nodes.clock.now() + timedelta(minutes=10)
        assert nodes.known.is_storm
        nodes.clock.advance(10 * MINUTE)
        assert not nodes.known.is_storm

    def test_counts_a_node_with_a_notice_and_its_deletion_once(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(9))
        for name in ("spot-0", "spot-1"):
            nodes.taint(name, SPOT_ITN)
            nodes.put(a_node(name, taints=[SPOT_ITN], cordoned=True))
            nodes.delete(name)
        assert nodes.known.storm_until is None

    def test_counts_a_node_that_announces_its_end_again_and_again_once(self, nodes: Nodes) -> None:
        """A compromised kubelet cannot stop moves to spot in the whole cluster."""
        nodes.list(spot_nodes(3))
        for _ in range(5):
            nodes.taint("spot-0", SPOT_ITN)
            nodes.taint("spot-0")
        assert nodes.known.storm_until is None

    def test_does_not_count_on_demand_nodes_and_recommendations(self, nodes: Nodes) -> None:
        on_demand = [a_node(f"od-{number}", node_type=ON_DEMAND) for number in range(3)]
        nodes.list([*spot_nodes(3), *on_demand])
        for number in range(3):
            nodes.delete(f"od-{number}")
            nodes.taint(f"spot-{number}", REBALANCE)
        assert nodes.known.storm_until is None

    def test_counts_a_node_that_is_replaced_under_the_same_name(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(3))
        for number in range(3):
            nodes.put(a_node(f"spot-{number}", uid="another"))
        assert nodes.known.is_storm

    def test_is_evaluated_at_the_end_of_the_first_list(self, nodes: Nodes) -> None:
        """After a restart, the list begins with the terminating nodes: 3 of the first 3."""
        leaving = [a_node(f"a-{number}", taints=[SPOT_ITN]) for number in range(3)]
        seen = []
        for node in leaving:
            nodes.put(node)
            seen.append(nodes.known.storm_until)
        assert seen == [None, None, None]
        nodes.list([*leaving, *spot_nodes(7)])
        assert nodes.known.storm_until is None
        other = Nodes()
        other.list([*leaving, *spot_nodes(6)])
        assert other.known.is_storm

    def test_does_not_count_notices_older_than_15_minutes_at_the_start(self, nodes: Nodes) -> None:
        old = msgspec.structs.replace(SPOT_ITN, since=nodes.clock.now() - timedelta(minutes=15))
        nodes.list(spot_nodes(3, taints=[old]))
        assert nodes.known.storm_until is None
