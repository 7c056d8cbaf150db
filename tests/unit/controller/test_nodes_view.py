"""The free capacity of spot nodes is computed once for all workloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.nodes_view import StoreNodesView
from spotalis.controller.placed_pods import PlacedPods
from spotalis.controller.reservations import Reservations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, StoreChange, StoreWriter
from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.classification import NodeClassification
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, Pod, Requirement
from spotalis.model.possible_types import NODE_POOL
from spotalis.model.provider_groups import KARPENTER_API
from tests.support.builders import NOW, a_node, a_pod, a_selector, a_shape
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport
from tests.support.virtual_time import in_virtual_time, virtual_clock

HOST = "kubernetes.io/hostname"
SHAPE = a_shape(1000)


class World:
    """A cluster whose watches deliver what a test says."""

    def __init__(self) -> None:
        clock = virtual_clock()
        client = Client(ScriptedTransport([]), clock=clock, rng=LoadedRandom())
        settings = ControllerConfiguration()
        self.cluster = Cluster(settings, Reservations(clock), lambda key: None, clock=clock)
        ledgers = Ledgers(client, self.cluster.ledgers, settings.namespace)
        self.view = StoreNodesView(self.cluster, ledgers, Volumes(client, clock))
        self._nodes = StoreWriter(self.cluster.nodes.store)
        self._version = 0

    def node(self, name: str, **changes: Any) -> None:
        self._version += 1
        node: Node = a_node(name, resource_version=str(self._version), **changes)
        change = self._nodes.apply(Event(EventType.MODIFIED, node))
        assert change is not None
        self.cluster.on_node_change(change)

    def pod(self, old: Pod | None, new: Pod | None) -> None:
        self.cluster.on_pod_change(StoreChange(old, new))

    async def update(self) -> bool:
        return await self.view.update(self.view.version)

    def free_cpu_millis(self) -> int:
        return sum(room.cpu_millis for room in self.view.free_capacity().rooms)


def waiting(name: str, **changes: Any) -> Pod:
    return a_pod(name, ready=False, node="", phase="Pending", shape=SHAPE, **changes)


@in_virtual_time
async def test_the_free_capacity_is_computed_once_per_change_and_not_per_workload() -> None:
    world = World()
    world.node("one")
    assert await world.update()
    assert not await world.update()
    assert world.free_cpu_millis() == 4000
    pod = waiting("web-0")
    world.pod(None, pod)
    assert await world.update()
    assert not await world.update()
    assert world.free_cpu_millis() == 3000
    bound = msgspec.structs.replace(pod, node="one", phase="Running")
    world.pod(pod, bound)
    assert await world.update()
    assert world.free_cpu_millis() == 3000
    world.pod(bound, msgspec.structs.replace(bound, ready=True, ready_at=NOW))
    assert not await world.update()
    world.node("one", cordoned=True)
    assert await world.update()
    assert world.free_cpu_millis() == 0


@in_virtual_time
async def test_a_computation_that_another_reconcile_has_begun_is_awaited() -> None:
    world = World()
    for number in range(3_000):
        world.node(f"node-{number}")
    version = world.view.version
    results = await asyncio.gather(*(world.view.update(version) for _ in range(5)))
    assert sorted(results) == [False] * 4 + [True]


@in_virtual_time
async def test_other_tasks_run_while_thousands_of_different_pods_are_judged() -> None:
    world = World()
    for number in range(100):
        world.node(f"node-{number}", labels={HOST: f"node-{number}", **a_node().labels})
    terms = tuple((Requirement(HOST, "In", (f"other-{n}",)),) for n in range(100))
    for number in range(50):
        shape = a_shape(1 + number, node_terms=terms)
        world.pod(None, msgspec.structs.replace(waiting(f"web-{number}"), shape=shape))
    update = asyncio.create_task(world.update())
    turns = 0
    while not update.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 250


@in_virtual_time
async def test_gated_pods_take_no_capacity() -> None:
    world = World()
    world.node("one")
    for number in range(5):
        world.pod(None, waiting(f"web-{number}", gated=True))
    await world.update()
    assert world.free_cpu_millis() == 4000


def test_bound_pods_with_the_same_anti_affinity_are_one_group_per_namespace() -> None:
    placed = PlacedPods()
    term = AntiAffinityTerm(HOST, a_selector({"app": "api"}))
    apart = a_shape(anti_affinity=(term,))
    across = a_shape(anti_affinity=(msgspec.structs.replace(term, namespaces=("shop",)),))
    pods = [
        a_pod("own", shape=apart),
        a_pod("second", shape=apart),
        a_pod("finished", shape=apart, phase="Failed"),
        a_pod("own-across", shape=across),
        a_pod("other", namespace="else", shape=apart),
        a_pod("other-across", namespace="else", shape=across),
        a_pod("without"),
        a_pod("waiting", node="", shape=apart),
    ]
    for pod in pods:
        placed.on_change(StoreChange(None, pod))
    assert groups(placed, "shop") == [
        ("shop", {"own-uid": "node-of-own", "second-uid": "node-of-second"}),
        ("shop", {"own-across-uid": "node-of-own-across"}),
        ("else", {"other-across-uid": "node-of-other-across"}),
    ]
    placed.on_change(StoreChange(pods[0], msgspec.structs.replace(pods[0], phase="Succeeded")))
    for pod in pods[1:]:
        placed.on_change(StoreChange(pod, None))
    assert groups(placed, "shop") == groups(placed, "else") == []


def groups(placed: PlacedPods, namespace: str) -> list[tuple[str, dict[str, str]]]:
    return [(pods.namespace, pods.nodes) for pods in placed.avoiding(namespace)]


@in_virtual_time
async def test_karpenter_adds_nodes_while_a_node_is_of_its_pools_or_its_api_is_served() -> None:
    world, seen = World(), []
    for labels in ({}, {NODE_POOL: "default"}, {}):
        world.node("one", labels=labels)
        seen.append(world.view.has_provisioner)
    world.cluster.nodes.served[KARPENTER_API] = True
    assert [*seen, world.view.has_provisioner] == [False, True, False, True]


@in_virtual_time
async def test_pins_and_shapes_without_them_are_computed_once_for_all_workloads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With thousands of workloads of a few shapes, each of them would cost a tenth of a ms."""
    asked: list[str] = []
    for name in ("pin", "without_pins"):
        monkeypatch.setattr(NodeClassification, name, _counted(name, asked))
    world = World()
    world.node("one")
    pinned = a_shape(node_selector=(("karpenter.sh/capacity-type", "spot"), ("team", "shop")))
    for _ in range(1000):
        assert world.view.pin(NodeType.SPOT) == world.view.pin(NodeType.SPOT)
        assert world.view.without_pins(pinned).node_selector == (("team", "shop"),)
        assert world.view.without_pins(SHAPE) is SHAPE
    assert sorted(asked) == ["pin", "without_pins", "without_pins"]


def _counted(name: str, asked: list[str]) -> Callable[..., Any]:
    plain = getattr(NodeClassification, name)

    def call(*arguments: Any) -> Any:
        asked.append(name)
        return plain(*arguments)

    return call
