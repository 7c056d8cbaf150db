"""From where pods' volumes can be reached: asked of the API server, for those pods it matters for.

Nothing is watched: most pods have no claims, and of those that have, only the ones that may move
or that wait are asked about (decision 0017).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime

from spotalis.kube.client import Client, Forbidden
from spotalis.kube.resources import VOLUME_CLAIMS, VOLUMES
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms, Pod, intersect_terms
from spotalis.planner.candidates import candidates
from spotalis.planner.observed import Observed
from spotalis.planner.plan import recheck

logger = logging.getLogger(__name__)

GOOD_SECONDS = 300.0
"""An answer about a pod without a node is asked for anew after so long: its claim may yet be bound,
or deleted and made again. While a pod with a node lives, its claims stay what they are
(pvc-protection), and so do their volumes."""


def held_by_volumes(observed: Observed, now: datetime) -> list[Pod]:
    """The pods for which it matters, now, where their volumes can be reached.

    They wait for a spot node, or may be moved.
    """
    if not any(replica.pod.claims for replica in observed.active):
        return []
    concerned = [r for r in observed.active if r.pod.unschedulable and r.node_type is NodeType.SPOT]
    surplus_type = observed.state.surplus_type
    if surplus_type is not None and recheck(observed, now) is None:
        concerned += candidates(observed, surplus_type)
    return [replica.pod for replica in concerned if replica.pod.claims]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found out about one claim."""

    terms: NodeTerms
    at: float
    """Monotonic seconds."""
    holder: str = ""
    """UID of the pod with a node that it was asked for; empty: good for a while only."""


class Volumes:
    """What is known of the volumes of pods."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._claims: dict[str, tuple[tuple[str, str], ...]] = {}
        """Of the pods that were asked about, by UID: they outlive them in open moves."""
        self._refused = False

    def reach(self, pod: Pod) -> NodeTerms:
        """What a node must meet to reach all volumes of a pod, as far as that is known."""
        return self._reach((pod.namespace, claim) for claim in pod.claims)

    def reach_of(self, uid: str) -> NodeTerms:
        """The same of a pod that was asked about once, be it gone or not."""
        return self._reach(self._claims.get(uid, ()))

    async def learn(self, pods: Iterable[Pod]) -> bool:
        """Find out what is not known of the volumes of these pods.

        Returns:
            Whether anything had to be asked: what was observed before may be behind.

        Raises:
            ApiError, TransportError: the API server does not say; but that it may not be asked
                is taken for an answer, and is logged once.
        """
        asked = False
        for pod in pods:
            self._claims[pod.uid] = tuple((pod.namespace, claim) for claim in pod.claims)
            for claim in self._claims[pod.uid]:
                known = self._answers.get(claim)
                if known is None or not self._is_good(known, pod.uid):
                    self._answers[claim] = await self._ask(claim, pod.uid if pod.node else "")
                    asked = True
        return asked

    def retain(self, uids: Set[str]) -> None:
        """Forget all that was known for other pods than these."""
        self._claims = {uid: claims for uid, claims in self._claims.items() if uid in uids}
        named = {claim for claims in self._claims.values() for claim in claims}
        self._answers = {claim: a for claim, a in self._answers.items() if claim in named}

    def _reach(self, claims: Iterable[tuple[str, str]]) -> NodeTerms:
        reach: NodeTerms = ()
        for claim in claims:
            known = self._answers.get(claim)
            reach = intersect_terms(reach, known.terms) if known else reach
        return reach

    def _is_good(self, answer: _Answer, uid: str) -> bool:
        return answer.holder == uid or self._clock.monotonic() - answer.at < GOOD_SECONDS

    async def _ask(self, claim: tuple[str, str], holder: str) -> _Answer:
        terms: NodeTerms = ()
        try:
            found = await self._client.get(VOLUME_CLAIMS, *claim)
            if found is not None and found.volume:
                volume = await self._client.get(VOLUMES, "", found.volume)
                terms = volume.node_terms if volume else ()
        except Forbidden as refused:
            holder = ""
            if not self._refused:
                self._refused = True
                logger.warning(
                    "volumes not read: a move may be sent where its volume cannot follow",
                    extra={"fields": {"error": str(refused)}},
                )
        return _Answer(terms, self._clock.monotonic(), holder)
