"""The read cache of one kind. One writer writes it, or one writer per namespace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import msgspec


class Record(Protocol):
    """The fields of a record that the store reads; ``namespace`` too, if there is one."""

    @property
    def name(self) -> str:
        """``metadata.name``."""
        ...

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        ...

    @property
    def resource_version(self) -> str:
        """``metadata.resourceVersion``."""
        ...


T = TypeVar("T", bound=Record)


class EventType(StrEnum):
    """The type of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event(msgspec.Struct, Generic[T], frozen=True):
    """One event of a watch, or one item of a list (as ADDED)."""

    type: EventType
    object: T


class StoreChange(msgspec.Struct, Generic[T], frozen=True):
    """A change of the store; at most one of the two is None."""

    old: T | None
    new: T | None


class Store(Generic[T]):
    """The objects of one kind. Readers must not await while they iterate."""

    def __init__(self) -> None:
        self.synced = False
        """The first list of every writer is complete; never reset."""
        self.fresh_at_by_scope: dict[str, float] = {}
        """Monotonic time as of which each writer was last known to be current, by its scope.

        It does not advance during a relist, when the store holds a mix of the old and the new
        list. Written by StoreWriters only.
        """
        self.pending_scopes: set[str] = set()
        """Scopes of the writers whose first list is not complete. Written by StoreWriters only."""
        self.by_namespace: dict[str, dict[str, T]] = {}
        """Objects by namespace and name. Written by StoreWriters only."""
        self.changes = 0
        """Counts the changes. Written by StoreWriters only."""

    def get(self, namespace: str, name: str) -> T | None:
        """The object, or None. Cluster-scoped objects have namespace ``""``."""
        return self.by_namespace.get(namespace, {}).get(name)

    def is_synced_in(self, namespace: str) -> bool:
        """Whether the first list of the writer of a namespace is complete."""
        return bool(self.fresh_at_by_scope) and self.pending_scopes.isdisjoint(("", namespace))

    def fresh_in(self, namespace: str) -> float:
        """Monotonic time as of which a namespace was last known to be current."""
        by_scope = self.fresh_at_by_scope
        return min(by_scope.get("", float("inf")), by_scope.get(namespace, float("inf")))

    def in_namespace(self, namespace: str) -> Iterator[T]:
        """The objects of one namespace."""
        return iter(self.by_namespace.get(namespace, {}).values())

    def __iter__(self) -> Iterator[T]:
        for objects in self.by_namespace.values():
            yield from objects.values()

    def __len__(self) -> int:
        return sum(map(len, self.by_namespace.values()))


class StoreWriter(Generic[T]):
    """Writes a store from watch events; idempotent, and never back to an older version.

    With a ``scope`` it writes one namespace only: its lists say nothing about other namespaces. All
    writers of a store must be created before any of them writes.
    """

    def __init__(self, store: Store[T], scope: str = "") -> None:
        self.store = store
        self.scope = scope
        """The namespace that is written; empty for all of them."""
        store.pending_scopes.add(scope)
        store.fresh_at_by_scope[scope] = float("-inf")
        self._seen: dict[str, set[str]] | None = None
        self._back_in_time = False
        self._deleted: dict[tuple[str, str], str] = {}

    def apply(self, event: Event[T]) -> StoreChange[T] | None:
        """Apply an event; returns None if it changes nothing (a duplicate, or an older version)."""
        new = event.object
        namespace, name = key(new)
        old = self.store.get(namespace, name)
        if event.type is not EventType.DELETED:
            self.mark_listed(namespace, name)
        if self._is_stale(event, old):
            return None
        if event.type is EventType.DELETED:
            self._remember_deletion(new)
            return None if old is None else self._drop(old)
        self.store.by_namespace.setdefault(namespace, {})[name] = new
        self.store.changes += 1
        return StoreChange(old, new)

    def begin_relist(self, *, back_in_time: bool = False) -> None:
        """Start a list: objects that are applied or marked from now on count as listed.

        Args:
            back_in_time: the server itself went back (its database was restored from a backup).
                Until the relist ends, older versions are accepted.
        """
        self._seen = {}
        self._back_in_time = back_in_time
        if back_in_time:
            self._deleted.clear()

    def mark_listed(self, namespace: str, name: str) -> None:
        """Count an object as listed although it could not be decoded."""
        if self._seen is not None:
            self._seen.setdefault(namespace, set()).add(name)

    @property
    def synced(self) -> bool:
        """Whether the first list of this writer is complete."""
        return self.scope not in self.store.pending_scopes

    @property
    def count(self) -> int:
        """The number of objects in the scope of this writer."""
        return sum(len(objects) for _, objects in self._written())

    def unlisted(self) -> Iterator[list[T]]:
        """The objects that the relist did not show, namespace by namespace.

        The scope of this writer must not change while this iterates; other scopes may.
        """
        seen = self._seen or {}
        for namespace, objects in self._written():
            here = seen.get(namespace, set())
            yield [held for name, held in objects.items() if name not in here]

    def end_relist(self) -> None:
        """End the list; the store is synced once every writer has completed its first list."""
        self._seen = None
        self._back_in_time = False
        self.store.pending_scopes.discard(self.scope)
        self.store.synced = not self.store.pending_scopes

    def mark_fresh(self, at: float) -> None:
        """Note that the store was current at this monotonic time; ignored during a relist."""
        if self._seen is None and self.synced:
            self.store.fresh_at_by_scope[self.scope] = at

    def drop(self, gone: T) -> StoreChange[T] | None:
        """Drop an object that a relist did not show; the same version may be added again later."""
        held = self.store.get(*key(gone))
        return None if held is None else self._drop(held)

    def _written(self) -> Iterable[tuple[str, dict[str, T]]]:
        if not self.scope:
            return self.store.by_namespace.items()
        return [(self.scope, self.store.by_namespace.get(self.scope, {}))]

    def _is_stale(self, event: Event[T], old: T | None) -> bool:
        """Whether the store already holds this version or a newer one."""
        new = event.object
        held_version = self._deleted.get(key(new), "") if old is None else old.resource_version
        if not held_version:
            return False
        if not self._back_in_time and is_older(new.resource_version, held_version):
            return True
        return event.type is not EventType.DELETED and new.resource_version == held_version

    def _remember_deletion(self, gone: T) -> None:
        self._deleted[key(gone)] = gone.resource_version
        if len(self._deleted) > _TOMBSTONES:
            del self._deleted[next(iter(self._deleted))]

    def _drop(self, held: T) -> StoreChange[T]:
        namespace, name = key(held)
        objects = self.store.by_namespace[namespace]
        self.store.changes += 1
        del objects[name]
        if not objects:
            del self.store.by_namespace[namespace]
        return StoreChange(held, None)


_TOMBSTONES = 4096
"""Deletions kept, so that a late duplicate of an earlier event cannot restore the object."""


def key(record: Record) -> tuple[str, str]:
    """(namespace, name); cluster-scoped objects have namespace ``""``."""
    return getattr(record, "namespace", ""), record.name


def is_older(version: str, than: str) -> bool:
    """Whether a resourceVersion is certainly older; False unless both are numbers."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
