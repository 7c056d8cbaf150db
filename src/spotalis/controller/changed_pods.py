"""Which pods have changed since they were evaluated for a placement.

The watches mark pods (controller/cluster.py), placements take them (controller/tracked_owners.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import TypeAlias

OwnerKey: TypeAlias = tuple[str, str]
"""Namespace and UID of an owner."""


class ChangedPods:
    """UIDs of changed pods, by the owners that are followed."""

    def __init__(self) -> None:
        self._by_owner: dict[OwnerKey, set[str]] = {}

    def __len__(self) -> int:
        """The number of owners that are followed."""
        return len(self._by_owner)

    def __contains__(self, owner: OwnerKey) -> bool:
        """Whether the owner is followed."""
        return owner in self._by_owner

    def follow(self, owner: OwnerKey, pods: Iterable[str]) -> None:
        """Follow an owner; at first these pods count as changed."""
        self._by_owner[owner] = set(pods)

    def unfollow(self, owner: OwnerKey) -> None:
        """Do not follow an owner any more."""
        self._by_owner.pop(owner, None)

    def mark(self, owner: OwnerKey, pod: str, pods: int) -> None:
        """Mark a pod of an owner if it is followed.

        Args:
            pods: how many the owner has. Once more have changed, the owner is not followed any
                more, because evaluating all its pods costs less. This also bounds what is kept of
                owners for which no placement is asked again.
        """
        changed = self._by_owner.get(owner)
        if changed is None:
            return
        changed.add(pod)
        if len(changed) > pods:
            self.unfollow(owner)

    def take(self, owner: OwnerKey) -> Set[str]:
        """The changed pods of an owner that is followed; they count as evaluated from now on."""
        changed = self._by_owner[owner]
        if changed:
            self._by_owner[owner] = set()
        return changed
