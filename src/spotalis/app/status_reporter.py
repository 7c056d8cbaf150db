"""Writes the result of a reconcile into the cluster: events, and the condition of Deployments."""

from __future__ import annotations

from datetime import timedelta

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.condition import ConditionWriter
from spotalis.controller.events import EventRecorder
from spotalis.controller.result import ReconcileResult


class StatusReporter:
    """Records events, and keeps the condition ``spotalis.io/Balanced``.

    The condition is removed if it is disabled. A read-only operator leaves it as it is.
    """

    def __init__(
        self, cluster: Cluster, events: EventRecorder, conditions: ConditionWriter
    ) -> None:
        self._cluster = cluster
        self._events = events
        self._conditions = conditions
        self._settings = cluster.settings

    async def report(self, result: ReconcileResult) -> timedelta | None:
        """Report a result; return when the workload must be reconciled again for its condition."""
        workload = self._cluster.find_workload(result.key)
        configuration = self._cluster.find_configuration(result.key)
        if workload is None or configuration is None:
            return None
        await self._events.record(workload, configuration, result)
        if self._settings.read_only:
            return None
        if not self._settings.conditions:
            return await self._conditions.remove(workload)
        return await self._conditions.update(workload, result)

    async def remove_condition(self, key: WorkloadKey) -> None:
        """Remove the condition of a workload that still exists but is not managed any more."""
        workload = self._cluster.find_workload(key)
        if workload is None or self._settings.read_only:
            return
        namespace = self._cluster.namespaces.get("", key.namespace)
        if self._cluster.settings.namespaces.admits(namespace):
            await self._conditions.remove(workload)

    def forget(self, key: WorkloadKey) -> None:
        """Drop what is remembered about a workload."""
        self._events.forget(key)
        self._conditions.forget(key)

    def forget_all(self) -> None:
        """Drop what is remembered about all workloads."""
        self._events.forget_all()
        self._conditions.forget_all()
