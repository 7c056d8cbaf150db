"""Ledgers that several workers of one process read and write."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded

from spotalis.controller.ledgers import Ledgers
from spotalis.embedded.server.api import Api
from spotalis.embedded.transport import InProcessTransport, NetworkFault
from spotalis.kube.client import Client
from spotalis.kube.store import Store
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from tests.support.builders import a_workload
from tests.support.virtual_time import run_in_virtual_time, virtual_clock


def test_a_move_counts_while_its_ledger_is_still_being_written() -> None:
    run_in_virtual_time(_two_workers())


async def _two_workers() -> None:
    clock, rng = virtual_clock(), random.Random(0)
    slow = NetworkFault(delay_seconds=1)
    transport = InProcessTransport(Api(clock=clock, rng=rng), "self", lambda request: slow)
    client = Client(transport, clock=clock, rng=rng)
    store: Store[LedgerObject] = Store()
    ledgers = Ledgers(client, store, "kube-system")
    intent = Intent(pod="api-0-uid", name="api-0", target=NodeType.SPOT, instance="self")
    workload = a_workload(spot=1).workload

    writing = asyncio.create_task(ledgers.write(workload, None, Ledger(intents=(intent,))))
    await asyncio.sleep(0)  # now another worker decides
    assert not list(store)
    assert ledgers.intents() == {workload.namespace: [intent]}

    written = await writing
    assert ledgers.intents() == {workload.namespace: [intent]}
    await ledgers.write(workload, written, Ledger())
    assert ledgers.intents() == {}
