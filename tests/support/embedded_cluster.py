"""Scenarios on the embedded cluster: the operator runs in this process, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # seeded
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from spotalis.app.build import build_operator
from spotalis.app.telemetry import take_snapshot
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.controllers.provisioner import Provisioning
from spotalis.embedded.nodes import NodeSize
from spotalis.embedded.server.audit import AuditEntry
from spotalis.embedded.transport import FaultInjector
from spotalis.embedded.virtual_time import EPOCH, VirtualClock, run
from spotalis.kube.client import Client
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.nodes import NodeType
from spotalis.settings.declarations import SETTINGS
from spotalis.settings.sources import Sources
from spotalis.web.exposition import Snapshot
from spotalis.webhook.errors import NotLeader
from spotalis.webhook.forward import PeerRejected, PeerUnreachable
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.webhook_configuration import webhook_configuration
from tests.support.cluster import Answer, TestCluster
from tests.support.operator_replicas import (
    FAILED_OPEN,
    LEASE_PATH,
    AcceptedEviction,
    OperatorInstance,
    OperatorReplicas,
)
from tests.support.scenarios import Scenario

NETWORK_SECONDS = 0.0005
"""Latency of the network between two instances, one way."""
WRITE_VERBS = frozenset({"create", "update", "patch", "delete"})


class EmbeddedTestCluster(TestCluster):
    """A :class:`TestCluster` on an :class:`EmbeddedCluster` in virtual time."""

    namespace = "default"
    user = "spotalis"

    def __init__(self, clock: VirtualClock, seed: int, timing: Timing | None = None) -> None:
        self._clock = clock
        self._dice = random.Random(seed)
        self._started = 0
        self._instances: list[EmbeddedOperatorInstance] = []
        self._reviews = 0
        self.settings: dict[str, Any] = {}
        """Fields of ``ControllerConfiguration`` that differ from the defaults."""
        self._others: dict[str, Answer] = {}
        """Other mutating webhooks, by URL."""
        self.embedded = EmbeddedCluster(
            clock=clock, rng=self._dice, webhook=self._review, timing=timing
        )
        self.transport = self.embedded.transport(self.user)
        """The transport of the instance started last. Tests inject faults into it."""
        self.reader = self.embedded.transport("reader")
        self.api = Client(self.embedded.transport("admin"), clock=clock, rng=self._dice)

    async def _review(self, target: Mapping[str, Any], body: bytes, seconds: float) -> bytes:
        """Call the webhook at a URL; the instances of the operator take turns."""
        if (other := self._others.get(str(target.get("url")))) is not None:
            return json.dumps(other(json.loads(body))).encode()
        if self.webhook_unreachable:
            raise ConnectionRefusedError("connection refused")
        serving = [instance for instance in self._instances if instance.operator.synced.is_set()]
        if not serving:
            raise ConnectionRefusedError("no operator is running")
        self._reviews += 1
        instance = serving[self._reviews % len(serving)]
        return await instance.serve(instance.operator.admission.handle, body)

    @asynccontextmanager
    async def mutating_webhook(self, answer: Answer) -> AsyncIterator[Mapping[str, Any]]:
        """Serve a mutating webhook in this process."""
        url = f"https://other-{len(self._others)}.invalid/"
        self._others[url] = answer
        yield {"url": url}

    @asynccontextmanager
    async def operator(self, *flags: str) -> AsyncIterator[None]:
        """Run one instance during the block, ready when the block begins."""
        async with self.operators(1, *flags):
            yield

    @asynccontextmanager
    async def operators(self, count: int, *flags: str) -> AsyncIterator[EmbeddedOperatorReplicas]:
        """Run several instances, all ready when the block begins. One of them leads."""
        operators = EmbeddedOperatorReplicas(self)
        for _ in range(count):
            instance = await self._start(flags, alone=count == 1)
            operators.instances.append(instance)
        try:
            yield operators
            for instance in operators.instances:
                if instance.running.done() and not instance.running.cancelled():
                    await instance.running
        finally:
            for instance in operators.instances:
                if not instance.running.done():
                    await instance.terminate()

    async def _start(self, flags: Sequence[str], *, alone: bool) -> EmbeddedOperatorInstance:
        self._started += 1
        settings = replace(_set_by(flags), identity=f"operator-{self._started}_0")
        excluded = settings.namespaces.excluded | {settings.namespace}
        settings = replace(settings, namespaces=replace(settings.namespaces, excluded=excluded))
        settings = replace(settings, **self.settings)
        await self._register(sorted(excluded))
        user = self.user if alone else f"{self.user}/{settings.identity}"
        instance = EmbeddedOperatorInstance(self, settings, user, self._clock, self._dice)
        self.transport = instance.transport
        await instance.operator.synced.wait()
        self._instances.append(instance)
        return instance

    async def start_instance(
        self, identity: str, inject: FaultInjector
    ) -> EmbeddedOperatorInstance:
        """Start an instance with a faulty connection, and do not wait for its caches.

        It gets no admission requests of the API server before its caches are synced.
        """
        settings = replace(ControllerConfiguration(), identity=identity)
        await self._register(sorted(settings.namespaces.excluded))
        user = f"{self.user}/{identity}"
        instance = EmbeddedOperatorInstance(self, settings, user, self._clock, self._dice)
        instance.transport.on_request = inject
        self._instances.append(instance)
        return instance

    def scraped(self) -> Snapshot:
        """Return the metrics that a scrape of the running operator would read."""
        return take_snapshot(self._instances[0].operator, self._clock)

    async def kill_operator(self) -> None:
        """Cancel all tasks at once, without releasing the Lease."""
        await self._instances[0].kill()
        await self.api.raw("DELETE", LEASE_PATH)

    def at(self, address: str) -> EmbeddedOperatorInstance | None:
        """Return the instance at an address, or None."""
        return next(
            (one for one in self._instances if one.operator.elector.address == address), None
        )

    def gone(self, instance: EmbeddedOperatorInstance) -> None:
        """Stop sending admission requests to an instance."""
        if instance in self._instances:
            self._instances.remove(instance)

    async def _register(self, excluded: list[str]) -> None:
        registered = webhook_configuration(
            name="spotalis",
            client_config={"url": "https://operator.invalid/mutate"},
            excluded=excluded,
        )
        home = {"metadata": {"name": "spotalis-system"}}
        await self.api.raw("POST", "/api/v1/namespaces", home)
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        await self.api.raw("POST", path, registered)

    def evictions(self) -> list[str]:
        """Read from the audit log."""
        found = self.embedded.audit.evictions()
        return [e.name for e in found if self._is_ours(e) and e.namespace == self.namespace]

    def eviction_times(self) -> list[datetime]:
        """Read from the audit log."""
        found = self.embedded.audit.evictions()
        return [e.at for e in found if self._is_ours(e) and e.namespace == self.namespace]

    def count_refused_evictions(self) -> int:
        """Read from the audit log."""
        return sum(
            entry.code >= 300
            for entry in self.embedded.audit.find(verb="create", kind="pods/eviction")
            if self._is_ours(entry) and entry.namespace == self.namespace
        )

    async def get_status_reason(self, name: str) -> str:
        """Read from the metrics."""
        for instance in self._instances:
            for row in take_snapshot(instance.operator, self._clock).workloads:
                if (row.namespace, row.workload) == (self.namespace, name):
                    return row.reason
        return ""

    async def count_reconciles(self) -> int:
        """Counted in the running instances."""
        return sum(instance.results.reconciles for instance in self._instances)

    async def restore_webhook(self) -> None:
        """Let admission requests reach the operator again."""
        self.webhook_unreachable = False

    def _is_ours(self, entry: AuditEntry) -> bool:
        """True for requests of the operator. With several instances, each has its own user name."""
        return entry.user == self.user or entry.user.startswith(f"{self.user}/")

    def writes(self) -> list[tuple[str, str]]:
        """Read from the audit log."""
        return [
            (entry.verb, entry.plural + (f"/{entry.subresource}" if entry.subresource else ""))
            for entry in self.embedded.audit.find()
            if self._is_ours(entry)
            if entry.verb in WRITE_VERBS and entry.plural != "leases"
        ]

    async def add_nodes(self, *, spot: int = 0, on_demand: int = 0) -> list[str]:
        """Add nodes to the fleet."""
        return await self.embedded.fleet.add(
            spot=spot, on_demand=on_demand, cpu="32", memory="128Gi"
        )

    @asynccontextmanager
    async def provisioner(self) -> AsyncIterator[None]:
        """Run the provisioner of the embedded cluster."""
        limits = {NodeType.SPOT: 20, NodeType.ON_DEMAND: 20}
        self.embedded.provisioning = Provisioning(
            limits=limits, delay=timedelta(seconds=10), size=NodeSize(cpu="32", memory="128Gi")
        )
        await self.embedded.start_controller("provisioner")
        try:
            yield
        finally:
            await self.embedded.stop_controller("provisioner")

    async def serve_api(
        self, group: str, *, plural: str = "things", objects: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Show the group in discovery and in lists."""
        self.embedded.api.custom_groups[group] = {plural: [dict(one) for one in objects]}

    async def remove_api(self, group: str, *, plural: str = "things") -> None:
        """Show the group no longer."""
        del self.embedded.api.custom_groups[group]

    async def now(self) -> datetime:
        """Return the virtual time."""
        return self._clock.now()

    async def reclaim(self, *nodes: str) -> None:
        """Remove nodes and their pods from the fleet."""
        for node in nodes:
            await self.embedded.fleet.reclaim(node)


