"""Events in the form of either API group; they are stored in that of ``events.k8s.io``."""

from __future__ import annotations

from spotalis.embedded.objects.resources import Object

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


def to_stored(obj: Object) -> Object:
    """An event of either group, as it is stored."""
    if obj.get("apiVersion") != "v1":
        return obj
    renamed = {_CORE.get(key, key): value for key, value in obj.items()}
    return {**renamed, "apiVersion": _API_VERSION}


def to_core(obj: Object) -> Object:
    """A stored event as the core group shows it, which leaves nothing out."""
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
    """A stored event as ``events.k8s.io`` shows it, which leaves nothing out."""
    always: Object = {
        "eventTime": None,
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    }
    rest = {k: v for k, v in {**always, **obj}.items() if k not in _HEAD}
    return {"kind": "Event", "apiVersion": _API_VERSION, **rest}


_HEAD = ("kind", "apiVersion")
