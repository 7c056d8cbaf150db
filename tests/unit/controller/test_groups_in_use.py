"""Which provider groups are in use without nodes: discovery, and the memory in a ConfigMap."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spotalis.controller.cluster import Cluster
from spotalis.controller.groups_in_use import GroupsInUse
from spotalis.controller.ledgers import GROUP_MEMORY, Ledgers
from spotalis.controller.reservations import Reservations
from spotalis.embedded.virtual_time import run
from spotalis.kube import decode
from spotalis.kube.client import Client, Conflict
from spotalis.kube.store import Event, EventType, StoreChange
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.group_memory import MEMORY
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PodShape, Requirement
from spotalis.model.possible_types import NODE_POOL
from spotalis.model.transport import Response, TransportError
from tests.support.builders import SPOT, UNKNOWN, a_node
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import Answer, ScriptedTransport

SERVED = Response(status=200, body=b'{"kind":"APIGroup","preferredVersion":{"version":"v1beta1"}}')
ABSENT = Response(status=404, body=b"404 page not found")
FORBIDDEN = Response(status=403, body=b'{"kind":"Status","reason":"Forbidden","code":403}')
DAY = timedelta(days=1)


def node_pools(**requirements: list[dict[str, Any]]) -> Response:
    """The response to a list of NodePools."""
    items = [
        {"metadata": {"name": name}, "spec": {"template": {"spec": {"requirements": listed}}}}
        for name, listed in requirements.items()
    ]
    body = {"metadata": {"resourceVersion": "1"}, "items": items}
    return Response(status=200, body=msgspec.json.encode(body))


POOLS = node_pools(default=[])


class World:
    """The caches of an operator, and an API server with scripted answers."""

    def __init__(self, *answers: Answer, clock: Clock | None = None) -> None:
        clock = clock or ManualClock()
        self.transport = ScriptedTransport(list(answers))
        self.cluster = Cluster(
            ControllerConfiguration(), Reservations(clock), lambda key: None, clock
        )
        client = Client(self.transport, clock=clock, rng=LoadedRandom())
        self.ledgers = Ledgers(client, self.cluster.ledgers, "spotalis-system")
        self.changes = 0
        self.leads = True
        self.groups = GroupsInUse(
            cluster=self.cluster,
            ledgers=self.ledgers,
            client=client,
            can_write=lambda: self.leads,
            on_change=self._on_change,
        )

    def _on_change(self) -> None:
        self.changes += 1

    @property
    def in_use(self) -> list[str]:
        return [group.name for group in self.cluster.nodes.groups_in_use()]

    def add_node(self, **labels: str) -> None:
        node = a_node(labels={key.replace("__", "/"): value for key, value in labels.items()})
        self.cluster.nodes.on_change(StoreChange(None, node))

    def remove_node(self, **labels: str) -> None:
        node = a_node(labels={key.replace("__", "/"): value for key, value in labels.items()})
        self.cluster.nodes.on_change(StoreChange(node, None))


EKS = {"eks.amazonaws.com__capacityType": "SPOT"}


@pytest.mark.parametrize(
    ("answers", "in_use", "changes"),
    [
        pytest.param([SERVED, POOLS], ["karpenter"], 1, id="served"),
        pytest.param([ABSENT], [], 1, id="not served"),
        pytest.param([SERVED, POOLS] * 2, ["karpenter"], 1, id="served as before"),
        pytest.param([SERVED, POOLS, ABSENT], [], 2, id="removed"),
        pytest.param([SERVED, POOLS, Response(status=503)], ["karpenter"], 1, id="unavailable"),
        pytest.param([SERVED, POOLS, FORBIDDEN], ["karpenter"], 1, id="forbidden"),
        pytest.param([SERVED, POOLS, Response(status=429)], ["karpenter"], 1, id="too many"),
        pytest.param([SERVED, POOLS, TransportError("reset")], ["karpenter"], 1, id="no response"),
        pytest.param([TransportError("reset")], [], 0, id="never answered"),
        pytest.param([SERVED, node_pools()], [], 1, id="no NodePool"),
        pytest.param([SERVED, POOLS, SERVED, node_pools()], [], 2, id="the last NodePool is gone"),
        pytest.param([SERVED, FORBIDDEN], ["karpenter"], 1, id="NodePools are forbidden"),
        pytest.param([SERVED, ABSENT], ["karpenter"], 1, id="older than NodePools"),
        pytest.param(
            [SERVED, POOLS, SERVED, Response(status=400)],
            ["karpenter"],
            1,
            id="a failed list",
        ),
        pytest.param([Response(status=200, body=b"<html>")], [], 0, id="a page of a proxy"),
    ],
)
async def test_the_last_answer_about_an_api_counts(
    answers: list[Answer], in_use: list[str], changes: int
) -> None:
    world = World(*answers)
    while world.transport.answers:
        await world.groups.discover()
    assert (world.in_use, world.changes) == (in_use, changes)
    pools = "/apis/karpenter.sh/v1beta1/nodepools"
    assert {request.path for request in world.transport.requests} <= {"/apis/karpenter.sh", pools}


async def test_node_pools_are_read_with_their_requirements() -> None:
    spot = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}
    many = {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["3"]}
    world = World(SERVED, node_pools(cheap=[spot, {**many, "minValues": 2}], default=[]))
    await world.groups.discover()
    nodes = world.cluster.nodes
    assert [name for name, _ in nodes.node_pools] == ["cheap", "default"]

    def pinned_to(*names: str) -> NodeType:
        required = Requirement(key=NODE_POOL, operator="In", values=names)
        return nodes.pinned_to(PodShape(node_terms=((required,),)))

    assert pinned_to("cheap") is SPOT
    assert pinned_to("default") is UNKNOWN
    assert pinned_to("cheap", "default") is UNKNOWN
    assert pinned_to("unknown") is UNKNOWN


def test_a_slow_answer_delays_the_start_by_5_seconds_and_is_asked_for_again() -> None:
    async def scenario(clock: Clock) -> None:
        world = World(clock=clock)
        started = asyncio.get_running_loop().time()
        await world.groups.discover()
        assert asyncio.get_running_loop().time() - started == 5
        running = asyncio.create_task(world.groups.run())
        world.transport.answers += [SERVED, POOLS]
        await asyncio.sleep(5.1)
        assert world.in_use == ["karpenter"]
        await asyncio.sleep(25)
        assert len(world.transport.requests) == 3
        running.cancel()

    run(scenario)


def config_map(groups: str, version: int = 1) -> bytes:
    metadata = {"name": GROUP_MEMORY, "namespace": "spotalis-system", "uid": "u"}
    metadata["resourceVersion"] = str(version)
    return msgspec.json.encode({"metadata": metadata, "data": {"groups": groups}})


async def test_the_memory_is_written_when_it_changes_and_read_by_the_next_process() -> None:
    clock = ManualClock()
    today = clock.now().date().isoformat()
    stored = config_map(f'{{"eks":"{today}"}}')
    world = World(Response(status=201, body=stored), clock=clock)
    world.add_node(**EKS)
    for _ in range(3):
        await world.ledgers.write_group_memory(world.cluster.nodes.renew_memory())
    [request] = world.transport.requests
    assert request.method == "POST"
    written = msgspec.json.decode(request.body)
    assert written["metadata"]["name"] == GROUP_MEMORY
    assert msgspec.json.decode(written["data"]["groups"]) == {"eks": today}

    later = World(clock=clock)
    later.cluster.nodes.recall(decode.ledger(stored).group_memory)
    assert later.in_use == ["eks"]
    clock.advance(30 * DAY.total_seconds())
    assert later.in_use == ["eks"]
    clock.advance(DAY.total_seconds())
    assert later.in_use == []


async def test_a_group_counts_after_its_last_node_is_gone() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    world.add_node(**EKS)
    clock.advance(40 * DAY.total_seconds())
    world.remove_node(**EKS)
    assert world.in_use == ["eks"]
    world.cluster.nodes.recall(None)  # The administrator has deleted the ConfigMap.
    assert world.in_use == []


async def test_an_autoscaler_whose_api_is_gone_is_not_remembered() -> None:
    world = World(SERVED, POOLS, ABSENT)
    karpenter = {"karpenter.sh__capacity-type": "spot"}
    await world.groups.discover()
    world.add_node(**karpenter)
    world.remove_node(**karpenter)
    assert set(world.cluster.nodes.renew_memory()) == {"karpenter"}
    await world.groups.discover()
    assert world.cluster.nodes.renew_memory() == {}
    assert world.in_use == []


async def test_a_conflict_leaves_the_memory_to_the_next_resync() -> None:
    conflict = Response(status=409, body=b'{"kind":"Status","reason":"Conflict","code":409}')
    world = World(conflict)
    world.ledgers.writer.apply(Event(EventType.ADDED, decode.ledger(config_map("{}"))))
    world.add_node(**EKS)
    with pytest.raises(Conflict):
        await world.ledgers.write_group_memory(world.cluster.nodes.renew_memory())
    [request] = world.transport.requests
    assert request.method == "PUT"


@pytest.mark.parametrize("groups", ["", "{", "[]", '{"eks":"yesterday"}', '{"eks":1}'])
def test_a_damaged_memory_is_empty(groups: str) -> None:
    found = decode.ledger(config_map(groups))
    assert (found.ledger, found.group_memory) == (None, {})


def test_the_groups_in_use_follow_nodes_apis_the_memory_and_the_day() -> None:
    clock = ManualClock()
    nodes = World(clock=clock).cluster.nodes

    def in_use() -> set[str]:
        return {group.name for group in nodes.groups_in_use()}

    assert in_use() == set()
    nodes.recall({"gke": clock.now().date()})
    assert in_use() == {"gke"}
    nodes.served["karpenter.sh"] = True
    assert in_use() == {"gke", "karpenter"}
    nodes.served["karpenter.sh"] = False
    assert in_use() == {"gke"}
    label = {"eks.amazonaws.com/capacityType": "SPOT"}
    nodes.on_change(StoreChange(None, a_node(labels=label)))
    assert in_use() == {"gke", "eks"}
    clock.advance((MEMORY + DAY).total_seconds())
    assert in_use() == {"eks"}
