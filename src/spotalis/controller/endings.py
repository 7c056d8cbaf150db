"""Which pods end or are gone: what stores and answers show of them, or a look of our own."""

from __future__ import annotations

from spotalis.controller.cluster import Cluster
from spotalis.controller.journal import Journal
from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.model.ledger import Intent, Ledger


class Endings:
    """Finds out about the pods of intents, and notes it in the journal."""

    def __init__(self, cluster: Cluster, journal: Journal, client: Client) -> None:
        self._cluster = cluster
        self._journal = journal
        self._client = client

    async def of(self, namespace: str, ledger: Ledger) -> frozenset[str]:
        """UIDs of the pods of its intents that are known to end or to be gone.

        That a store does not show a pod proves nothing, its server may lag: then it is asked for.

        Raises:
            ApiError, TransportError: it could not be found out.
        """
        for intent in ledger.intents:
            if intent.pod in self._journal:
                continue
            pod = self._cluster.pods.get(namespace, intent.name)
            if pod is None or pod.uid != intent.pod:
                await self.look_at(namespace, intent)
            elif pod.deleting_at is not None:
                self._journal.saw_end(intent.pod)
        return frozenset(i.pod for i in ledger.intents if i.pod in self._journal)

    async def look_at(self, namespace: str, intent: Intent) -> None:
        """Ask the API server for the pod of one intent.

        Raises:
            ApiError, TransportError: it does not say.
        """
        pod = await self._client.get(PODS, namespace, intent.name)
        if pod is None or pod.uid != intent.pod or pod.deleting_at is not None:
            self._journal.saw_end(intent.pod)
