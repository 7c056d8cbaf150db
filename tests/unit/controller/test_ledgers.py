"""Ledgers when responses and watch events arrive in an unexpected order."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from spotalis.controller.ledgers import Ledgers
from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, Store
from spotalis.model.ledger import Ledger, LedgerObject
from spotalis.model.transport import Request, Response, TransportError
from tests.support.builders import a_workload
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import Answer, ScriptedTransport

WORKLOAD = a_workload().workload
NAME = f"spotalis-ledger-{WORKLOAD.uid}"
BODY = msgspec.json.encode(
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME, "namespace": "home", "uid": "u", "resourceVersion": "47",
        },
        "data": {"ledger": '{"workload":"Deployment/shop/api","futile":1}'},
    }
)  # fmt: skip
ABSENT = Response(status=404, body=b'{"kind":"Status","reason":"NotFound","code":404}')


async def test_an_old_answer_that_there_is_no_ledger_does_not_bury_the_one_that_came() -> None:
    there = Response(status=200, body=BODY)
    lost = TransportError("no response")
    transport = ScriptedTransport([lost, ABSENT, lost, there])
    client = Client(transport, clock=ManualClock(), rng=LoadedRandom())
    store: Store[LedgerObject] = Store()
    ledgers = Ledgers(client, store, "home")
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile_moves=1))
    # The write arrives, the watch shows it, and then the earlier response arrives.
    ledgers.writer.apply(Event(EventType.ADDED, decode.ledger(BODY)))
    assert await ledgers.read(WORKLOAD.uid) is None
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile_moves=1))
    found = await ledgers.read(WORKLOAD.uid)
    assert found is not None
    assert found.resource_version == "47"


class Crossed(ScriptedTransport):
    """Calls a function while a request is in transit."""

    def __init__(self, answers: list[Answer], meanwhile: Callable[[], object]) -> None:
        super().__init__(answers)
        self._meanwhile = meanwhile

    async def send(self, request: Request) -> Response:
        self._meanwhile()
        return await super().send(request)


async def test_a_late_response_to_a_deletion_does_not_remove_a_newer_ledger_of_that_name() -> None:
    """Seed 1934 of the simulation: the new ledger was never read again."""
    old = decode.ledger(BODY)
    new = msgspec.structs.replace(old, uid="another", resource_version="66")
    store: Store[LedgerObject] = Store()
    transport = Crossed([ABSENT], lambda: ledgers.writer.apply(Event(EventType.ADDED, new)))
    ledgers = Ledgers(Client(transport, clock=ManualClock(), rng=LoadedRandom()), store, "home")
    ledgers.writer.apply(Event(EventType.ADDED, old))
    assert await ledgers.write(WORKLOAD, old, Ledger()) is None
    assert ledgers.cached(WORKLOAD.uid) == new


async def test_a_not_found_response_does_not_hide_a_ledger_created_meanwhile() -> None:
    new = decode.ledger(BODY)
    store: Store[LedgerObject] = Store()
    transport = Crossed(
        [TransportError("no response"), ABSENT],
        lambda: len(transport.requests) and ledgers.writer.apply(Event(EventType.ADDED, new)),
    )
    ledgers = Ledgers(Client(transport, clock=ManualClock(), rng=LoadedRandom()), store, "home")
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile_moves=1))
    assert await ledgers.read(WORKLOAD.uid) == new


@pytest.mark.parametrize(
    "written",
    [
        pytest.param('{"schema":2,"workload":"Deployment/shop/api"}', id="of a later version"),
        pytest.param('{"futile":1}', id="without a workload"),
        pytest.param('{"workload":"api"}', id="of an invalid workload"),
        pytest.param("{", id="truncated"),
        pytest.param("", id="empty"),
        pytest.param(
            '{"workload":"Deployment/shop/api","intents":[{}]}', id="with an incomplete intent"
        ),
    ],
)
def test_an_unreadable_ledger_has_no_content(written: str) -> None:
    body = msgspec.json.encode(
        {"metadata": {"name": NAME, "namespace": "home"}, "data": {"ledger": written}}
    )
    found = decode.ledger(body)
    assert (found.name, found.ledger) == (NAME, None)


async def test_a_failed_write_of_a_deleted_workload_is_forgotten() -> None:
    transport = ScriptedTransport([TransportError("no response"), ABSENT])
    store: Store[LedgerObject] = Store()
    ledgers = Ledgers(Client(transport, clock=ManualClock(), rng=LoadedRandom()), store, "home")
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile_moves=1))
    ledgers.retain({WORKLOAD.uid})
    await ledgers.read(WORKLOAD.uid)
    assert len(transport.requests) == 2, "the API server is asked"
    transport.answers.append(TransportError("no response"))
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile_moves=1))
    transport.answers.append(ABSENT)
    ledgers.retain(set())
    await ledgers.read(WORKLOAD.uid)
    assert len(transport.requests) == 3
