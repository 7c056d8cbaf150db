"""The node affinity of pods' volumes, read from the API server for the pods that need it.

Claims and volumes are not watched: most pods have none, and of those that have some, only the
pods that wait for a node or may move are asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime

from spotalis import logs
from spotalis.kube.client import Client, Forbidden
from spotalis.kube.resources import VOLUME_CLAIMS, VOLUMES
from spotalis.model.environment import Clock
from spotalis.model.objects import NodeTerms, Pod, intersect_terms
from spotalis.planner.moves import recheck
from spotalis.planner.observed import Observed

log = logs.get(__name__)

ANSWER_VALID_SECONDS = 300.0
"""How long an answer about a pod without a node is used: its claim may still be bound, or deleted
and created again. While a pod with a node exists, its claims cannot be deleted (pvc-protection),
and their volumes do not change."""


def pods_with_relevant_volumes(observed: Observed, now: datetime) -> list[Pod]:
    """The pods whose volumes matter for a decision now: they wait for spot, or may move."""
    if not any(replica.pod.claims for replica in observed.active):
        return []
    replicas = list(observed.unschedulable_on_spot)
    if observed.state.surplus_type is not None and recheck(observed, now) is None:
        replicas += observed.candidates
    return [replica.pod for replica in replicas if replica.pod.claims]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the API server said about one claim."""

    terms: NodeTerms
    at: float
    """Monotonic seconds."""
    holder: str = ""
    """UID of the bound pod that it was read for; empty: valid for a limited time only."""


class Volumes:
    """Reads and remembers the node affinity of pods' volumes."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._claims: dict[str, tuple[tuple[str, str], ...]] = {}
        """By pod UID, for the pods that were asked about. An open move needs them after its pod
        is gone."""
        self._forbidden = False
        self.reads = 0
        """Counts the answers."""

    def affinity(self, pod: Pod) -> NodeTerms:
        """The node affinity of all volumes of a pod, as far as it is known."""
        return self._affinity((pod.namespace, claim) for claim in pod.claims)

    def affinity_of(self, pod_uid: str) -> NodeTerms:
        """The same for a pod that was asked about earlier, whether or not it still exists."""
        return self._affinity(self._claims.get(pod_uid, ()))

    async def fetch(self, pods: Iterable[Pod]) -> bool:
        """Read what is not known about the volumes of these pods.

        If the operator has no permission to read them, this is logged once and the volumes count
        as reachable from everywhere.

        Returns:
            Whether anything was read, so that earlier observations may be out of date.

        Raises:
            ApiError, TransportError: the API server did not answer.
        """
        asked = False
        for pod in pods:
            self._claims[pod.uid] = tuple((pod.namespace, claim) for claim in pod.claims)
            for claim in self._claims[pod.uid]:
                known = self._answers.get(claim)
                if known is None or not self._is_valid(known, pod.uid):
                    self._answers[claim] = await self._read(claim, pod.uid if pod.node else "")
                    asked = True
        return asked

    def retain(self, pod_uids: Set[str]) -> None:
        """Forget all pods but these."""
        self._claims = {uid: claims for uid, claims in self._claims.items() if uid in pod_uids}
        named = {claim for claims in self._claims.values() for claim in claims}
        self._answers = {claim: a for claim, a in self._answers.items() if claim in named}

    def _affinity(self, claims: Iterable[tuple[str, str]]) -> NodeTerms:
        affinity: NodeTerms = ()
        for claim in claims:
            known = self._answers.get(claim)
            affinity = intersect_terms(affinity, known.terms) if known else affinity
        return affinity

    def _is_valid(self, answer: _Answer, pod_uid: str) -> bool:
        age = self._clock.monotonic() - answer.at
        return answer.holder == pod_uid or age < ANSWER_VALID_SECONDS

    async def _read(self, claim: tuple[str, str], holder: str) -> _Answer:
        self.reads += 1
        terms: NodeTerms = ()
        try:
            found = await self._client.get(VOLUME_CLAIMS, *claim)
            if found is not None and found.volume:
                volume = await self._client.get(VOLUMES, "", found.volume)
                terms = volume.node_terms if volume else ()
        except Forbidden as error:
            holder = ""
            if not self._forbidden:
                self._forbidden = True
                log.warning("No permission to read volumes; ignoring them", error=str(error))
        return _Answer(terms, self._clock.monotonic(), holder)
