"""The read cache of one kind: one writer, or one for each namespace; many readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import msgspec


class Record(Protocol):
    """What the store must know of a record; a ``namespace`` is used where there is one."""

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
    """What a watch says of an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event(msgspec.Struct, Generic[T], frozen=True):
    """One message of a watch, or one item of a list (as ADDED)."""

    type: EventType
    object: T


class StoreChange(msgspec.Struct, Generic[T], frozen=True):
    """What an event did to the store; at most one of the two is None."""

    old: T | None
    new: T | None


class Store(Generic[T]):
    """The objects of one kind as last heard. Readers must not await while they iterate."""

    def __init__(self) -> None:
        self.synced = False
        """The first list of every writer is in; it stays so for good."""
        self.fresh_at = float("-inf")
        """Monotonic time of the last sign of life while the store followed its server.

        Of several writers, that of the one which has been silent for longest. It stands still
        during a relist, when what is held is neither the old nor the new view.
        """
        self.fresh_at_by_scope: dict[str, float] = {}
        """The same of each writer, by its scope. Only the StoreWriters write here."""
        self.pending_scopes: set[str] = set()
        """Scopes of the writers whose first list is not in yet; theirs too."""
        self.by_namespace: dict[str, dict[str, T]] = {}
        """Namespace, then name. Only the StoreWriters write here."""

    def get(self, namespace: str, name: str) -> T | None:
        """The object, or None. Objects without namespaces are under ``""``."""
        return self.by_namespace.get(namespace, {}).get(name)

    def in_namespace(self, namespace: str) -> Iterator[T]:
        """The objects of one namespace."""
        return iter(self.by_namespace.get(namespace, {}).values())

    def __iter__(self) -> Iterator[T]:
        for objects in self.by_namespace.values():
            yield from objects.values()

    def __len__(self) -> int:
        return sum(map(len, self.by_namespace.values()))


class StoreWriter(Generic[T]):
    """The one hand that writes a store; idempotent, and it never goes back in time.

    With a ``scope``, the one hand that writes one namespace of it: its lists show nothing of the
    others and take nothing away there. All writers of a store are made before any of them writes.
    """

    def __init__(self, store: Store[T], scope: str = "") -> None:
        self.store = store
        self.scope = scope
        """The one namespace that is written; empty: all of the store."""
        store.pending_scopes.add(scope)
        store.fresh_at_by_scope[scope] = float("-inf")
        self._seen: dict[str, set[str]] | None = None
        self._back_in_time = False
        self._deleted: dict[tuple[str, str], str] = {}

    def apply(self, event: Event[T]) -> StoreChange[T] | None:
        """Apply one event; None if it changes nothing (a duplicate, or older than what is held)."""
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
        return StoreChange(old, new)

    def begin_relist(self, *, back_in_time: bool = False) -> None:
        """From now on every object that is applied or marked counts as listed.

        ``back_in_time``: the server itself went back (its database was restored from a copy),
        so until the relist ends older versions are taken for what they are, the truth.
        """
        self._seen = {}
        self._back_in_time = back_in_time
        if back_in_time:
            self._deleted.clear()

    def mark_listed(self, namespace: str, name: str) -> None:
        """Count an object as listed although it could not be read: it has not vanished."""
        if self._seen is not None:
            self._seen.setdefault(namespace, set()).add(name)

    @property
    def synced(self) -> bool:
        """The first list of this writer is in."""
        return self.scope not in self.store.pending_scopes

    @property
    def count(self) -> int:
        """How many objects are held of what this writer writes."""
        return sum(len(objects) for _, objects in self._written())

    def unlisted(self) -> Iterator[list[T]]:
        """What is held and the relist has not shown, namespace by namespace.

        Nothing may be applied or dropped until it is through; other namespaces' writers may.
        """
        seen = self._seen or {}
        for namespace, objects in self._written():
            here = seen.get(namespace, set())
            yield [held for name, held in objects.items() if name not in here]

    def end_relist(self) -> None:
        """Stop counting, and call the store synced if no other writer's first list is pending."""
        self._seen = None
        self._back_in_time = False
        self.store.pending_scopes.discard(self.scope)
        self.store.synced = not self.store.pending_scopes

    def mark_fresh(self, at: float) -> None:
        """Note a sign of life at this monotonic time; not during a relist."""
        if self._seen is None and self.synced:
            self.store.fresh_at_by_scope[self.scope] = at
            self.store.fresh_at = min(self.store.fresh_at_by_scope.values())

    def drop(self, gone: T) -> StoreChange[T] | None:
        """Drop an object that a relist does not show; it may come back as it was."""
        held = self.store.get(*key(gone))
        return None if held is None else self._drop(held)

    def _written(self) -> Iterable[tuple[str, dict[str, T]]]:
        if not self.scope:
            return self.store.by_namespace.items()
        return [(self.scope, self.store.by_namespace.get(self.scope, {}))]

    def _is_stale(self, event: Event[T], old: T | None) -> bool:
        """Whether the store already knows what came of this version."""
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
        del objects[name]
        if not objects:
            del self.store.by_namespace[namespace]
        return StoreChange(held, None)


_TOMBSTONES = 4096
"""Deletions remembered, so that a late duplicate of an earlier event raises no ghost."""


def key(record: Record) -> tuple[str, str]:
    """(namespace, name); the namespace of what has none is ``""``."""
    return getattr(record, "namespace", ""), record.name


def is_older(version: str, than: str) -> bool:
    """Whether a resourceVersion is certainly older; never so where either is not a number."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
