"""The arithmetic of a Deployment: what its ReplicaSets' sizes become next.

Pure; the source of each rule is upstream's ``deployment/rolling.go``, ``sync.go`` and
``util/deployment_util.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotalis.embedded.objects.amounts import share


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a rolling update may do around the wanted number of replicas."""

    replicas: int
    surge: int = 0
    """Pods above ``replicas`` (spec; terminating ones are not counted)."""
    unavailable: int = 0
    """Pods that may be missing from ``replicas``."""

    @property
    def most(self) -> int:
        """The sum of all sizes never exceeds it."""
        return self.replicas + self.surge

    @property
    def least_available(self) -> int:
        """No step takes the available pods below it."""
        return self.replicas - self.unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One ReplicaSet in numbers."""

    name: str
    replicas: int
    """``spec.replicas``."""
    available: int = 0
    """``status.availableReplicas``."""
    created: str = ""
    """``creationTimestamp``; the name breaks ties."""
    most: int = 0
    """Annotation ``deployment.kubernetes.io/max-replicas``; 0 where it is absent or unreadable."""

    @property
    def age(self) -> tuple[str, str]:
        """Sorts older first."""
        return (self.created, self.name)


def limits(
    replicas: int, max_surge: int | str, max_unavailable: int | str, *, rolling: bool = True
) -> Limits:
    """Resolve the strategy: surge rounds up, unavailable down; both 0 means one unavailable.

    Raises:
        ValueError: text that is no percentage.
    """
    if not rolling:
        return Limits(replicas=replicas)
    surge = share(max_surge, replicas, up=True)
    unavailable = share(max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(replicas=replicas, surge=surge, unavailable=min(unavailable, replicas))


def grown(limits: Limits, new: int, total: int) -> int:
    """The next size of the new ReplicaSet, which has ``new`` of ``total`` replicas now."""
    if new >= limits.replicas:
        return limits.replicas
    return new + max(0, min(limits.most - total, limits.replicas - new))


def shrunk(limits: Limits, new: Size, old: Sequence[Size]) -> dict[str, int]:
    """The next sizes of those old ReplicaSets that shrink: unhealthy pods first, oldest set first.

    Args:
        limits: of the rollout.
        new: the new ReplicaSet.
        old: the old ones with replicas.
    """
    total = new.replicas + sum(size.replicas for size in old)
    room = total - limits.least_available - (new.replicas - new.available)
    if not old or room <= 0:
        return {}
    sizes = {size.name: size.replicas for size in old}
    by_age = sorted(old, key=lambda size: size.age)
    trusted = True
    for size in by_age:
        if room <= 0:
            break
        if size.available > size.replicas:
            trusted = False  # its status is older than its spec: upstream stops here, and waits
            break
        unhealthy = min(room, size.replicas - size.available)
        sizes[size.name] -= unhealthy
        room -= unhealthy
    spare = new.available + sum(size.available for size in old) - limits.least_available
    for size in by_age if trusted else ():
        going = min(spare, sizes[size.name])
        if going > 0:
            sizes[size.name] -= going
            spare -= going
    return {size.name: sizes[size.name] for size in old if sizes[size.name] != size.replicas}


def proportional(limits: Limits, sizes: Sequence[Size], status_replicas: int) -> dict[str, int]:
    """The sizes after scaling in the middle of a rollout: each set in proportion, largest first.

    Args:
        limits: with the new number of replicas.
        sizes: every ReplicaSet with replicas; leftovers go to the largest.
        status_replicas: the Deployment's ``status.replicas``, the base where an annotation is
            missing.
    """
    to_add = (limits.most if limits.replicas > 0 else 0) - sum(size.replicas for size in sizes)
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
    """By how much a set changes to keep its share; halves are rounded away from zero."""
    if limits.replicas == 0:
        return -size.replicas
    before = size.most or status_replicas
    if before == 0:
        return 0
    return (2 * size.replicas * limits.most + before) // (2 * before) - size.replicas
