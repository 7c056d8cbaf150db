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
        self._pods_by_owner = Index(store, "pods", controller_uid)
        self._pods_by_node = Index(store, "pods", lambda pod: (node_of(pod),))
        self._orphans = Index(store, "pods", _namespace_of_orphan)
        self._pod_counts = _PodCountsByOwner(store)
        self._replicasets_by_owner = Index(store, "replicasets", controller_uid)
        self._revisions_by_owner = Index(store, "controllerrevisions", controller_uid)

    def pods_of(self, owner_uid: str) -> list[Object]:
        """The pods of a controller, including terminating and finished ones."""
        return self._pods_by_owner.of(owner_uid)

    def orphans_in(self, namespace: str) -> list[Object]:
        """The pods of a namespace that have no controller."""
        return self._orphans.of(namespace)

    def pod_counts(self, owner_uid: str) -> PodCounts:
        """The number of pods of a controller in each state."""
        return self._pod_counts.of(owner_uid)

    def pods_on(self, node: str) -> list[Object]:
        """The pods bound to a node; ``""`` for pods that are not bound."""
        return self._pods_by_node.of(node)

    def replicasets_of(self, owner_uid: str) -> list[Object]:
        """The ReplicaSets of a Deployment."""
        return self._replicasets_by_owner.of(owner_uid)

    def revisions_of(self, owner_uid: str) -> list[Object]:
        """The ControllerRevisions of a StatefulSet."""
        return self._revisions_by_owner.of(owner_uid)

    def close(self) -> None:
        """End the subscriptions."""
        for index in (
            self._pods_by_owner,
            self._pods_by_node,
            self._orphans,
            self._replicasets_by_owner,
            self._revisions_by_owner,
            self._pod_counts,
        ):
            index.close()


def _namespace_of_orphan(pod: Object) -> tuple[str, ...]:
    is_orphan = not controller_uid(pod)
    return (pod["metadata"].get("namespace", ""),) if is_orphan else ()
