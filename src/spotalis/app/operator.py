"""The operator as one thing: stores, watches, queue, election and admission, over any transport.

The process (:mod:`spotalis.app.process`) gives it an API server and the system's clock; demo,
simulator and tests give it the embedded cluster and, where they like, virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from spotalis import logs
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.condition import ConditionWriter
from spotalis.controller.events import EventRecorder
from spotalis.controller.evictor import Evictor
from spotalis.controller.leadership import LeaderElector
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.queue import WorkQueue
from spotalis.controller.reconcile import Reconciler
from spotalis.controller.reservations import Reservations
from spotalis.controller.result import ReconcileResult
from spotalis.controller.sweep import Sweeper
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import ApiError, Client
from spotalis.kube.limiter import RateLimiter
from spotalis.kube.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    LEDGERS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    Resource,
)
from spotalis.kube.store import Record, Store, StoreChange, StoreWriter
from spotalis.kube.watch import Relist, WatchReport, reflect
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock, Random
from spotalis.model.ledger import LedgerObject
from spotalis.model.transport import Transport, TransportError
from spotalis.webhook.admission import AdmissionHandler
from spotalis.webhook.forward import Forwarder, PeerClient

log = logs.get(__name__)

T = TypeVar("T", bound=Record)


class Operator:
    """One replica of the operator, without servers and signals."""

    def __init__(
        self,
        transport: Transport,
        *,
        settings: ControllerConfiguration,
        clock: Clock,
        rng: Random,
        turned: Callable[[ReconcileResult, float], None] = lambda turn, seconds: None,
        on_admission: Callable[[str], None] = lambda result: None,
        requested: Callable[[str, str, int, float], None] | None = None,
        led: Callable[[bool], None] = lambda leads: None,
        failed: Callable[[WorkloadKey, Exception], None] = lambda key, error: None,
        watched: Callable[[WatchReport], None] = lambda report: None,
        peer_client: PeerClient | None = None,
        on_forward: Callable[[str], None] = lambda way: None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._dice = rng
        self._turned = turned
        self._led = led
        rate = settings.rate_limit
        self.client = Client(
            transport,
            clock=clock,
            rng=rng,
            limiter=RateLimiter(rate.requests_per_second, rate.burst, clock),
            on_request=requested,
        )
        self._reservations = Reservations(clock)
        self._queue = WorkQueue(self._work, clock=clock, rng=rng, on_failure=failed)
        self._watched = watched
        self.cluster = Cluster(settings, self._reservations, self._queue.add, clock)
        self._ledgers = Ledgers(self.client, self.cluster.ledgers, settings.namespace)
        terminations = Terminations(self.cluster, self.client)
        volumes = Volumes(self.client, clock)
        self._observer = observer = Observer(
            self.cluster, self._ledgers, terminations, self._reservations, volumes
        )
        self.elector = LeaderElector(
            self.client,
            settings=settings.leader_election,
            namespace=settings.namespace,
            identity=settings.identity,
            clock=clock,
            rng=rng,
            on_change=self._leadership_changed,
        )
        self._events = EventRecorder(self.client, clock, settings.identity)
        self._conditions = ConditionWriter(self.client, clock)
        # Of this very process: what an earlier one of the same name meant is an orphan.
        instance = f"{settings.identity}/{rng.getrandbits(48):012x}"
        self._reconciler = Reconciler(
            cluster=self.cluster,
            observer=observer,
            ledgers=self._ledgers,
            terminations=terminations,
            volumes=volumes,
            evictor=Evictor(
                cluster=self.cluster,
                ledgers=self._ledgers,
                terminations=terminations,
                client=self.client,
                clock=clock,
                instance=instance,
                can_evict=self._can_evict,
            ),
            client=self.client,
            clock=clock,
            instance=instance,
            can_evict=self._can_evict,
            on_move_finished=self._look_at_who_waits,
        )
        self._sweeper = Sweeper(
            cluster=self.cluster,
            ledgers=self._ledgers,
            terminations=terminations,
            volumes=volumes,
            client=self.client,
        )
        self.admission = AdmissionHandler(
            cluster=self.cluster,
            observer=observer,
            reservations=self._reservations,
            client=self.client,
            forwarder=Forwarder(self.elector, peer_client, clock=clock, on_forward=on_forward),
            on_admission=on_admission,
        )
        self.turns: dict[WorkloadKey, ReconcileResult] = {}
        """The last turn of each managed workload."""
        self._stopping = False
        self._under_way: set[WorkloadKey] = set()
        self._at_rest = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once the first list of every kind is in."""

    async def run(self) -> None:
        """Watch, elect and reconcile until cancelled.

        Raises:
            ExceptionGroup: a task of the operator ended by a bug; nothing goes on half.
        """
        cluster = self.cluster
        async with asyncio.TaskGroup() as group:
            # Owners before pods: a pod finds its workload when it comes.
            self._watch(group, NAMESPACES, cluster.namespaces, cluster.on_namespace_change)
            self._watch(group, NODES, cluster.nodes.store, cluster.on_node_change)
            self._watch_each(group, DEPLOYMENTS, cluster.deployments, cluster.on_workload_change)
            self._watch_each(group, STATEFULSETS, cluster.stateful_sets, cluster.on_workload_change)
            self._watch_each(
                group, REPLICASETS, cluster.replica_sets, cluster.on_replica_set_change
            )
            self._watch_each(group, DISRUPTION_BUDGETS, cluster.budgets, cluster.on_budget_change)
            self._watch_each(group, PODS, cluster.pods, cluster.on_pod_change)
            self._watch_ledgers(group)
            group.create_task(self.elector.run(), name="elector")
            group.create_task(self._queue.run(), name="queue")
            group.create_task(self._resync(), name="resync")

    async def stop_moving(self, grace_seconds: float = 3.0) -> None:
        """From now on no eviction starts; wait for those that are being answered.

        What is not answered within ``grace_seconds`` stays open, as in a crash.
        """
        self._stopping = True
        if self._under_way:
            self._at_rest.clear()
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._at_rest.wait()
            except TimeoutError:
                log.warning("Stopping with reconciles in progress", count=len(self._under_way))

    async def release(self) -> None:
        """Give the Lease back: the last thing that a replica does."""
        await self.elector.release()

    def _watch_each(
        self,
        group: asyncio.TaskGroup,
        resource: Resource[T],
        store: Store[T],
        changed: Callable[[StoreChange[T]], None],
    ) -> None:
        """Watch the whole cluster, or each of ``watchNamespaces`` by itself."""
        for namespace in sorted(self.settings.namespaces.watched) or [""]:
            writer = StoreWriter(store, namespace)
            self._watch(group, resource, store, changed, writer=writer, namespace=namespace)

    def _watch(
        self,
        group: asyncio.TaskGroup,
        resource: Resource[T],
        store: Store[T],
        changed: Callable[[StoreChange[T]], None],
        *,
        writer: StoreWriter[T] | None = None,
        namespace: str = "",
    ) -> None:
        writer = writer or StoreWriter(store)
        what = f"{resource.plural} in {writer.scope}" if writer.scope else resource.plural
        watching = reflect(
            self.client,
            resource,
            writer,
            namespace=namespace,
            on_change=changed,
            on_relist=lambda relist: self._listed(what, relist),
            clock=self._clock,
            rng=self._dice,
            on_report=self._watch_reports,
        )
        group.create_task(watching, name=f"watch {what}")

    def _watch_ledgers(self, group: asyncio.TaskGroup) -> None:
        """What other replicas write; what this one writes it knows."""
        self._watch(
            group,
            LEDGERS,
            self.cluster.ledgers,
            self._ledger_changed,
            writer=self._ledgers.writer,
            namespace=self.settings.namespace,
        )

    def _ledger_changed(self, change: StoreChange[LedgerObject]) -> None:
        latest = change.new or change.old
        if latest is not None and latest.ledger is not None:
            key = WorkloadKey.of(latest.ledger)
            if self.cluster.configuration(key) is not None:
                self._queue.add(key)

    def _listed(self, what: str, relist: Relist[T]) -> None:
        self.cluster.suspect_lists.on_relist(what, relist, self._clock.monotonic())
        if relist.is_first and self.cluster.synced:
            self.synced.set()
            self._observer.watching_since = self._clock.now()
            log.info("Synced caches", workloads=len(self.cluster.managed_keys()))
            self._look_at_everything()

    def _watch_reports(self, report: WatchReport) -> None:
        _log_watch(report)
        self._watched(report)

    async def _resync(self) -> None:
        """The net under the watches."""
        while True:
            await asyncio.sleep(self.settings.resync.total_seconds())
            self._look_at_everything()
            if self._can_evict() and self.cluster.synced and not self.settings.read_only:
                try:
                    await self._sweeper.sweep()
                except (ApiError, TransportError) as error:
                    log.warning("Failed to clean up ledgers; retrying", error=str(error))

    def _look_at_everything(self) -> None:
        for key in self.cluster.managed_keys():
            self._queue.add(key)

    def _look_at_who_waits(self) -> None:
        """A move or a probe has ended: others may have waited for their turn."""
        for key, turn in self.turns.items():
            if turn.reason in _WAITS_FOR_OTHERS:
                self._queue.add(key)

    def _leadership_changed(self, leads: bool) -> None:
        self._led(leads)
        if leads:
            self._look_at_everything()
        else:
            self.turns.clear()  # from now on the new leader's metrics tell of the workloads

    def _can_evict(self) -> bool:
        return self.elector.leads and not self._stopping

    async def _work(self, key: WorkloadKey) -> float | None:
        if not self._can_evict() or not self.cluster.synced:
            return None  # looked at again when we lead, and when the lists are in
        self._under_way.add(key)
        try:
            return await self._turn(key)
        finally:
            self._under_way.discard(key)
            if not self._under_way:
                self._at_rest.set()

    async def _turn(self, key: WorkloadKey) -> float | None:
        began = self._clock.monotonic()
        turn = await self._reconciler.reconcile(key)
        if turn is None:
            await self._take_leave(key)
            return None
        self.turns[key] = turn
        self._turned(turn, self._clock.monotonic() - began)
        pauses = (turn.requeue_after, await self._tell(key, turn))
        soonest = min((pause for pause in pauses if pause is not None), default=None)
        return None if soonest is None else soonest.total_seconds()

    async def _tell(self, key: WorkloadKey, turn: ReconcileResult) -> timedelta | None:
        """Events and condition; when to look again on their account."""
        workload = self.cluster.workload(key)
        configuration = self.cluster.configuration(key)
        if workload is None or configuration is None:
            return None
        await self._events.record(workload, configuration, turn)
        if self.settings.read_only or not self.settings.conditions:
            return None
        return await self._conditions.update(workload, turn)

    async def _take_leave(self, key: WorkloadKey) -> None:
        """The workload is gone, or ours no more: one last write takes our condition away."""
        self._forget(key)
        workload = self.cluster.workload(key)
        ours = not self.settings.read_only and self.settings.conditions
        if workload is None or not ours:
            return
        if self.settings.namespaces.admits(self.cluster.namespaces.get("", key.namespace)):
            await self._conditions.remove(workload)

    def _forget(self, key: WorkloadKey) -> None:
        if self.turns.pop(key, None) is not None:
            self._events.forget(key)
            self._conditions.forget(key)


_WAITS_FOR_OTHERS = frozenset({Reason.MOVES_IN_FLIGHT, Reason.NO_SPOT_CAPACITY})


def _log_watch(report: WatchReport) -> None:
    fields = {
        "resource": report.resource,
        "problem": str(report.problem),
        "message": report.message,
    }
    if report.retry_seconds:
        log.warning("Watch failed; retrying", **fields)
    else:
        log.debug("Watch progress", **fields)
