"""Which pods terminate or are gone, and which evictions this instance may have sent, and how
those that failed were answered.

Kept in memory only: after a restart it is read again from the API server. What must survive a
restart is in the ledger (controller/ledgers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from spotalis.controller.cluster import Cluster
from spotalis.controller.refusals import Refusals
from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.model.ledger import Intent, Ledger


class Terminations:
    """Records the pods that terminate or are gone, by UID. A UID is never reused."""

    def __init__(self, cluster: Cluster, client: Client) -> None:
        self._cluster = cluster
        self._client = client
        self._terminated: set[str] = set()
        self.sent: set[str] = set()
        """UIDs of the pods whose evictions this instance has sent or may have sent."""
        self.refusals = Refusals()

    @property
    def uids(self) -> Set[str]:
        """UIDs of the pods that terminate, are gone, or have been evicted."""
        return self._terminated

    def __contains__(self, pod_uid: str) -> bool:
        """Whether the pod is known to terminate, to be gone, or to have been evicted."""
        return pod_uid in self._terminated

    def record(self, pod_uid: str) -> None:
        """Record that the pod terminates or is gone."""
        self._terminated.add(pod_uid)

    def retain(self, pod_uids: Iterable[str]) -> None:
        """Forget all pods but these."""
        kept = set(pod_uids)
        self._terminated &= kept
        self.sent &= kept
        self.refusals.retain(kept)

    def is_stuck(self, pod_uid: str) -> bool:
        """Whether the pod is still there, and its eviction has failed more than by chance."""
        refusal = self.refusals.get(pod_uid)
        return refusal is not None and refusal.is_stuck and pod_uid not in self

    async def find(self, namespace: str, ledger: Ledger) -> frozenset[str]:
        """UIDs of the pods in the ledger's intents that terminate or are gone.

        A pod that is missing from the store may only be late in the watch, so the API server is
        asked for it.

        Raises:
            ApiError, TransportError: the API server did not answer.
        """
        for intent in ledger.intents:
            if intent.pod in self:
                continue
            pod = self._cluster.pods.get(namespace, intent.name)
            if pod is None or pod.uid != intent.pod:
                await self.verify(namespace, intent)
            elif pod.deleting_at is not None:
                self.record(intent.pod)
        return frozenset(i.pod for i in ledger.intents if i.pod in self)

    async def verify(self, namespace: str, intent: Intent) -> None:
        """Ask the API server whether the pod of this intent terminates or is gone.

        Raises:
            ApiError, TransportError: the API server did not answer.
        """
        pod = await self._client.get(PODS, namespace, intent.name)
        if pod is None or pod.uid != intent.pod or pod.deleting_at is not None:
            self.record(intent.pod)
