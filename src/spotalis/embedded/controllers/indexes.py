"""Where controllers look objects up: by owner, by node, by uid; kept current event by event.

The counterpart of upstream's informers, with one difference that a controller could notice: it is
never behind the store. So expectations hold by construction: what a controller has created or
deleted it sees when it looks next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spotalis.embedded.objects.owners import controller_uid, deleting, uid_of
from spotalis.embedded.objects.pods import is_finished, is_ready, node_of
from spotalis.embedded.objects.resources import Object

if TYPE_CHECKING:
    from spotalis.embedded.store import ObjectStore


class Index:
    """Objects of one kind by some value of theirs, in the order in which they came."""

    def __init__(
        self, store: ObjectStore, plural: str, values: Callable[[Object], Iterable[str]]
    ) -> None:
        """``values`` names the places of an object; it must depend on the object alone."""
        self._values = values
        self._objects: dict[str, dict[str, Object]] = {}
        for obj in store.list(plural):
            self._put(obj)
        self.close = store.subscribe(plural, self._observe)
        """Ends the subscription."""

    def of(self, value: str) -> list[Object]:
        """The objects with this value, oldest first."""
        return list(self._objects.get(value, {}).values())

    def count(self, value: str) -> int:
        """How many objects have this value."""
        return len(self._objects.get(value, ()))

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
class Tally:
    """The pods of one owner in numbers, kept so that nobody has to count them."""

    active: int = 0
    """Neither finished nor terminating."""
    ready: int = 0
    """Of the active ones."""
    terminating: int = 0
    """And not finished."""
    labels: Counter[frozenset[tuple[str, str]]] = field(default_factory=Counter)
    """Of the active ones, how many carry exactly these labels."""

    def count(self, pod: Object, times: int) -> None:
        """Count a pod in (``times`` 1) or out (-1)."""
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
        """How many active ones carry at least these labels."""
        items = frozenset(wanted.items())
        return sum(count for labels, count in self.labels.items() if items <= labels)


class _Tallies:
    """A tally per owner."""

    def __init__(self, store: ObjectStore) -> None:
        self._tallies: dict[str, Tally] = {}
        for pod in store.list("pods"):
            self._observe("ADDED", pod, None)
        self.close = store.subscribe("pods", self._observe)

    def of(self, owner_uid: str) -> Tally:
        return self._tallies.get(owner_uid) or Tally()

    def _observe(self, change: str, new: Object, old: Object | None) -> None:
        if old is not None:
            for uid in controller_uid(old):
                self._tallies.setdefault(uid, Tally()).count(old, -1)
        if change != "DELETED":
            for uid in controller_uid(new):
                self._tallies.setdefault(uid, Tally()).count(new, 1)
        for uid in controller_uid(new):
            tally = self._tallies.get(uid)
            if tally is not None and not tally.active and not tally.terminating:
                del self._tallies[uid]


class Indexes:
    """The indexes that controllers share. Make it before them: it must hear of a change first."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pods_by_owner = Index(store, "pods", controller_uid)
        self._pods_by_node = Index(store, "pods", _node)
        self._orphans = Index(store, "pods", _orphaned_in)
        self._tallies = _Tallies(store)
        self._replicasets_by_owner = Index(store, "replicasets", controller_uid)
        self._revisions_by_owner = Index(store, "controllerrevisions", controller_uid)

    def pods_of(self, owner_uid: str) -> list[Object]:
        """Pods that this controller owns, terminating and finished ones too."""
        return self._pods_by_owner.of(owner_uid)

    def orphans_in(self, namespace: str) -> list[Object]:
        """Pods of a namespace that no controller owns."""
        return self._orphans.of(namespace)

    def tally_of(self, owner_uid: str) -> Tally:
        """The pods of this controller in numbers."""
        return self._tallies.of(owner_uid)

    def pods_on(self, node: str) -> list[Object]:
        """Pods bound to this node; ``""`` for those bound to none."""
        return self._pods_by_node.of(node)

    def replicasets_of(self, owner_uid: str) -> list[Object]:
        """ReplicaSets of this Deployment."""
        return self._replicasets_by_owner.of(owner_uid)

    def revisions_of(self, owner_uid: str) -> list[Object]:
        """ControllerRevisions of this StatefulSet."""
        return self._revisions_by_owner.of(owner_uid)

    def close(self) -> None:
        """End the subscriptions."""
        for index in self._indexes():
            index.close()
        self._tallies.close()

    def _indexes(self) -> Iterator[Index]:
        yield self._pods_by_owner
        yield self._pods_by_node
        yield self._orphans
        yield self._replicasets_by_owner
        yield self._revisions_by_owner


def _node(pod: Object) -> tuple[str]:
    return (node_of(pod),)


def _orphaned_in(pod: Object) -> tuple[str, ...]:
    return () if controller_uid(pod) else (pod["metadata"].get("namespace", ""),)