def _set_by(flags: Sequence[str]) -> ControllerConfiguration:
    """Parse command line flags: ``_set_by(["--storm-cooldown=20s"])``."""
    by_flag = {setting.flag: setting.key for setting in SETTINGS.values()}
    given = {}
    for flag in flags:
        name, _, text = flag.removeprefix("--").partition("=")
        given[by_flag[name]] = text or "true"
    return Sources(environment={}, flags=given).load().settings.controller


class _Results(Telemetry):
    """Counts the reconciles, and the results of admission requests."""

    def __init__(self) -> None:
        self.of_admission: Counter[str] = Counter()
        self.of_forwarding: Counter[str] = Counter()
        self.reconciles = 0

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        self.reconciles += 1

    def on_admission(self, result: str) -> None:
        self.of_admission.update([result])

    def on_forward(self, result: str) -> None:
        self.of_forwarding.update([result])


class EmbeddedOperatorInstance(OperatorInstance):
    """An :class:`Operator` and the parts of its process that scenarios need."""

    def __init__(
        self,
        cluster: EmbeddedTestCluster,
        settings: ControllerConfiguration,
        user: str,
        clock: VirtualClock,
        rng: random.Random,
    ) -> None:
        self.identity = settings.identity
        self.results = results = _Results()
        self.forward_results = results.of_forwarding
        self.admission_results = results.of_admission
        self.unreachable_addresses: set[str] = set()
        """Addresses of other instances that do not answer this one."""
        self._cluster = cluster
        self._serving: set[asyncio.Task[HandlerResponse]] = set()
        self.transport = cluster.embedded.transport(user)
        self.operator = build_operator(
            self.transport,
            settings=settings,
            clock=clock,
            rng=rng,
            telemetry=results,
            peer_client=self,
        )
        self.operator.elector.address = f"{settings.identity}:9443"
        self.running = asyncio.create_task(self.operator.run())

    async def send(self, address: str, body: bytes) -> bytes:
        """Send an admission request to the leader, as the network does."""
        if address in self.unreachable_addresses:
            await asyncio.sleep(3600)
        leader = self._cluster.at(address)
        if leader is None:
            raise PeerUnreachable("connection refused")
        await asyncio.sleep(NETWORK_SECONDS)
        try:
            answer = await leader.serve(leader.operator.admission.handle_forwarded, body)
        except NotLeader:
            raise PeerRejected("HTTP 421") from None
        except ConnectionResetError as error:
            raise PeerUnreachable(str(error)) from None
        await asyncio.sleep(NETWORK_SECONDS)
        return answer

    async def serve(
        self, answer: Callable[[bytes], Coroutine[Any, Any, HandlerResponse]], body: bytes
    ) -> bytes:
        """Answer an admission request. Fails if the instance is killed meanwhile."""
        task = asyncio.create_task(answer(body))
        self._serving.add(task)
        try:
            return (await task).body
        except asyncio.CancelledError:
            if task.cancelled() and self.running.done():
                raise ConnectionResetError("the operator died") from None
            task.cancel()
            raise
        finally:
            self._serving.discard(task)

    async def terminate(self) -> None:
        """Stop in the order of :class:`spotalis.app.process.Process`."""
        await self.operator.stop_evictions()
        self._cluster.gone(self)
        if self._serving:
            await asyncio.wait(self._serving)
        await self.operator.release()
        await self._end()

    async def kill(self) -> None:
        """Cancel all tasks at once, without releasing the Lease."""
        self._cluster.gone(self)
        await self._end()

    async def _end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        for task in list(self._serving):
            task.cancel()


