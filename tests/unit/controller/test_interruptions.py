"""What the operator makes of nodes that are announced to go, and that go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spotalis.controller.cluster import Cluster
from spotalis.controller.reservations import Reservations
from spotalis.kube.store import Event, EventType, StoreChange, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.objects import Node, Taint
from tests.support.builders import ON_DEMAND, SPOT, a_node, a_pod
from tests.support.manual_clock import ManualClock

MINUTE = 60.0
DISRUPTED = Taint("karpenter.sh/disrupted", effect="NoSchedule")
REBALANCE = Taint("aws-node-termination-handler/rebalance-recommendation", effect="NoSchedule")


class Nodes:
    """A cluster's nodes, as its watch tells of them."""

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
        self._tell(EventType.MODIFIED, node)

    def taint(self, name: str, *taints: Taint) -> None:
        node = self.known.get(name)
        assert node is not None
        self.put(msgspec.structs.replace(node, taints=taints))

    def delete(self, name: str) -> None:
        node = self.known.get(name)
        assert node is not None
        self._tell(EventType.DELETED, node)

    def _tell(self, kind: EventType, node: Node) -> None:
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


def test_a_node_is_leaving_from_its_notice_on_for_15_minutes(nodes: Nodes) -> None:
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


def test_a_notice_taken_back_makes_the_node_ordinary_at_once(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.taint("spot-0", DISRUPTED)
    nodes.taint("spot-0")
    assert not nodes.known.is_terminating("spot-0")


def test_a_rebalance_recommendation_takes_no_slots(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.taint("spot-0", REBALANCE)
    assert not nodes.known.is_terminating("spot-0")
    assert not nodes.known.is_terminating("never-seen")


def test_a_node_that_is_gone_goes_on_leaving_until_its_last_pod_is_gone(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    pod = a_pod(node="spot-0")
    nodes.cluster.on_pod_change(StoreChange(None, pod))
    nodes.delete("spot-0")
    assert nodes.known.is_terminating("spot-0")
    nodes.clock.advance(60 * MINUTE)
    assert nodes.known.is_terminating("spot-0")
    nodes.cluster.on_pod_change(StoreChange(pod, None))
    assert not nodes.known.is_terminating("spot-0")


def test_a_node_that_comes_back_under_its_name_is_another(nodes: Nodes) -> None:
    nodes.list(spot_nodes(1))
    nodes.cluster.on_pod_change(StoreChange(None, a_pod(node="spot-0")))
    nodes.delete("spot-0")
    nodes.put(a_node("spot-0", uid="another"))
    assert not nodes.known.is_terminating("spot-0")


class TestStorm:
    def test_4_of_10_spot_nodes_lost_in_any_way_begin_one(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(10))
        nodes.taint("spot-0", DISRUPTED)
        nodes.taint("spot-1", DISRUPTED)
        nodes.delete("spot-2")
        assert nodes.known.storm_until is None
        nodes.delete("spot-3")
        assert nodes.known.storm_until == nodes.clock.now() + timedelta(minutes=10)
        assert nodes.known.is_storm
        nodes.clock.advance(10 * MINUTE)
        assert not nodes.known.is_storm

    def test_a_node_that_warns_and_then_goes_is_one_loss(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(9))
        for name in ("spot-0", "spot-1"):
            nodes.taint(name, DISRUPTED)
            nodes.put(a_node(name, taints=[DISRUPTED], cordoned=True))
            nodes.delete(name)
        assert nodes.known.storm_until is None

    def test_on_demand_nodes_and_recommendations_are_no_losses(self, nodes: Nodes) -> None:
        on_demand = [a_node(f"od-{number}", node_type=ON_DEMAND) for number in range(3)]
        nodes.list([*spot_nodes(3), *on_demand])
        for number in range(3):
            nodes.delete(f"od-{number}")
            nodes.taint(f"spot-{number}", REBALANCE)
        assert nodes.known.storm_until is None

    def test_a_name_used_again_is_another_node(self, nodes: Nodes) -> None:
        nodes.list(spot_nodes(3))
        for number in range(3):
            nodes.put(a_node(f"spot-{number}", uid="another"))
        assert nodes.known.is_storm

    def test_half_a_list_is_not_judged_and_the_whole_is(self, nodes: Nodes) -> None:
        """A restart in the middle: the leaving ones come first, and are 3 of 3 till then."""
        leaving = [a_node(f"a-{number}", taints=[DISRUPTED]) for number in range(3)]
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

    def test_a_notice_older_than_15_minutes_at_the_start_is_no_loss(self, nodes: Nodes) -> None:
        old = msgspec.structs.replace(DISRUPTED, since=nodes.clock.now() - timedelta(minutes=15))
        nodes.list(spot_nodes(3, taints=[old]))
        assert nodes.known.storm_until is None
