"""The order in which a ReplicaSet deletes pods (upstream: ``ActivePodsWithRanks``)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key

from spotalis.embedded.objects.owners import uid_of
from spotalis.embedded.objects.pods import (
    deletion_cost,
    is_active,
    is_ready,
    node_of,
    phase_of,
    ready_since,
    restarts,
)
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import instant

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def pods_to_delete(
    pods: list[Object], related: Iterable[Object], count: int, now: datetime
) -> list[Object]:
    """The ``count`` pods to delete; ties keep the order of ``pods``.

    Args:
        pods: the active pods of the ReplicaSet.
        related: the pods of every ReplicaSet of the same owner, including this one: pods on nodes
            with many of them are deleted first.
        count: at most the number of ``pods``.
        now: ages are compared by their binary logarithm (feature ``LogarithmicScaleDown``).
    """
    if count >= len(pods):
        return pods[:count]
    pods_on_node = Counter(node_of(pod) for pod in related if is_active(pod))
    ranked = [_Ranked.of(pod, pods_on_node[node_of(pod)]) for pod in pods]
    ranked.sort(key=cmp_to_key(lambda a, b: _compare(a, b, now)))
    return [one.pod for one in ranked[:count]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranked:
    """A pod and the values that determine its order."""

    pod: Object
    before_age: tuple[int, int, int, int, int]
    """Assigned, phase, ready, deletion cost, pods on the node: smaller is deleted first."""
    ready_at: datetime | None
    restarts: int
    created_at: datetime | None

    @classmethod
    def of(cls, pod: Object, pods_on_node: int) -> _Ranked:
        ready = is_ready(pod)
        return cls(
            pod=pod,
            before_age=(
                int(bool(node_of(pod))),
                _PHASES.get(phase_of(pod), 0),
                int(ready),
                deletion_cost(pod),
                -pods_on_node,
            ),
            ready_at=ready_since(pod) if ready else None,
            restarts=restarts(pod),
            created_at=instant(pod["metadata"].get("creationTimestamp")),
        )


def _compare(one: _Ranked, other: _Ranked, now: datetime) -> int:
    if one.before_age != other.before_age:
        return -1 if one.before_age < other.before_age else 1
    both_ready = bool(one.before_age[2])
    if both_ready and one.ready_at != other.ready_at:
        return _younger_first(one, other, one.ready_at, other.ready_at, now)
    if one.restarts != other.restarts:
        return other.restarts - one.restarts
    if one.created_at != other.created_at:
        return _younger_first(one, other, one.created_at, other.created_at, now)
    return 0


def _younger_first(
    one: _Ranked, other: _Ranked, at: datetime | None, other_at: datetime | None, now: datetime
) -> int:
    if at is None or other_at is None:
        return -1 if at is None else 1
    difference = _magnitude(now - at) - _magnitude(now - other_at)
    if difference:
        return difference
    return -1 if uid_of(one.pod) < uid_of(other.pod) else 1


def _magnitude(age: timedelta) -> int:
    """The integer part of the binary logarithm of an age in nanoseconds; -1 for 0 or less."""
    nanoseconds = age // timedelta(microseconds=1) * 1000
    return int(math.log2(nanoseconds)) if nanoseconds > 0 else -1
