"""The Lease is released last: the next holder may start to evict at once."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # seeded

from spotalis.app.build import build_operator
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.client import Client
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.transport import Request


def test_an_instance_does_not_lead_any_more_when_it_releases_the_lease() -> None:
    assert run(_led_at_each_release) == [False]


async def _led_at_each_release(clock: VirtualClock) -> list[bool]:
    led: list[bool] = []
    rng = random.Random(0)

    def note(request: Request) -> NetworkFault:
        if request.method == "PUT" and "/leases/" in request.path:
            holder = json.loads(request.body or b"{}")["spec"]["holderIdentity"]
            if not holder:
                led.append(operator.elector.leads)
        return DELIVER

    async with EmbeddedCluster(clock=clock, rng=rng) as cluster:
        admin = Client(cluster.transport("admin"), clock=clock, rng=rng)
        await admin.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "spotalis-system"}})
        transport = cluster.transport("spotalis")
        transport.on_request = note
        settings = ControllerConfiguration(identity="operator-1")
        operator = build_operator(transport, settings=settings, clock=clock, rng=rng)
        running = asyncio.create_task(operator.run())
        while not operator.elector.leads:
            await asyncio.sleep(0.1)
        await operator.elector.release()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return led
