"""Ledgers of Rollouts that cannot be watched at the moment."""

from __future__ import annotations

import msgspec

from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import LEDGER_PREFIX, Ledgers
from spotalis.controller.reservations import Reservations
from spotalis.controller.sweep import Sweeper
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.store import Event, EventType
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.transport import Response
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

LEDGER = {
    "schema": 1,
    "workload": "Rollout/shop/api",
    "intents": [{"pod": "p", "name": "api-1", "target": "spot", "instance": "me"}],
}
STORED = {
    "metadata": {"name": f"{LEDGER_PREFIX}u", "namespace": "home", "uid": "l"},
    "data": {"ledger": msgspec.json.encode(LEDGER).decode()},
}
POD = {"metadata": {"name": "api-1", "namespace": "shop", "uid": "p"}, "spec": {}, "status": {}}
HERE = Response(status=200, body=msgspec.json.encode(POD))
GONE = Response(status=404, body=b'{"kind":"Status","reason":"NotFound","code":404}')


async def test_the_ledger_of_a_rollout_that_cannot_be_read_is_kept_until_its_moves_have_ended() -> (
    None
):
    """The permission may be missing for a while; an eviction may be on its way."""
    clock = ManualClock()
    transport = ScriptedTransport([HERE, GONE, Response(status=200, body=b"{}")])
    client = Client(transport, clock=clock, rng=LoadedRandom())
    settings = ControllerConfiguration(namespace="home")
    cluster = Cluster(settings, Reservations(clock), lambda key: None, clock)
    cluster.on_rollouts_discovered(False)
    ledgers = Ledgers(client, cluster.ledgers, "home")
    ledgers.writer.apply(Event(EventType.ADDED, decode.ledger(msgspec.json.encode(STORED))))
    sweeper = Sweeper(
        cluster=cluster,
        ledgers=ledgers,
        terminations=Terminations(cluster, client),
        volumes=Volumes(client, clock),
        client=client,
    )
    await sweeper.sweep()
    await sweeper.sweep()
    assert [request.method for request in transport.requests] == ["GET", "GET", "DELETE"]