class EmbeddedOperatorReplicas(OperatorReplicas):
    """Instances of the operator in this process."""

    def __init__(self, cluster: EmbeddedTestCluster) -> None:
        self.api = cluster.api
        self._cluster = cluster
        self.instances: list[EmbeddedOperatorInstance] = []

    def evictions(self) -> list[AcceptedEviction]:
        """Read from the audit log."""
        return [
            AcceptedEviction(entry.at, entry.at, entry.user.partition("/")[2])
            for entry in self._cluster.embedded.audit.evictions()
        ]

    async def forward_results(self) -> Counter[str]:
        """Sum the counts of all instances."""
        return sum((instance.forward_results for instance in self.instances), Counter())

    def unanswered_pods(self) -> list[str]:
        """Read from the annotations of the audit log."""
        return [
            entry.name
            for entry in self._cluster.embedded.audit.find(verb="create", kind="pods")
            if any(key.startswith(FAILED_OPEN) for key in entry.annotations)
        ]


def run_scenario(
    scenario: Scenario, *, seed: int = 0, epoch: datetime = EPOCH, timing: Timing | None = None
) -> None:
    """Run a scenario on a new embedded cluster, in virtual time that begins at ``epoch``."""

    async def on_new_cluster(clock: VirtualClock) -> None:
        cluster = EmbeddedTestCluster(clock, seed, timing)
        async with cluster.embedded:
            await scenario(cluster)

    run(on_new_cluster, epoch=epoch)
