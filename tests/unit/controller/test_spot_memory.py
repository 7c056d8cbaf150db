"""What is known about spot, when writes of other instances and responses cross."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from spotalis.controller.spot_memory import NAME, SpotMemory
from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, Store, StoreWriter
from spotalis.model.ledger import LedgerObject
from spotalis.model.spot_knowledge import SpotKnowledge, SpotRecord
from spotalis.model.transport import Response, TransportError
from tests.support.builders import NOW
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

MINE = SpotRecord(shape="plain", at=NOW)
THEIRS = SpotRecord(shape="gpu", at=NOW - timedelta(minutes=1))
CONFLICT = Response(status=409, body=b'{"kind":"Status","reason":"AlreadyExists","code":409}')


def stored(version: int, *records: SpotRecord, schema: int = 1) -> Response:
    knowledge = SpotKnowledge(schema=schema, records=records)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME,
            "namespace": "home",
            "uid": "u",
            "resourceVersion": str(version),
        },
        "data": {"spot": msgspec.json.encode(knowledge).decode()},
    }
    return Response(status=200, body=msgspec.json.encode(body))


def memory(*answers: Response | Exception) -> tuple[SpotMemory, ScriptedTransport]:
    transport = ScriptedTransport(list(answers))
    client = Client(transport, clock=ManualClock(), rng=LoadedRandom())
    store: Store[LedgerObject] = Store()
    return SpotMemory(client, store, StoreWriter(store), "home"), transport


def written(transport: ScriptedTransport) -> set[SpotRecord]:
    body = msgspec.json.decode(transport.requests[-1].body)
    return set(msgspec.json.decode(body["data"]["spot"], type=SpotKnowledge).records)


async def test_news_count_before_they_are_written() -> None:
    spot, transport = memory(stored(1, MINE))
    spot.learn([MINE])
    assert spot.records == (MINE,)
    await spot.write()
    assert written(transport) == {MINE}
    await spot.write()
    assert len(transport.requests) == 1


async def test_news_of_another_instance_are_kept() -> None:
    spot, transport = memory(CONFLICT, stored(7, THEIRS), stored(8, MINE, THEIRS))
    spot.learn([MINE])
    await spot.write()
    assert [request.method for request in transport.requests] == ["POST", "GET", "PUT"]
    assert written(transport) == {MINE, THEIRS}
    assert spot.records == (MINE, THEIRS)


async def test_news_whose_write_failed_are_written_with_the_next_ones() -> None:
    spot, transport = memory(TransportError("no response"), stored(1, MINE))
    spot.learn([MINE])
    with pytest.raises(TransportError):
        await spot.write()
    await spot.write()
    assert written(transport) == {MINE}


async def test_what_another_version_has_written_is_learned_again() -> None:
    store: Store[LedgerObject] = Store()
    found = decode.ledger(stored(1, MINE, schema=2).body)
    StoreWriter(store).apply(Event(EventType.ADDED, found))
    assert (found.spot, found.ledger) == ((), None)
