"""Scenarios on the embedded cluster: the same operator, in this process and in virtual time."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # seeded
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from spotalis.app.operator import Operator
from spotalis.app.report import Report
from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.virtual_time import EPOCH, VirtualClock, run
from spotalis.kube.client import Client
from spotalis.model.settings import ControllerConfiguration
from spotalis.web.exposition import Snapshot
from spotalis.webhook.registration import configuration
from tests.support.bed import Bed
from tests.support.stage import Play, Scenario

WRITE_VERBS = frozenset({"create", "update", "patch", "delete"})


class OnEmbeddedCluster(Bed):
    """An :class:`EmbeddedCluster` in virtual time, in a scenario's words."""

    namespace = "default"
    user = "spotalis"

    def __init__(self, clock: VirtualClock, seed: int, timing: Timing | None = None) -> None:
        self._clock = clock
        self._dice = random.Random(seed)
        self._replicas = 0
        self._operator: Operator | None = None
        self._running: asyncio.Task[None] | None = None
        self.settings: dict[str, Any] = {}
        """Fields of ``ControllerConfiguration`` that differ from the defaults."""
        self.others: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {}
        """Other webhooks, from an admission review to its answer, by URL."""
        self.cluster = EmbeddedCluster(
            clock=clock, dice=self._dice, webhook=self._review, timing=timing
        )
        self.transport = self.cluster.transport(self.user)
        """Of the operator that runs: faults can be ordered on it."""
        self.api = Client(self.cluster.transport("admin"), clock=clock, dice=self._dice)

    async def _review(self, target: Mapping[str, Any], body: bytes, seconds: float) -> bytes:
        """What the API server reaches at a webhook's address: the operator, if one runs."""
        if (other := self.others.get(str(target.get("url")))) is not None:
            return json.dumps(other(json.loads(body))).encode()
        if self._operator is None or not self._operator.synced.is_set():
            raise ConnectionRefusedError("no operator is running")
        return await self._operator.admission.answer(body)

    @asynccontextmanager
    async def operator(self, *flags: str) -> AsyncIterator[None]:
        """One replica, ready when the block begins."""
        assert not flags, "flags are for processes"
        self._replicas += 1
        settings = ControllerConfiguration(identity=f"operator-{self._replicas}")
        excluded = settings.namespaces.excluded | {settings.namespace}
        settings = replace(settings, namespaces=replace(settings.namespaces, excluded=excluded))
        settings = replace(settings, **self.settings)
        await self._register(sorted(excluded))
        self.transport = self.cluster.transport(self.user)
        operator = Operator(
            self.transport,
            settings=settings,
            clock=self._clock,
            dice=self._dice,
        )
        running = asyncio.create_task(operator.run())
        self._operator, self._running = operator, running
        await operator.synced.wait()
        try:
            yield
            if running.done() and not running.cancelled():
                await running
        finally:
            if not running.done():
                await operator.stop_moving()
            await self._end(running)

    def scraped(self) -> Snapshot:
        """What a scrape of the running operator would read."""
        assert self._operator is not None
        return Report(self._operator, self._clock).snapshot()

    async def kill_operator(self) -> None:
        """Cancel everything it does, at once; nothing is released."""
        assert self._running is not None
        await self._end(self._running)
        lease = "/apis/coordination.k8s.io/v1/namespaces/spotalis-system/leases/spotalis"
        await self.api.raw("DELETE", lease)

    async def _end(self, running: asyncio.Task[None]) -> None:
        self._operator = None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def _register(self, excluded: list[str]) -> None:
        registered = configuration(
            name="spotalis",
            client_config={"url": "https://operator.invalid/mutate"},
            excluded=excluded,
        )
        home = {"metadata": {"name": "spotalis-system"}}
        await self.api.raw("POST", "/api/v1/namespaces", home)
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        await self.api.raw("POST", path, registered)

    def evictions(self) -> list[str]:
        """From the audit log."""
        found = self.cluster.evictions(self.user)
        return [name for namespace, name in found if namespace == self.namespace]

    def writes(self) -> list[tuple[str, str]]:
        """From the audit log."""
        return [
            (entry.verb, entry.plural + (f"/{entry.subresource}" if entry.subresource else ""))
            for entry in self.cluster.audit.of(user=self.user)
            if entry.verb in WRITE_VERBS and entry.plural != "leases"
        ]

    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """From the fleet."""
        return await self.cluster.fleet.add(
            spot=spot, on_demand=on_demand, cpu="32", memory="128Gi"
        )

    async def now(self) -> datetime:
        """Virtual time."""
        return self._clock.now()

    async def reclaim(self, node: str) -> None:
        """Node and pods at once."""
        await self.cluster.fleet.take(node)


def playing(seed: int = 0, epoch: datetime = EPOCH, timing: Timing | None = None) -> Iterator[Play]:
    """A cluster of the scenario's own, in virtual time from ``epoch`` on."""

    def play(scenario: Scenario) -> None:
        async def on_stage(clock: VirtualClock) -> None:
            stage = OnEmbeddedCluster(clock, seed, timing)
            async with stage.cluster:
                await scenario(stage)

        run(on_stage, epoch=epoch)

    yield play
