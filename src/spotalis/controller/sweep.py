"""Remove the ledgers of workloads that are gone, and what is known of pods that are gone."""

from __future__ import annotations

from spotalis import logs
from spotalis.controller.cluster import Cluster, WorkloadKey, key_of
from spotalis.controller.ledgers import LEDGER_PREFIX, Ledgers
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import ApiError, Client
from spotalis.kube.resources import ROLLOUTS, WORKLOADS
from spotalis.model.ledger import Ledger, LedgerObject
from spotalis.model.objects import Workload
from spotalis.model.transport import TransportError

log = logs.get(__name__)


class Sweeper:
    """Garbage collector for ledgers and for what is kept in memory per pod; runs on the leader."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        ledgers: Ledgers,
        terminations: Terminations,
        volumes: Volumes,
        client: Client,
    ) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._volumes = volumes
        self._client = client

    async def sweep(self) -> None:
        """Remove the ledgers of workloads that were deleted or are not managed any more.

        A ledger that cannot be checked or removed is logged and left for the next sweep. It does
        not keep others: the API server may deny requests for one namespace only.
        """
        intended = (i.pod for intents in self._ledgers.intents().values() for i in intents)
        known = {*intended, *(pod.uid for pod in self._cluster.pods)}
        self._terminations.retain(known)
        self._volumes.retain(known)
        living = {workload.uid: workload for workload in self._cluster.workloads()}
        self._ledgers.retain(living.keys())
        for held in list(self._ledgers.store):
            workload = living.get(held.name.removeprefix(LEDGER_PREFIX))
            try:
                if await self._is_obsolete(held, workload):
                    await self._ledgers.remove(held)
            except (ApiError, TransportError) as error:
                log.warning(
                    "Failed to clean up ledger; retrying", ledger=held.name, error=str(error)
                )

    async def _is_obsolete(self, held: LedgerObject, workload: Workload | None) -> bool:
        """Whether no instance needs a ledger any more.

        Args:
            workload: the workload of the ledger; None if it is not in the cache.

        Raises:
            ApiError, TransportError: the API server did not answer.
        """
        if held.ledger is None:
            return False
        if self._is_unwatched(held.ledger):
            return True
        if workload is None and self._is_unreadable_rollout(held.ledger):
            return await self._have_ended(WorkloadKey.of(held.ledger).namespace, held.ledger)
        if workload is None:
            return await self._was_deleted(held.name, held.ledger)
        key = key_of(workload)
        if self._cluster.find_configuration(key) is not None:
            return False
        return await self._have_ended(workload.namespace, held.ledger)

    async def _have_ended(self, namespace: str, ledger: Ledger) -> bool:
        """Whether the pods of all open moves have ended, so that no eviction can be on its way."""
        ended = await self._terminations.find(namespace, ledger)
        return all(intent.pod in ended for intent in ledger.intents)

    def _is_unwatched(self, ledger: Ledger) -> bool:
        """Whether a ledger belongs to a namespace that is not watched any more.

        No instance could end its moves.
        """
        namespace = WorkloadKey.of(ledger).namespace
        return not self._cluster.settings.namespaces.watches(namespace)

    def _is_unreadable_rollout(self, ledger: Ledger) -> bool:
        """Whether the Rollouts can not be watched at the moment. They may still exist."""
        is_rollout = WorkloadKey.of(ledger).kind == ROLLOUTS.kind
        return is_rollout and self._cluster.watches_rollouts is False

    async def _was_deleted(self, name: str, ledger: Ledger) -> bool:
        """Whether the workload of a ledger was deleted; asks the API, as the cache may lag."""
        key = WorkloadKey.of(ledger)
        found = await self._client.get(WORKLOADS[key.kind], key.namespace, key.name)
        return found is None or LEDGER_PREFIX + found.uid != name
