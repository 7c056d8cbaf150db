"""The expiry of Events."""

from __future__ import annotations

from datetime import datetime, timedelta

from spotalis.embedded.store import Key, ObjectStore, StoreEvent, key_of
from spotalis.model.environment import Clock

TTL = timedelta(hours=1)
"""How long events are kept after their last write (kube-apiserver: ``--event-ttl``)."""


class EventExpiry:
    """Deletes events that were last written more than ``TTL`` ago, whenever an event is written."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._written: dict[Key, datetime] = {}
        """Time of the last write, oldest first."""
        store.follow("events", self._on_write)

    def _on_write(self, event: StoreEvent) -> None:
        key = key_of(event.new)
        self._written.pop(key, None)
        if event.type == "DELETED":
            return
        now = self._clock.now()
        self._written[key] = now
        for expired, written in list(self._written.items()):
            if written > now - TTL:
                break
            del self._written[expired]
            if self._store.get("events", *expired) is not None:
                self._store.remove("events", *expired)
