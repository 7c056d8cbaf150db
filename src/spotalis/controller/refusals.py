"""The evictions that were refused or whose outcome is not known, by pod.

Kept in memory only: after a restart each pod is tried once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime

from spotalis.kube.eviction import EvictionOutcome, EvictionResult
from spotalis.planner.refusal import Refusal, next_refusal

MAX_REFUSALS = 10_000
"""Beyond that the oldest are forgotten. Of each pod less than 1 kB is kept."""
MAX_MESSAGE_LENGTH = 300

_REMEMBERED = frozenset({EvictionOutcome.FORBIDDEN, EvictionOutcome.UNKNOWN})
"""The others concern more than this pod (a budget, a busy server), or the pod has changed."""


class Refusals:
    """Remembers refusals by the UID of the pod, oldest first."""

    def __init__(self) -> None:
        self._by_pod: dict[str, Refusal] = {}

    def get(self, pod_uid: str) -> Refusal | None:
        """The refusal of a pod; None if its last eviction was not refused."""
        return self._by_pod.get(pod_uid)

    def of(self, pod_uids: Iterable[str]) -> dict[str, Refusal]:
        """The refusals of these pods."""
        return {uid: self._by_pod[uid] for uid in pod_uids if uid in self._by_pod}

    def record(self, pod_uid: str, result: EvictionResult, now: datetime) -> None:
        """Record the result of an eviction; one that says nothing about the pod changes nothing."""
        if result.outcome.ends_pod:
            self._by_pod.pop(pod_uid, None)
        if result.outcome not in _REMEMBERED:
            return
        previous = self._by_pod.pop(pod_uid, None)
        self._by_pod[pod_uid] = next_refusal(
            previous,
            result.message[:MAX_MESSAGE_LENGTH],
            is_certain=result.outcome is EvictionOutcome.FORBIDDEN,
            now=now,
        )
        if len(self._by_pod) > MAX_REFUSALS:
            del self._by_pod[next(iter(self._by_pod))]

    def retain(self, pod_uids: Set[str]) -> None:
        """Forget all pods but these."""
        for uid in self._by_pod.keys() - pod_uids:
            del self._by_pod[uid]
