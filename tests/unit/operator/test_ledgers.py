"""The store of ledgers where answers and events cross each other."""

from __future__ import annotations

import msgspec
import pytest

from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType, Store
from spotalis.model.ledger import Ledger, LedgerObject
from spotalis.model.transport import Response, TransportError
from spotalis.operator.ledger import Ledgers
from tests.support.builders import a_workload
from tests.support.loaded_dice import LoadedDice
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

WORKLOAD = a_workload().workload
NAME = f"spotalis-ledger-{WORKLOAD.uid}"
BODY = msgspec.json.encode(
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME, "namespace": "home", "uid": "u", "resourceVersion": "47",
        },
        "data": {"ledger": '{"futile":1}'},
    }
)  # fmt: skip
ABSENT = Response(status=404, body=b'{"kind":"Status","reason":"NotFound","code":404}')


async def test_an_old_answer_that_there_is_no_ledger_does_not_bury_the_one_that_came() -> None:
    there = Response(status=200, body=BODY)
    lost = TransportError("no answer")
    transport = ScriptedTransport([lost, ABSENT, lost, there])
    client = Client(transport, clock=ManualClock(), dice=LoadedDice())
    store: Store[LedgerObject] = Store()
    ledgers = Ledgers(client, store, "home")
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile=1))
    # The write arrives after all, the watch shows it, and then comes the answer from before.
    ledgers.writer.apply(Event(EventType.ADDED, decode.ledger(BODY)))
    assert await ledgers.read(WORKLOAD.uid) is None
    with pytest.raises(TransportError):
        await ledgers.write(WORKLOAD, None, Ledger(futile=1))
    found = await ledgers.read(WORKLOAD.uid)
    assert found is not None
    assert found.resource_version == "47"
