"""The arithmetic of a rollout: the next size of each ReplicaSet of a Deployment.

Pure functions. Upstream: ``rolling.go``, ``sync.go`` and ``util/deployment_util.go`` in
``pkg/controller/deployment``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotalis.embedded.objects.int_or_percent import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a rolling update."""

    replicas: int
    surge: int = 0
    """Maximum number of pods above ``replicas``; terminating pods do not count."""
    unavailable: int = 0
    """Maximum number of pods missing from ``replicas``."""

    @property
    def max_total(self) -> int:
        """The maximum sum of all sizes."""
        return self.replicas + self.surge

    @property
    def min_available(self) -> int:
        """The minimum number of available pods."""
        return self.replicas - self.unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of one ReplicaSet."""

    name: str
    replicas: int
    """``spec.replicas``."""
    available: int = 0
    """``status.availableReplicas``."""
    created: str = ""
    """``creationTimestamp``; ties are broken by name."""
    max_replicas: int = 0
    """Annotation ``deployment.kubernetes.io/max-replicas``; 0 if it is absent or invalid."""

    @property
    def age(self) -> tuple[str, str]:
        """Sort key: oldest first."""
        return (self.created, self.name)


def limits(
    replicas: int, max_surge: int | str, max_unavailable: int | str, *, rolling: bool = True
) -> Limits:
    """Resolve the strategy: surge rounds up, unavailable down; if both are 0, one is unavailable.

    Raises:
        ValueError: a text is not a percentage.
    """
    if not rolling:
        return Limits(replicas=replicas)
    surge = resolve(max_surge, replicas, round_up=True)
    unavailable = resolve(max_unavailable, replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(replicas=replicas, surge=surge, unavailable=min(unavailable, replicas))


def next_new_size(limits: Limits, new: int, total: int) -> int:
    """The next size of the new ReplicaSet, which now has ``new`` of ``total`` replicas."""
    if new >= limits.replicas:
        return limits.replicas
    return new + max(0, min(limits.max_total - total, limits.replicas - new))


def next_old_sizes(limits: Limits, new: Size, old: Sequence[Size]) -> dict[str, int]:
    """The next sizes of the old ReplicaSets that shrink: unhealthy pods first, oldest set first.

    Args:
        limits: the bounds of the rollout.
        new: the new ReplicaSet.
        old: the old ReplicaSets that have replicas.
    """
    total = new.replicas + sum(size.replicas for size in old)
    surplus = total - limits.min_available - (new.replicas - new.available)
    if not old or surplus <= 0:
        return {}
    sizes = {size.name: size.replicas for size in old}
    by_age = sorted(old, key=lambda size: size.age)
    is_current = True
    for size in by_age:
        if surplus <= 0:
            break
        if size.available > size.replicas:
            is_current = False  # the status is older than the spec: upstream waits
            break
        unhealthy = min(surplus, size.replicas - size.available)
        sizes[size.name] -= unhealthy
        surplus -= unhealthy
    spare = new.available + sum(size.available for size in old) - limits.min_available
    for size in by_age if is_current else ():
        removed = min(spare, sizes[size.name])
        if removed > 0:
            sizes[size.name] -= removed
            spare -= removed
    return {size.name: sizes[size.name] for size in old if sizes[size.name] != size.replicas}


def proportional_sizes(
    limits: Limits, sizes: Sequence[Size], status_replicas: int
) -> dict[str, int]:
    """The sizes after scaling during a rollout: every ReplicaSet keeps its share.

    Args:
        limits: the bounds at the new number of replicas.
        sizes: every ReplicaSet with replicas; the largest one gets the rest.
        status_replicas: the Deployment's ``status.replicas``, used if an annotation is
            missing.
    """
    to_add = (limits.max_total if limits.replicas > 0 else 0) - sum(size.replicas for size in sizes)
    newest_first = sorted(sizes, key=lambda size: size.age, reverse=to_add > 0)
    ordered = sorted(newest_first, key=lambda size: -size.replicas)
    result: dict[str, int] = {}
    added = 0
    for size in ordered:
        part = 0
        if size.replicas and to_add != added:
            part = _fraction(limits, size, status_replicas)
            part = min(part, to_add - added) if to_add > 0 else max(part, to_add - added)
        result[size.name] = size.replicas + part
        added += part
    if ordered:
        largest = ordered[0].name
        result[largest] = max(0, result[largest] + to_add - added)
    return result


def _fraction(limits: Limits, size: Size, status_replicas: int) -> int:
    """The change that keeps the share of a ReplicaSet; halves round away from zero."""
    if limits.replicas == 0:
        return -size.replicas
    before = size.max_replicas or status_replicas
    if before == 0:
        return 0
    return (2 * size.replicas * limits.max_total + before) // (2 * before) - size.replicas
