"""The operator: watches, leader election, reconciles and admission, without servers and signals.

:func:`spotalis.app.build.build_operator` makes one, over any transport. The process
(:mod:`spotalis.app.process`) connects it to an API server; the demo and the tests connect it to the
embedded cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from spotalis.app.reconcile_loop import ReconcileLoop
from spotalis.app.watches import Watches
from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.groups_in_use import GroupsInUse
from spotalis.controller.leadership import LeaderElector
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import Client
from spotalis.webhook.admission import AdmissionHandler


class Operator:
    """One instance of the operator."""

    def __init__(
        self,
        *,
        client: Client,
        cluster: Cluster,
        watches: Watches,
        elector: LeaderElector,
        reconcile_loop: ReconcileLoop,
        groups_in_use: GroupsInUse,
        admission: AdmissionHandler,
    ) -> None:
        self.client = client
        self.cluster = cluster
        self.elector = elector
        self.reconcile_loop = reconcile_loop
        self.admission = admission
        self.watches = watches
        self.groups_in_use = groups_in_use

    @property
    def synced(self) -> asyncio.Event:
        """Set once the first list of every resource has arrived."""
        return self.watches.synced

    @property
    def results(self) -> Mapping[WorkloadKey, ReconcileResult]:
        """The last result of each managed workload; empty on an instance that does not lead."""
        return self.reconcile_loop.results

    async def run(self) -> None:
        """Watch, take part in the leader election and reconcile, until cancelled.

        Raises:
            ExceptionGroup: a task has failed with a bug; the other tasks are cancelled.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.elector.run(), name="elector")
            self.reconcile_loop.start(group)
            # The first answers come before the first admission request.
            await self.groups_in_use.discover()
            await self.watches.discover()
            self.watches.start(group)
            group.create_task(self.groups_in_use.run(), name="groups in use")

    async def stop_evictions(self, grace_seconds: float = 3.0) -> None:
        """Start no further evictions, and wait for those in progress.

        An eviction that is not answered within ``grace_seconds`` stays open, as after a crash.
        """
        await self.reconcile_loop.stop(grace_seconds)

    async def release(self) -> None:
        """Release the Lease; must be the last step of a shutdown."""
        await self.elector.release()
