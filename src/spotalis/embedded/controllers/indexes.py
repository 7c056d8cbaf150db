"""Indexes over the store: pods by owner or node, ReplicaSets and revisions by owner.

They take the place of client-go's informers, with one difference that a controller can observe: an
index is never behind the store. A controller sees what it has created or deleted at its next look,
so it needs no expectations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spotalis.embedded.objects.owners import controller_uid, deleting, uid_of
from spotalis.embedded.objects.pods import is_finished, is_ready, node_of
from spotalis.embedded.objects.resources import Object

if TYPE_CHECKING:
    from spotalis.embedded.store import ObjectStore


class Index:
    """Objects of one kind, grouped by a value, oldest first."""

    def __init__(
        self, store: ObjectStore, plural: str, values: Callable[[Object], Iterable[str]]
    ) -> None:
        """``values`` returns the groups of an object; it must depend on the object alone."""
        self._values = values
        self._objects: dict[str, dict[str, Object]] = {}
        for obj in store.list(plural):
            self._put(obj)
        self.close = store.subscribe(plural, self._observe)
        """Ends the subscription."""

    def of(self, value: str) -> list[Object]:
        """The objects with this value."""
        return list(self._objects.get(value, {}).values())

    def _put(self, obj: Object) -> None:
        uid = uid_of(obj)
        for value in self._values(obj):
            self._objects.setdefault(value, {})[uid] = obj

    def _remove(self, obj: Object) -> None:
        uid = uid_of(obj)
        for value in self._values(obj):
            objects = self._objects.get(value)
            if objects is not None:
                objects.pop(uid, None)
                if not objects:
                    del self._objects[value]

    def _observe(self, change: str, new: Object, old: Object | None) -> None:
        if change == "DELETED":
            self._remove(old or new)
            return
        if old is not None and list(self._values(old)) != list(self._values(new)):
            self._remove(old)
        self._put(new)


@dataclass(slots=True)
class PodCounts:
    """The number of pods of one owner in each state, kept up to date event by event."""

    active: int = 0
    """Pods that are neither finished nor terminating."""
    ready: int = 0
    """Active pods that are Ready."""
    terminating: int = 0
    """Terminating pods that are not finished."""
    labels: Counter[frozenset[tuple[str, str]]] = field(default_factory=Counter)
    """The number of active pods with exactly these labels."""

    def count(self, pod: Object, times: int) -> None:
        """Add a pod (``times`` 1) or remove it (-1)."""
        if is_finished(pod):
            return
        if deleting(pod):
            self.terminating += times
            return
        self.active += times
        if is_ready(pod):
            self.ready += times
        self.labels[frozenset((pod["metadata"].get("labels") or {}).items())] += times

    def labelled(self, wanted: Mapping[str, str]) -> int:
        """The number of active pods that carry at least these labels."""
        items = frozenset(wanted.items())
        return sum(count for labels, count in self.labels.items() if items <= labels)


class _PodCountsByOwner:
    """The pod counts of every owner."""

    def __init__(self, store: ObjectStore) -> None:
        self._counts: dict[str, PodCounts] = {}
        for pod in store.list("pods"):
            self._observe("ADDED", pod, None)
        self.close = store.subscribe("pods", self._observe)

    def of(self, owner_uid: str) -> PodCounts:
        return self._counts.get(owner_uid) or PodCounts()

    def _observe(self, change: str, new: Object, old: Object | None) -> None:
        if old is not None:
            for uid in controller_uid(old):
                self._counts.setdefault(uid, PodCounts()).count(old, -1)
        if change != "DELETED":
            for uid in controller_uid(new):
                self._counts.setdefault(uid, PodCounts()).count(new, 1)
        for uid in controller_uid(new):
            counts = self._counts.get(uid)
            if counts is not None and not counts.active and not counts.terminating:
                del self._counts[uid]


class Indexes:
    """The indexes that controllers share.

    They must be created before the controllers, so that they are updated before a controller
    reacts to the same event.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._ends: list[Callable[[], None]] = []
        self.pods_of = self._index("pods", controller_uid)
        """The pods of a controller by its UID, including terminating and finished ones."""
        self.pods_on = self._index("pods", lambda pod: (node_of(pod),))
        """The pods bound to a node; ``""`` for pods that are not bound."""
        self.orphans_in = self._index("pods", _namespace_of_orphan)
        """The pods of a namespace that have no controller."""
        self.replicasets_of = self._index("replicasets", controller_uid)
        """The ReplicaSets of a Deployment by its UID."""
        self.revisions_of = self._index("controllerrevisions", controller_uid)
        """The ControllerRevisions of a StatefulSet by its UID."""
        counts = _PodCountsByOwner(store)
        self._ends.append(counts.close)
        self.pod_counts = counts.of
        """The number of pods of a controller in each state, by its UID."""

    def close(self) -> None:
        """End the subscriptions."""
        for end in self._ends:
            end()

    def _index(
        self, plural: str, values: Callable[[Object], Iterable[str]]
    ) -> Callable[[str], list[Object]]:
        index = Index(self._store, plural, values)
        self._ends.append(index.close)
        return index.of


def _namespace_of_orphan(pod: Object) -> tuple[str, ...]:
    is_orphan = not controller_uid(pod)
    return (pod["metadata"].get("namespace", ""),) if is_orphan else ()
