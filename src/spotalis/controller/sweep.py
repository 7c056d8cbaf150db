"""Remove the ledgers of workloads that are gone, and what is known of pods that are gone."""

from __future__ import annotations

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import LEDGER_PREFIX, Ledgers
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import Client
from spotalis.kube.resources import DEPLOYMENTS, STATEFULSETS
from spotalis.model.ledger import Ledger, LedgerObject


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

        Raises:
            ApiError, TransportError: the rest is left for the next sweep.
        """
        intended = (intent.pod for intent in self._ledgers.intents())
        known = {*intended, *(pod.uid for pod in self._cluster.pods)}
        self._terminations.retain(known)
        self._volumes.retain(known)
        living = {w.uid: w for w in (*self._cluster.deployments, *self._cluster.stateful_sets)}
        for held in list(self._ledgers.store):
            if self._is_unwatched(held):
                await self._ledgers.remove(held)
                continue
            workload = living.get(held.name.removeprefix(LEDGER_PREFIX))
            if workload is None:
                if held.ledger is not None and await self._was_deleted(held.name, held.ledger):
                    await self._ledgers.remove(held)
                continue
            key = WorkloadKey(workload.kind, workload.namespace, workload.name)
            if self._cluster.find_configuration(key) is None and held.ledger is not None:
                ended = await self._terminations.find(workload.namespace, held.ledger)
                if all(intent.pod in ended for intent in held.ledger.intents):
                    await self._ledgers.remove(held)

    def _is_unwatched(self, held: LedgerObject) -> bool:
        """Whether a ledger belongs to a namespace that is not watched any more.

        No instance could end its moves, so they would count in the move budget forever.
        """
        if held.ledger is None:
            return False
        namespace = WorkloadKey.of(held.ledger).namespace
        return not self._cluster.settings.namespaces.watches(namespace)

    async def _was_deleted(self, name: str, ledger: Ledger) -> bool:
        """Whether the workload of a ledger was deleted; asks the API, as the cache may lag."""
        key = WorkloadKey.of(ledger)
        resource = DEPLOYMENTS if key.kind == "Deployment" else STATEFULSETS
        found = await self._client.get(resource, key.namespace, key.name)
        return found is None or LEDGER_PREFIX + found.uid != name
