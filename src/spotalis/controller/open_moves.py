"""The open moves of all workloads, and how many more the limit of the cluster allows."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import timedelta

from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.terminations import Terminations
from spotalis.model.environment import Clock
from spotalis.model.ledger import Intent

COUNTED_FOR = timedelta(minutes=5)
"""How long an open move counts toward the limit of the cluster. Most replacements are ready within
two minutes, also on a new node. One that is not ready by then may never be, and must not hold a
place that others need. The move still counts toward the limit of its own workload."""
PROBE_COUNTED_FOR = timedelta(hours=1)
"""How long a probe that does not end keeps its own namespace from another one: the longest time
between two probes of a workload. Otherwise its workloads could claim the probe in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreePlaces:
    """How many more moves of one namespace the limit of the cluster allows."""

    count: int
    """Zero or less if none may start."""
    is_share: bool
    """The share of the namespace leaves fewer places than the cluster."""
    next_in: timedelta | None = None
    """When an open move stops to count at the latest; None if none counts."""
    holders: Set[str] = frozenset()
    """UIDs of the pods of the namespace's moves that count."""
    probes: bool = False
    """A probe counts, in any namespace, or one of this namespace has not ended within an hour."""


def free_places(
    moves: Mapping[str, Set[str]], namespace: str, limit: int, *, is_shared: bool
) -> tuple[int, bool]:
    """How many more moves of a namespace may start, and whether its share decides that.

    If the workloads of several namespaces are managed, one namespace may use half of the places.
    What it holds beyond that (moves toward the minimum wait for no place) is not taken from others.

    Args:
        moves: the moves that count, by namespace.
        namespace: whose workload is to move.
        limit: of the cluster.
        is_shared: whether workloads of other namespaces are managed.
    """
    share = -(-limit // 2) if is_shared else limit
    used = sum(min(len(pods), share) for pods in moves.values())
    own = share - len(moves.get(namespace, ()))
    return min(limit - used, own), own < limit - used


class OpenMoves:
    """Counts the open moves of all workloads."""

    def __init__(
        self, cluster: Cluster, ledgers: Ledgers, terminations: Terminations, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._clock = clock
        self._seen_at: dict[str, float] = {}
        """By pod UID: when this instance first saw the open move, in monotonic seconds."""

    def places(self, namespace: str) -> FreePlaces:
        """The places that are free for the workloads of a namespace."""
        moves = self._ledgers.intents()
        limit = self._cluster.settings.max_moves_in_flight
        is_shared = self._cluster.manages_others(namespace)
        if not moves:
            self._seen_at = {}
            count, is_share = free_places({}, namespace, limit, is_shared=is_shared)
            return FreePlaces(count=count, is_share=is_share)
        now = self._clock.monotonic()
        pods = [intent.pod for intents in moves.values() for intent in intents]
        self._seen_at = {pod: self._seen_at.get(pod, now) for pod in pods}
        counted = {
            name: [intent for intent in intents if self._counts(intent, COUNTED_FOR)]
            for name, intents in moves.items()
        }
        holders = {name: {intent.pod for intent in intents} for name, intents in counted.items()}
        probes = [i for i in moves.get(namespace, ()) if self._counts(i, PROBE_COUNTED_FOR)]
        left: list[timedelta] = []
        for intents in counted.values():
            probes += intents
            left += [COUNTED_FOR - self._age(intent) for intent in intents]
        count, is_share = free_places(holders, namespace, limit, is_shared=is_shared)
        return FreePlaces(
            count=count,
            is_share=is_share,
            next_in=min(left, default=None),
            holders=holders.get(namespace, frozenset()),
            probes=any(intent.probe for intent in probes),
        )

    def _counts(self, intent: Intent, limit: timedelta) -> bool:
        """Whether a move holds a place: it is neither older than this nor stuck.

        Other workloads must not wait for those that are.
        """
        return self._age(intent) < limit and not self._terminations.is_stuck(intent.pod)

    def _age(self, intent: Intent) -> timedelta:
        """The time since this instance first saw an open move."""
        return timedelta(seconds=self._clock.monotonic() - self._seen_at[intent.pod])
