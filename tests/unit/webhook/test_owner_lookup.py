"""How many lookups of unknown owners run at a time, and how many requests they cause."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded

import pytest

from spotalis.controller.cluster import Cluster
from spotalis.controller.owners import NoWorkload, ResolvedOwner
from spotalis.controller.reservations import Reservations
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.objects import Owner, ReplicaSet
from spotalis.model.transport import Request, Response
from spotalis.webhook.admission import MAX_WAITS
from spotalis.webhook.owner_lookup import MAX_READS, READ_HOLD_SECONDS, WAIT_SECONDS, OwnerLookup
from spotalis.webhook.places import Places
from tests.support.scripted_transport import ScriptedTransport
from tests.support.virtual_time import in_virtual_time, virtual_clock


class MissingOwners(ScriptedTransport):
    """Answers every request with 404."""

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(status=404)


class Lookups:
    """An operator's lookups, with a cache that knows no owner."""

    def __init__(self) -> None:
        clock = virtual_clock()
        self.transport = MissingOwners([])
        self.cluster = Cluster(
            ControllerConfiguration(), Reservations(clock), lambda key: None, clock
        )
        client = Client(self.transport, clock=clock, rng=random.Random(1))
        self.lookup = OwnerLookup(self.cluster, client, Places(MAX_WAITS))
        self._numbers = iter(range(10_000))

    def begin(self, namespace: str) -> asyncio.Task[ResolvedOwner | NoWorkload | None]:
        """Look for an owner that does not exist."""
        name = f"invented-{next(self._numbers)}"
        owner = Owner("apps", "ReplicaSet", name, f"uid-of-{name}")
        return asyncio.create_task(self.lookup.find(namespace, owner))

    async def count_waiting(self, namespace: str, count: int) -> int:
        """Begin lookups; returns how many of them are not answered at once."""
        began = [self.begin(namespace) for _ in range(count)]
        for _ in range(3):
            await asyncio.sleep(0)
        return sum(not task.done() for task in began)


@pytest.mark.check
@in_virtual_time
async def test_half_of_the_places_are_left_to_other_namespaces() -> None:
    lookups = Lookups()
    assert await lookups.count_waiting("hostile", 100) == MAX_WAITS // 2
    assert await lookups.count_waiting("hostile", 100) == 0
    assert await lookups.count_waiting("shop", 3) == 3


@in_virtual_time
async def test_an_owner_that_was_read_keeps_its_place_for_four_seconds() -> None:
    lookups = Lookups()
    await lookups.count_waiting("hostile", 100)
    await asyncio.sleep(WAIT_SECONDS + 0.01)
    assert len(lookups.transport.requests) == MAX_READS // 2
    await lookups.count_waiting("hostile", 100)
    await asyncio.sleep(READ_HOLD_SECONDS - 0.02)
    assert len(lookups.transport.requests) == MAX_READS // 2
    found = lookups.begin("shop")
    await asyncio.sleep(WAIT_SECONDS + 0.01)
    assert found.done()
    assert len(lookups.transport.requests) == MAX_READS // 2 + 1, "other namespaces have places"
    await lookups.count_waiting("hostile", 100)
    await asyncio.sleep(WAIT_SECONDS + 0.01)
    assert len(lookups.transport.requests) == MAX_READS + 1


@in_virtual_time
async def test_requests_that_wait_for_the_same_owner_share_its_read() -> None:
    lookups = Lookups()
    owner = Owner("apps", "ReplicaSet", "web-1", "uid-1")
    results = await asyncio.gather(*(lookups.lookup.find("shop", owner) for _ in range(20)))
    assert results == [None] * 20
    assert len(lookups.transport.requests) == 1


@in_virtual_time
async def test_an_owner_that_the_watch_shows_in_time_keeps_no_place() -> None:
    lookups = Lookups()
    writer = StoreWriter(lookups.cluster.replica_sets)
    for number in range(2 * MAX_WAITS):
        uid = f"uid-{number}"
        owner = Owner("apps", "ReplicaSet", f"web-{number}", uid)
        found = asyncio.create_task(lookups.lookup.find("shop", owner))
        await asyncio.sleep(0.01)
        assert not found.done()
        record = ReplicaSet(namespace="shop", name=f"web-{number}", uid=uid)
        change = writer.apply(Event(EventType.ADDED, record))
        assert change is not None
        lookups.cluster.on_replica_set_change(change)
        assert isinstance(await found, NoWorkload)
    assert lookups.transport.requests == []


def test_a_namespace_gets_a_place_while_more_are_free_than_it_holds() -> None:
    places = Places(8)
    taken = {
        namespace: sum(places.take(namespace) for _ in range(9)) for namespace in ("a", "b", "c")
    }
    assert taken == {"a": 4, "b": 2, "c": 1}
    assert not places.take("a")
    places.release("a")
    places.release("a")
    assert [places.take("d"), places.take("d")] == [True, True]
