"""Reconciles workloads, one after the other, as long as this instance leads."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from spotalis import logs
from spotalis.app.status_reporter import StatusReporter
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.leadership import LeaderElector
from spotalis.controller.queue import WorkQueue
from spotalis.controller.reconcile import Reconciler
from spotalis.controller.result import ReconcileResult
from spotalis.controller.sweep import Sweeper
from spotalis.controller.telemetry import Telemetry
from spotalis.model.decision import Reason
from spotalis.model.environment import Clock

log = logs.get(__name__)

_WAITING_FOR_OTHERS = frozenset({Reason.MOVES_IN_FLIGHT, Reason.NO_SPOT_CAPACITY})
"""Reasons that may end when a move or a probe of another workload ends."""
_SLICE = 50
"""Workloads that are compared before other tasks run: about 2 ms (measured)."""


class ReconcileLoop:
    """Takes workloads from the queue, reconciles them and reports the results."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        queue: WorkQueue,
        elector: LeaderElector,
        reconciler: Reconciler,
        reporter: StatusReporter,
        sweeper: Sweeper,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self.queue = queue
        self.reconciler = reconciler
        self.results: dict[WorkloadKey, ReconcileResult] = {}
        """The last result of each managed workload."""
        self._at_rest: dict[WorkloadKey, int] = {}
        """The versions of what the last reconcile read, for workloads at rest."""
        self._cluster = cluster
        self._elector = elector
        self._reporter = reporter
        self._sweeper = sweeper
        self._telemetry = telemetry
        self._clock = clock
        self._stopping = False
        self._in_progress: set[WorkloadKey] = set()
        self._idle = asyncio.Event()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Work as tasks of ``group``."""
        group.create_task(self.queue.run(), name="queue")
        group.create_task(self._resync(), name="resync")

    async def stop(self, grace_seconds: float) -> None:
        """Start no further reconciles, and wait for those in progress."""
        self._stopping = True
        if not self._in_progress:
            return
        self._idle.clear()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("Stopping with reconciles in progress", count=len(self._in_progress))

    def can_evict(self) -> bool:
        """Whether this instance may evict pods at this moment."""
        return self._elector.leads and not self._stopping

    def enqueue_all(self) -> None:
        """Reconcile every managed workload."""
        for key in self._cluster.managed_keys():
            self.queue.add(key)

    def enqueue_waiting(self) -> None:
        """Reconcile the workloads that may have waited for the end of a move or a probe."""
        for key, result in self.results.items():
            if result.reason in _WAITING_FOR_OTHERS:
                self.queue.add(key)

    def on_leadership_change(self, leads: bool) -> None:
        """Begin with every workload, or forget them: the new leader reports them.

        An instance that does not lead does not notice that a workload was deleted.
        """
        self._telemetry.on_leadership_change(leads)
        if leads:
            self.enqueue_all()
        else:
            self.results.clear()
            self._at_rest.clear()
            self._reporter.forget_all()
            self.reconciler.forget_all()

    async def process(self, key: WorkloadKey) -> float | None:
        """Reconcile a workload; return the seconds until it must be reconciled again.

        Does nothing on an instance that does not lead, or before the caches are synced: both
        events enqueue every workload. If a list is denied, only the result says so.
        """
        health = self._cluster.health
        is_known = health.can_move(key.kind, key.namespace) or (
            health.is_settled() and health.denied_list(key.kind, key.namespace)
        )
        if not self.can_evict() or not is_known:
            return None
        self._in_progress.add(key)
        try:
            delay = await self._reconcile(key)
        finally:
            self._in_progress.discard(key)
            if not self._in_progress:
                self._idle.set()
        return None if delay is None else delay.total_seconds()

    async def _reconcile(self, key: WorkloadKey) -> timedelta | None:
        started_at = self._clock.monotonic()
        self._at_rest.pop(key, None)
        versions = self.reconciler.versions(key)
        result = await self.reconciler.reconcile(key)
        if result is None:
            await self._stop_managing(key)
            return None
        if self._elector.leads:  # It may have lost the Lease during the reconcile.
            self.results[key] = result
        self._telemetry.on_reconcile(result, self._clock.monotonic() - started_at)
        delays = (result.requeue_after, await self._reporter.report(result))
        delay = min((delay for delay in delays if delay is not None), default=None)
        if result.is_at_rest and delay is None and versions is not None and self._elector.leads:
            self._at_rest[key] = versions
        return delay

    async def _stop_managing(self, key: WorkloadKey) -> None:
        """Remove the traces of a workload that is gone or no longer managed."""
        if self.results.pop(key, None) is not None:
            self._reporter.forget(key)
        await self._reporter.remove_condition(key)

    async def _resync(self) -> None:
        """Reconcile workloads periodically, in case that time or a change was not noticed.

        Those at rest are skipped if the versions of what a reconcile reads are the same.
        """
        settings = self._cluster.settings
        while True:
            await asyncio.sleep(settings.resync.total_seconds())
            if self.can_evict():
                await self._enqueue_changed()
            settled = self._cluster.health.is_settled()
            if self.can_evict() and settled and not settings.read_only:
                await self._sweeper.sweep()

    async def _enqueue_changed(self) -> None:
        """Reconcile every managed workload but those at rest for which nothing has changed."""
        for number, key in enumerate(self._cluster.managed_keys(), start=1):
            before = self._at_rest.get(key)
            if before is None or before != self.reconciler.versions(key):
                self.queue.add(key)
            if not number % _SLICE:
                await asyncio.sleep(0)
