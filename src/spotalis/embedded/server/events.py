"""Events: their form in either API group, and their expiry.

They are stored in the form of ``events.k8s.io``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.store import Key, ObjectStore, StoreEvent, key_of
from spotalis.model.environment import Clock

_CORE = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_STORED = {new: old for old, new in _CORE.items()}
_API_VERSION = "events.k8s.io/v1"
_HEAD = ("kind", "apiVersion")
TTL = timedelta(hours=1)
"""How long events are kept after their last write (kube-apiserver: ``--event-ttl``)."""


def to_stored(obj: Object) -> Object:
    """Convert an event of either group to the stored form."""
    if obj.get("apiVersion") != "v1":
        return obj
    renamed = {_CORE.get(key, key): value for key, value in obj.items()}
    return {**renamed, "apiVersion": _API_VERSION}


def to_core(obj: Object) -> Object:
    """Convert a stored event to the form of the core group, with all required fields."""
    renamed = {_STORED.get(key, key): value for key, value in obj.items()}
    always: Object = {
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    }
    core = {**always, **renamed}
    return {
        "kind": "Event",
        "apiVersion": "v1",
        **{k: v for k, v in core.items() if k not in _HEAD},
    }


def to_new(obj: Object) -> Object:
    """Convert a stored event to the form of ``events.k8s.io``, with all required fields."""
    always: Object = {
        "eventTime": None,
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    }
    rest = {k: v for k, v in {**always, **obj}.items() if k not in _HEAD}
    return {"kind": "Event", "apiVersion": _API_VERSION, **rest}


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
        for expired, _ in list(self._expired(now)):
            del self._written[expired]
            if self._store.get("events", *expired) is not None:
                self._store.remove("events", *expired)

    def _expired(self, now: datetime) -> Iterator[tuple[Key, datetime]]:
        return takewhile(lambda entry: entry[1] <= now - TTL, self._written.items())
