"""Tables for ``kubectl get`` (``meta.k8s.io/v1`` Table)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import instant

Cell = Callable[[Object], Any]
Column = tuple[str, str, int, Cell]
"""Name, type, priority (1: only with ``-o wide``), and the function that reads the cell."""


def table(plural: str, objects: Sequence[Object], metadata: Object, now: datetime) -> Object:
    """Build a Table of objects of one kind; ``metadata`` is that of the list."""
    columns = (_NAME, *_COLUMNS.get(plural, ()))
    if _AGE not in columns:
        columns = (*columns, _AGE)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {"name": name, "type": kind, "format": "", "description": "", "priority": priority}
            for name, kind, priority, _ in columns
        ],
        "rows": [
            {
                "cells": [
                    _age(cell(obj), now) if name in _AGES else cell(obj)
                    for name, _, _, cell in columns
                ],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": obj["metadata"],
                },
            }
            for obj in objects
        ],
    }


_AGES = ("Age", "Last Seen")


def _age(stamp: str | None, now: datetime) -> str:
    """Format an age like kubectl, in one unit: ``95s``, ``5m``, ``30h``, ``2d``."""
    parsed = instant(stamp)
    if parsed is None:
        return "<unknown>"
    seconds = max(0, int((now - parsed).total_seconds()))
    for unit, size, limit in (("s", 1, 120), ("m", 60, 180), ("h", 3600, 48)):
        if seconds < limit * size:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def _created(obj: Object) -> str | None:
    found: str | None = obj["metadata"].get("creationTimestamp")
    return found


def _at(value: Any, *path: str) -> Any:
    for step in path:
        value = (value or {}).get(step)
    return value


def _status(obj: Object, *path: str) -> Any:
    return _at(obj, "status", *path)


def _spec(obj: Object, *path: str) -> Any:
    return _at(obj, "spec", *path)


def _containers(obj: Object) -> list[Object]:
    found: list[Object] = _status(obj, "containerStatuses") or []
    return found


def _pod_ready(obj: Object) -> str:
    ready = sum(1 for one in _containers(obj) if one.get("ready"))
    return f"{ready}/{len(_spec(obj, 'containers') or ())}"


def _pod_status(obj: Object) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for one in _containers(obj):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return str(_status(obj, "reason") or _status(obj, "phase") or "Unknown")


def _restarts(obj: Object) -> int:
    return sum(int(one.get("restartCount", 0)) for one in _containers(obj))


def _node_status(obj: Object) -> str:
    statuses = {one["type"]: one["status"] for one in _status(obj, "conditions") or ()}
    text = {"True": "Ready", "False": "NotReady"}.get(statuses.get("Ready", ""), "Unknown")
    return f"{text},SchedulingDisabled" if _spec(obj, "unschedulable") else text


def _regarding(obj: Object) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _text(name: str, cell: Cell) -> Column:
    return name, "string", 0, cell


def _wide(name: str, cell: Cell) -> Column:
    return name, "string", 1, cell


def _count(name: str, field: str) -> Column:
    return name, "integer", 0, lambda obj: _status(obj, field) or 0


def _ready_of_replicas(obj: Object) -> str:
    return f"{_status(obj, 'readyReplicas') or 0}/{_spec(obj, 'replicas') or 0}"


def _last_seen(obj: Object) -> str | None:
    return obj.get("lastTimestamp") or obj.get("eventTime")


_NAME = _text("Name", lambda obj: obj["metadata"]["name"])
_AGE = _text("Age", _created)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        _text("Ready", _pod_ready),
        _text("Status", _pod_status),
        ("Restarts", "integer", 0, _restarts),
        _AGE,
        _wide("IP", lambda obj: _status(obj, "podIP") or "<none>"),
        _wide("Node", lambda obj: _spec(obj, "nodeName") or "<none>"),
    ),
    "nodes": (
        _text("Status", _node_status),
        _AGE,
        _text("Version", lambda obj: _status(obj, "nodeInfo", "kubeletVersion") or ""),
    ),
    "deployments": (
        _text("Ready", _ready_of_replicas),
        _count("Up-to-date", "updatedReplicas"),
        _count("Available", "availableReplicas"),
        _AGE,
    ),
    "statefulsets": (_text("Ready", _ready_of_replicas), _AGE),
    "replicasets": (
        ("Desired", "integer", 0, lambda obj: _spec(obj, "replicas") or 0),
        _count("Current", "replicas"),
        _count("Ready", "readyReplicas"),
        _AGE,
    ),
    "poddisruptionbudgets": (
        _text("Min Available", lambda obj: str(_spec(obj, "minAvailable") or "N/A")),
        _text("Max Unavailable", lambda obj: str(_spec(obj, "maxUnavailable") or "N/A")),
        _count("Allowed Disruptions", "disruptionsAllowed"),
    ),
    "namespaces": (_text("Status", lambda obj: _status(obj, "phase") or ""),),
    "events": (
        _text("Last Seen", _last_seen),
        _text("Type", lambda obj: obj.get("type", "")),
        _text("Reason", lambda obj: obj.get("reason", "")),
        _text("Object", _regarding),
        _text("Message", lambda obj: obj.get("message", "")),
    ),
}
