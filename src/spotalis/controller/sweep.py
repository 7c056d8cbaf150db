"""What is left over: ledgers of workloads that are gone, and what was known of pods that are."""

from __future__ import annotations

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import LEDGER_PREFIX, Ledgers
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.kube.client import Client
from spotalis.kube.resources import DEPLOYMENTS, STATEFULSETS
from spotalis.model.ledger import Ledger, LedgerObject


class Sweeper:
    """Tidies up now and then, as long as it leads."""

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
        """Remove the ledgers of workloads that are gone, or that are ours no more; tidy up.

        Raises:
            ApiError, TransportError: the rest is left for the next time.
        """
        meant = (intent.pod for intent in self._ledgers.intents())
        known = {*meant, *(pod.uid for pod in self._cluster.pods)}
        self._terminations.retain(known)
        self._volumes.retain(known)
        living = {w.uid: w for w in (*self._cluster.deployments, *self._cluster.stateful_sets)}
        for held in list(self._ledgers.store):
            if self._is_out_of_sight(held):
                await self._ledgers.remove(held)
                continue
            workload = living.get(held.name.removeprefix(LEDGER_PREFIX))
            if workload is None:
                if held.ledger is not None and await self._is_gone(held.name, held.ledger):
                    await self._ledgers.remove(held)
                continue
            key = WorkloadKey(workload.kind, workload.namespace, workload.name)
            if self._cluster.configuration(key) is None and held.ledger is not None:
                ended = await self._terminations.find(workload.namespace, held.ledger)
                if all(intent.pod in ended for intent in held.ledger.intents):
                    await self._ledgers.remove(held)

    def _is_out_of_sight(self, held: LedgerObject) -> bool:
        """Whether a ledger is of a namespace that is watched no more: nobody can end its moves.

        Left there, they would hold places in the budget of moves for ever.
        """
        if held.ledger is None:
            return False
        namespace = WorkloadKey.of(held.ledger).namespace
        return not self._cluster.settings.namespaces.watches(namespace)

    async def _is_gone(self, name: str, ledger: Ledger) -> bool:
        """Whether a ledger's workload has been deleted: that our view lacks it is no proof."""
        key = WorkloadKey.of(ledger)
        resource = DEPLOYMENTS if key.kind == "Deployment" else STATEFULSETS
        found = await self._client.get(resource, key.namespace, key.name)
        return found is None or LEDGER_PREFIX + found.uid != name
