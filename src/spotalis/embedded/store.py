"""A multi-version object store: etcd and the watch cache of the embedded cluster.

It is synchronous and single-threaded. Every commit gets the next revision, which becomes
``metadata.resourceVersion`` of the object. The store keeps a window of recent commits, so that
watches can resume from an older revision and lists can be continued at one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

import msgspec

from spotalis.embedded.objects.resources import Object

__all__ = ["Listener", "Object", "ObjectStore", "StoreEvent", "VersionExpired"]

StoreEvents: TypeAlias = list["StoreEvent"]
Keys: TypeAlias = list["Key"]
Listener = Callable[[str, Object, Object | None], None]
"""(``ADDED``, ``MODIFIED`` or ``DELETED``; the current or last object; the previous object)."""
Key = tuple[str, str]
"""Namespace (``""`` for cluster-wide kinds) and name; lists are in this order, as in etcd."""


class VersionExpired(Exception):
    """The revision is older than the window of recent commits."""


class StoreEvent:
    """One commit: a change of one object."""

    __slots__ = ("_encoded", "new", "old", "revision", "type")

    def __init__(self, revision: int, kind: str, new: Object, old: Object | None) -> None:
        self.revision = revision
        self.type = kind
        """``ADDED``, ``MODIFIED`` or ``DELETED``."""
        self.new = new
        """The new state; for ``DELETED`` the last one, at the revision of the deletion."""
        self.old = old
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The object as JSON, encoded once."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(self.new)
        return self._encoded


class _Kind:
    """The objects of one kind and their recent commits."""

    __slots__ = ("changes", "expired_to", "keys", "listeners", "live")

    def __init__(self) -> None:
        self.live: dict[Key, StoreEvent] = {}
        """The last commit of every existing object."""
        self.keys: list[Key] = []
        self.changes: deque[StoreEvent] = deque()
        self.expired_to = 0
        """Commits up to this revision have been dropped from ``changes``."""
        self.listeners: dict[int, Callable[[StoreEvent], None]] = {}


class ObjectStore:
    """Holds objects by plural, namespace and name."""

    def __init__(self, *, window: int = 2_000) -> None:
        """``window`` is the minimum number of recent commits that are kept per kind."""
        self.revision = 1
        """The revision of the last commit, of any kind."""
        self.compacted = 0
        """Reads at this revision or an older one fail, for all kinds."""
        self.window = window
        self._kinds: dict[str, _Kind] = {}
        self._subscriptions = 0
        self._pending: deque[tuple[_Kind, StoreEvent]] = deque()
        self._notifying = False

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        change = self._kind(plural).live.get((namespace, name))
        return None if change is None else change.new

    def list(self, plural: str, namespace: str = "") -> list[Object]:
        """The objects of a kind, or those in one namespace, sorted by namespace and name."""
        return [change.new for change in self.entries(plural, namespace)]

    def entries(self, plural: str, namespace: str = "") -> StoreEvents:
        """The last commits of the objects that ``list`` returns."""
        kind = self._kind(plural)
        live = kind.live
        return [live[key] for key in self._range(kind.keys, namespace)]

    def entry(self, plural: str, namespace: str, name: str) -> StoreEvent | None:
        """The last commit of one object."""
        return self._kind(plural).live.get((namespace, name))

    def entries_at(self, plural: str, namespace: str, revision: int) -> StoreEvents:
        """What ``entries`` returned at ``revision``.

        Raises:
            VersionExpired: the revision is too old.
        """
        kind = self._kind(plural)
        self._check(kind, revision)
        if not kind.changes or kind.changes[-1].revision <= revision:
            return self.entries(plural, namespace)
        then = dict(kind.live)
        for change in reversed(kind.changes):
            if change.revision <= revision:
                break
            key = key_of(change.new)
            if change.old is None:
                then.pop(key, None)
            else:
                then[key] = StoreEvent(
                    int(change.old["metadata"]["resourceVersion"]), "", change.old, None
                )
        keys = sorted(then)
        return [then[key] for key in self._range(keys, namespace)]

    def put(self, plural: str, obj: Object) -> Object:
        """Commit an object and return it with its new resourceVersion.

        ``obj`` is not copied: the caller must not change it afterwards.
        """
        kind = self._kind(plural)
        key = key_of(obj)
        old = kind.live.get(key)
        stored = self._stamped(obj)
        if old is None:
            insort(kind.keys, key)
        event = "MODIFIED" if old else "ADDED"
        change = StoreEvent(self.revision, event, stored, old.new if old else None)
        kind.live[key] = change
        self._commit(kind, change)
        return stored

    def remove(self, plural: str, namespace: str, name: str) -> Object:
        """Delete an object and return its last state, at the revision of the deletion.

        Raises:
            KeyError: the object does not exist.
        """
        kind = self._kind(plural)
        key = (namespace, name)
        old = kind.live.pop(key).new
        del kind.keys[bisect_left(kind.keys, key)]
        last = self._stamped(old)
        self._commit(kind, StoreEvent(self.revision, "DELETED", last, old))
        return last

    def subscribe(self, plural: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for every commit of a kind, in the order of the commits.

        A commit that a listener makes is delivered after the current one. Returns a function that
        ends the subscription.
        """
        return self.follow(plural, lambda change: listener(change.type, change.new, change.old))

    def follow(self, plural: str, listener: Callable[[StoreEvent], None]) -> Callable[[], None]:
        """Like ``subscribe``, with the whole commit."""
        self._subscriptions += 1
        number, listeners = self._subscriptions, self._kind(plural).listeners
        listeners[number] = listener

        def end() -> None:
            listeners.pop(number, None)

        return end

    def history(self, plural: str, after: int) -> StoreEvents:
        """The commits of a kind with a revision greater than ``after``, oldest first.

        Raises:
            VersionExpired: some of the commits have been dropped.
        """
        kind = self._kind(plural)
        self._check(kind, after)
        count = 0
        for change in reversed(kind.changes):
            if change.revision <= after:
                break
            count += 1
        return list(islice(kind.changes, len(kind.changes) - count, None))

    def compact(self, revision: int | None = None) -> None:
        """Drop the history up to ``revision`` (None: the current one), as etcd compaction does."""
        self.compacted = max(self.compacted, self.revision if revision is None else revision)
        for kind in self._kinds.values():
            while kind.changes and kind.changes[0].revision <= self.compacted:
                kind.expired_to = kind.changes.popleft().revision

    def _kind(self, plural: str) -> _Kind:
        kind = self._kinds.get(plural)
        if kind is None:
            kind = self._kinds[plural] = _Kind()
        return kind

    def _check(self, kind: _Kind, revision: int) -> None:
        if revision < kind.expired_to or revision < self.compacted:
            raise VersionExpired

    @staticmethod
    def _range(keys: Keys, namespace: str) -> Keys:
        if not namespace:
            return keys
        start = bisect_left(keys, (namespace, ""))
        return keys[start : bisect_left(keys, (namespace + "\0", ""), start)]

    def _stamped(self, obj: Object) -> Object:
        self.revision += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.revision)}
        return {**obj, "metadata": metadata}

    def _commit(self, kind: _Kind, change: StoreEvent) -> None:
        kind.changes.append(change)
        if len(kind.changes) > 2 * self.window:
            for _ in range(self.window):
                kind.expired_to = kind.changes.popleft().revision
        self._pending.append((kind, change))
        if self._notifying:
            return
        self._notifying = True
        try:
            while self._pending:
                kind, event = self._pending.popleft()
                for listener in tuple(kind.listeners.values()):
                    listener(event)
        finally:
            self._notifying = False


def key_of(obj: Object) -> Key:
    """The namespace and the name of an object."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
