"""The watches that keep the stores of the cluster up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from spotalis import logs
from spotalis.app.rollout_watch import RolloutWatch
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import GROUP_MEMORY, Ledgers
from spotalis.controller.observe import Observer
from spotalis.kube.client import Client
from spotalis.kube.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LEDGERS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    ROLLOUTS,
    STATEFULSETS,
    Resource,
)
from spotalis.kube.store import Record, Store, StoreChange, StoreWriter
from spotalis.kube.watch import Relist, WatchProblem, WatchReport, reflect
from spotalis.model.environment import Clock
from spotalis.model.ledger import LedgerObject

log = logs.get(__name__)

T = TypeVar("T", bound=Record)


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """One resource, or the part of it that is in one namespace, and where its objects go."""

    resource: Resource[T]
    writer: StoreWriter[T]
    on_change: Callable[[StoreChange[T]], None]
    namespace: str = ""
    """Empty for all namespaces."""

    @property
    def name(self) -> str:
        """For log messages: ``pods in shop``."""
        scope = self.writer.scope
        return f"{self.resource.plural} in {scope}" if scope else self.resource.plural


class Watches:
    """One watch for each resource, or for each resource and watched namespace."""

    def __init__(
        self,
        *,
        client: Client,
        cluster: Cluster,
        ledgers: Ledgers,
        observer: Observer,
        enqueue: Callable[[WorkloadKey], None],
        on_watch: Callable[[WatchReport], None],
        clock: Clock,
    ) -> None:
        """Prepare the watches.

        ``enqueue`` is called with each workload whose ledger has changed, and with every managed
        workload once the first list of every resource has arrived.
        """
        self._client = client
        self._cluster = cluster
        self._ledgers = ledgers
        self._observer = observer
        self._enqueue = enqueue
        self._on_watch = on_watch
        self._clock = clock
        self._rollouts = RolloutWatch(client, cluster, self._start_rollouts)
        self.synced = asyncio.Event()
        """Set once the first list of every resource has arrived."""

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run every watch as a task of ``group``."""
        group.create_task(self._rollouts.run(), name="discover rollouts")
        for source in self.sources():
            self._start(group, source)

    async def discover(self) -> None:
        """Ask which optional kinds can be watched; to be called before ``start``."""
        await self._rollouts.discover()

    def rollout_sources(self) -> Iterator[Source[Any]]:
        """The Rollouts. They come with ``start`` while they can be watched."""
        cluster = self._cluster
        return self._each(ROLLOUTS, cluster.rollouts, cluster.on_workload_change)

    def _start_rollouts(self, group: asyncio.TaskGroup) -> None:
        for source in self.rollout_sources():
            self._start(group, source)

    def _start(self, group: asyncio.TaskGroup, source: Source[Any]) -> None:
        watch = reflect(
            self._client,
            source.resource,
            source.writer,
            namespace=source.namespace,
            on_change=source.on_change,
            on_relist=partial(self._on_relist, source),
            on_report=partial(self._on_report, source),
        )
        group.create_task(watch, name=f"watch {source.name}")

    def sources(self) -> tuple[Source[Any], ...]:
        """What is watched, in an order in which owners come before pods.

        The workload of a pod is then known when the pod arrives.
        """
        cluster = self._cluster
        return (
            Source(NAMESPACES, StoreWriter(cluster.namespaces), cluster.on_namespace_change),
            Source(NODES, StoreWriter(cluster.nodes.store), cluster.on_node_change),
            *self._each(DEPLOYMENTS, cluster.deployments, cluster.on_workload_change),
            *self._each(STATEFULSETS, cluster.stateful_sets, cluster.on_workload_change),
            *self._each(REPLICASETS, cluster.replica_sets, cluster.on_replica_set_change),
            *self._each(DISRUPTION_BUDGETS, cluster.budgets, cluster.on_budget_change),
            *self._each(PODS, cluster.pods, cluster.on_pod_change),
            Source(
                LEDGERS,
                self._ledgers.writer,
                self._on_ledger_change,
                namespace=cluster.settings.namespace,
            ),
        )

    def _each(
        self,
        resource: Resource[T],
        store: Store[T],
        on_change: Callable[[StoreChange[T]], None],
    ) -> Iterator[Source[T]]:
        """Watch the whole cluster, or each of the watched namespaces."""
        for namespace in sorted(self._cluster.settings.namespaces.watched) or [""]:
            yield Source(resource, StoreWriter(store, namespace), on_change, namespace=namespace)

    def _on_ledger_change(self, change: StoreChange[LedgerObject]) -> None:
        """Reconcile a workload whose ledger another instance has written.

        Also takes over the memory of provider groups; its deletion clears the memory.
        """
        latest = change.new or change.old
        if latest is not None and latest.name == GROUP_MEMORY:
            self._cluster.nodes.recall(change.new.group_memory if change.new else None)
        if latest is not None and latest.ledger is not None:
            key = WorkloadKey.of(latest.ledger)
            if self._cluster.find_configuration(key) is not None:
                self._enqueue(key)

    def _on_relist(self, source: Source[T], relist: Relist[T]) -> None:
        self._cluster.health.on_relist(source.resource.plural, source.writer.scope, relist)
        if relist.is_first:
            self._on_first_list()

    def _on_first_list(self) -> None:
        """Reconcile every workload once all first lists have arrived or are denied, and again when
        one arrives later."""
        health = self._cluster.health
        if not health.is_settled():
            return
        managed = self._cluster.managed_keys()
        if not self.synced.is_set():
            self.synced.set()
            self._observer.watching_since = self._clock.now()
            denied = ", ".join(health.denied_lists())
            log.info("Synced caches", workloads=len(managed), denied=denied)
        for key in managed:
            self._enqueue(key)

    def _on_report(self, source: Source[T], report: WatchReport) -> None:
        if report.problem is WatchProblem.DENIED:
            self._cluster.health.on_denied(source.resource.plural, source.writer.scope)
            if not self.synced.is_set():
                self._on_first_list()
        resource, problem, message = source.name, str(report.problem), report.message
        if report.retry_seconds:
            log.warning(
                "Watch failed; retrying", resource=resource, problem=problem, detail=message
            )
        else:
            log.debug("Watch progress", resource=resource, problem=problem, detail=message)
        self._on_watch(report)
