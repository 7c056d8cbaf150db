"""Reads a cluster once, and decides what the operator would do; nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from spotalis.app.build import build_operator
from spotalis.app.operator import Operator
from spotalis.app.watches import Source
from spotalis.controller.cluster import Cluster, key_of
from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.kube.client import Client
from spotalis.kube.errors import Forbidden
from spotalis.kube.resources import NAMESPACES
from spotalis.kube.store import Event, EventType, Record
from spotalis.model.configuration import ENABLED, WorkloadConfiguration
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock, Random
from spotalis.model.objects import PREFIX, Namespace, Workload
from spotalis.model.transport import Request, Response, Transport
from spotalis.planner.decide import ReconcilePlan

CONSEQUENCES: Mapping[str, str] = {
    "pods": "replicas of other namespaces are not counted as load of the nodes",
    "nodes": "the capacity type of a pod is taken from its label spotalis.io/capacity-type",
    "namespaces": "labels and annotations of namespaces are not seen",
    "deployments": "no Deployment is shown",
    "statefulsets": "no StatefulSet is shown",
    "rollouts": "no Rollout is shown",
    "replicasets": "the pods of Deployments are not found",
    "poddisruptionbudgets": "a move that a PodDisruptionBudget blocks is shown as possible",
    "configmaps": "moves in progress and the memory of spot shortages are not seen",
}
"""What is less exact when a kind cannot be listed, by its plural name."""


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A kind that the user may not list."""

    resource: str
    """Its plural name."""
    namespace: str
    """Empty: not in all namespaces."""

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"you may not list {self.resource} {where}: {CONSEQUENCES[self.resource]}"


class LimitedTransport:
    """Gives each request the same time limit. Streams keep theirs, which is about silence."""

    def __init__(self, transport: Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds

    async def send(self, request: Request) -> Response:
        """Send the request with the limit."""
        return await self._transport.send(replace(request, timeout_seconds=self._seconds))

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Stream the response."""
        return self._transport.stream(request)

    async def close(self) -> None:
        """Release every connection."""
        await self._transport.close()


class ReadOnlyTransport:
    """Passes reads to an API server, and rejects every other request without sending it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request) -> Response:
        """Send a GET request; any other one is answered with 403."""
        if request.method != "GET":
            return Response(status=403, body=b'{"reason":"Forbidden","message":"read-only"}')
        return await self._transport.send(request)

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Stream the response of a GET request, as watches need."""
        return self._transport.stream(request)

    async def close(self) -> None:
        """Release every connection."""
        await self._transport.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConnection:
    """A connection to a cluster, with the permissions of a user."""

    transport: Transport
    clock: Clock
    rng: Random
    namespace: str = ""
    """Where to list what the user may not list in all namespaces; also the default of commands."""

    def client(self) -> Client:
        """A client that may also write."""
        return Client(self.transport, clock=self.clock, rng=self.rng)


class Inspection:
    """A cluster as it was when it was read, and the operator's decisions about it.

    The decisions are those of an operator that has just started: what a running one remembers
    outside its ledgers (cooldowns, refused evictions, lost spot nodes) is not known.
    """

    def __init__(self, operator: Operator, missing: tuple[MissingRight, ...]) -> None:
        self.cluster = operator.cluster
        self.client = operator.client
        self.missing = missing
        """What could not be read."""
        self._reconciler = operator.reconcile_loop.reconciler

    def configuration_of(
        self, workload: Workload, changes: Mapping[str, str] | None = None, *, enable: bool = False
    ) -> WorkloadConfiguration:
        """The policy of a workload.

        Args:
            changes: annotations to try, without the prefix, by key.
            enable: as if the workload had opted in, if its namespace is managed at all.
        """
        annotations = {PREFIX + key: value for key, value in (changes or {}).items()}
        labels = {ENABLED: "true"} if enable else {}
        tried = msgspec.structs.replace(
            workload,
            annotations={**workload.annotations, **annotations},
            labels={**workload.labels, **labels},
        )
        return self.cluster.read_policy(tried)

    async def plan(
        self, workload: Workload, configuration: WorkloadConfiguration | None = None
    ) -> ReconcilePlan:
        """What the operator would do with a workload now.

        Args:
            configuration: a policy to try instead of the workload's own.

        Raises:
            ApiError, TransportError: an object that only some decisions need could not be read.
        """
        if configuration is None:
            key = key_of(workload)
            configuration = self.cluster.find_configuration(key)
        name = LEDGER_PREFIX + workload.uid
        stored = self.cluster.ledgers.get(self.cluster.settings.namespace, name)
        return await self._reconciler.plan(
            workload, configuration or self.configuration_of(workload), stored
        )


async def inspect(connection: ClusterConnection, settings: ControllerConfiguration) -> Inspection:
    """Read what an operator with these settings would watch, once.

    Raises:
        ApiError, TransportError: the API server rejected the credentials or did not answer.
    """
    operator = await _prepare(connection, settings)
    sources = operator.watches.sources()
    if operator.cluster.watches_rollouts:
        sources += tuple(operator.watches.rollout_sources())
    reads = (_read(operator.client, source, connection.namespace) for source in sources)
    missing = [right for rights in await asyncio.gather(*reads) for right in rights]
    for source in sources:
        if source.resource is NAMESPACES and missing:
            _assume_namespaces(operator.cluster, source)
    return Inspection(operator, tuple(missing))


@asynccontextmanager
async def follow(
    connection: ClusterConnection, settings: ControllerConfiguration
) -> AsyncIterator[Inspection]:
    """As :func:`inspect`, but the cluster is watched and stays up to date until the end.

    Raises:
        ApiError, TransportError: the cluster cannot be read, or a kind of it.
    """
    for right in (await inspect(connection, settings)).missing:
        raise Forbidden(403, "Forbidden", f"to watch, every kind must be readable; {right}")
    operator = await _prepare(connection, settings)

    async def watch() -> None:
        async with asyncio.TaskGroup() as group:
            operator.watches.start(group)

    watching = asyncio.create_task(watch())
    try:
        await operator.synced.wait()
        yield Inspection(operator, ())
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _prepare(connection: ClusterConnection, settings: ControllerConfiguration) -> Operator:
    """An operator that is not started and knows which optional APIs are served."""
    operator = build_operator(
        ReadOnlyTransport(connection.transport),
        settings=settings,
        clock=connection.clock,
        rng=connection.rng,
    )
    await operator.groups_in_use.discover()
    await operator.watches.discover()
    return operator


async def _read(client: Client, source: Source[Any], namespace: str) -> list[MissingRight]:
    """Fill the store of a kind; returns where the user may not list it."""
    resource, missing = source.resource, []
    found: list[Any] = []
    fallback = [namespace] if resource.namespaced and namespace and not source.namespace else []
    for scope in (source.namespace, *fallback):
        try:
            found = await client.list_all(resource, scope, quorum=True)
            break
        except Forbidden:
            missing.append(MissingRight(resource.plural, scope))
    source.writer.begin_relist()
    for record in found:
        _add(source, record)
    source.writer.end_relist()
    source.writer.mark_fresh(client.clock.monotonic())
    return missing


def _add(source: Source[Any], record: Record) -> None:
    change = source.writer.apply(Event(EventType.ADDED, record))
    if change is not None:
        source.on_change(change)


def _assume_namespaces(cluster: Cluster, source: Source[Any]) -> None:
    """Treat unreadable namespaces of workloads as namespaces without labels and annotations."""
    for name in {workload.namespace for workload in cluster.workloads()}:
        if cluster.namespaces.get("", name) is None:
            _add(source, Namespace(name=name, uid=""))
