"""Reconciles one workload: gather, decide, write the ledger, act, report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from spotalis import logs
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.evictor import Evictor
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.observe import Observer
from spotalis.controller.result import ReconcileResult, summarize
from spotalis.kube.client import Conflict
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.decision import Defer, Reason
from spotalis.model.environment import Clock
from spotalis.model.ledger import Ledger, LedgerObject
from spotalis.model.objects import Workload
from spotalis.planner.decide import ReconcilePlan, decide

log = logs.get(__name__)

CONFLICT_RETRY = timedelta(seconds=2)
"""Delay of the next reconcile after another instance has written the ledger first."""


class Reconciler:
    """Brings workloads to their split; evicts pods only while it leads."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        observer: Observer,
        ledgers: Ledgers,
        evictor: Evictor,
        clock: Clock,
        instance: str,
        can_evict: Callable[[], bool],
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing happens before :meth:`reconcile`.

        Args:
            cluster, observer, ledgers, evictor, clock: what the reconciler works with.
            instance: the name of this instance in ledgers. No other process may have the same
                name, now or earlier.
            can_evict: whether evictions may be sent at this moment.
            on_news: called when a move has finished or spot has become available: other workloads
                may have been waiting for it.
        """
        self._cluster = cluster
        self._observer = observer
        self._ledgers = ledgers
        self._evictor = evictor
        self._clock = clock
        self._instance = instance
        self._can_evict = can_evict
        self._on_news = on_news

    def forget_all(self) -> None:
        """Forget what only the leader remembers about workloads."""
        self._observer.forget_all()

    def versions(self, key: WorkloadKey) -> int | None:
        """A hash of the versions of what a reconcile of a balanced workload reads; None if it must
        be reconciled again even if nothing changes."""
        workload = self._cluster.find_workload(key)
        return None if workload is None else self._observer.versions(workload)

    async def reconcile(self, key: WorkloadKey) -> ReconcileResult | None:
        """Reconcile a workload. Returns None if it is gone or not managed.

        Raises:
            ApiError, TransportError: a request other than an eviction failed.
        """
        workload = self._cluster.find_workload(key)
        configuration = self._cluster.find_configuration(key)
        if workload is None or configuration is None:
            self._observer.forget(key)
            return None
        stored = await self._ledgers.read(workload.uid)
        # Nothing is awaited between the decision and the write of the ledger.
        plan = await self.plan(workload, configuration, stored)
        now = self._clock.now()
        if stored is not None and stored.ledger is None:
            return summarize(key, now, plan)
        self._observer.remember(key, plan)
        is_writable = not plan.observed.cluster.read_only
        if is_writable:
            self._ledgers.spot.learn(plan.learned)
        try:
            stored = await self._write(workload, stored, plan)
        except Conflict as error:
            log.info("Ledger write conflict; retrying", workload=str(key), error=str(error))
            return summarize(key, now, plan, requeue_after=CONFLICT_RETRY)
        if plan.finished or any(record.found for record in plan.learned):
            self._on_news()
        if is_writable:
            await self._ledgers.spot.write()
        evictions = await self._evictor.execute(key, plan, stored)
        return summarize(key, now, plan, evictions)

    async def _write(
        self, workload: Workload, stored: LedgerObject | None, plan: ReconcilePlan
    ) -> LedgerObject | None:
        """Write the plan's ledger if it differs from the stored one."""
        before = (stored.ledger if stored else None) or Ledger()
        after = msgspec.structs.replace(plan.ledger, workload=before.workload)
        if after == before or plan.observed.cluster.read_only:
            return stored
        return await self._ledgers.write(workload, stored, plan.ledger)

    async def plan(
        self, workload: Workload, configuration: WorkloadConfiguration, stored: LedgerObject | None
    ) -> ReconcilePlan:
        """Decide what to do with a workload; writes nothing.

        Args:
            configuration: its policy, or another one to find out what it would do.
            stored: the workload's ledger; None if there is none.

        Raises:
            ApiError, TransportError: an object that only some decisions need could not be read.
        """
        if stored is not None and stored.ledger is None:
            return self._unreadable(workload, configuration, stored)
        ledger = (stored.ledger if stored else None) or Ledger()
        if denied := self._cluster.health.denied_list(workload.kind, workload.namespace):
            observed = self._observer.without_ledger(workload, configuration)
            decision = Defer(Reason.CACHE_NOT_READY, f"{denied}; no replica is placed or moved")
            return ReconcilePlan(decision=decision, observed=observed, ledger=ledger)
        observed = await self._observer.for_reconcile(workload, configuration, ledger)
        now = self._clock.now()
        waiting = await self._observer.waiting_replicas(observed, now)
        return decide(
            observed, waiting, now=now, instance=self._instance, can_evict=self._can_evict()
        )

    def _unreadable(
        self, workload: Workload, configuration: WorkloadConfiguration, stored: LedgerObject
    ) -> ReconcilePlan:
        observed = self._observer.without_ledger(workload, configuration)
        message = (
            f"configmap {stored.namespace}/{stored.name} is damaged or was written by another "
            "version of Spotalis; no replica moves until that version has finished its moves, or "
            "until the ConfigMap is deleted while no move is in progress"
        )
        decision = Defer(Reason.LEDGER_UNREADABLE, message)
        return ReconcilePlan(decision=decision, observed=observed, ledger=observed.ledger)
