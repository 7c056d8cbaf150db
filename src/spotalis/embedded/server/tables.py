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
    """Format an age as kubectl does: ``95s``, ``3m20s``, ``5h``, ``2d3h``."""
    parsed = instant(stamp)
    if parsed is None:
        return "<unknown>"
    seconds = max(0, int((now - parsed).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y{days % 365}d"


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


def _node_roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    return ",".join(roles) or "<none>"


def _images(obj: Object) -> str:
    return ",".join(one.get("image", "") for one in _spec(obj, "template", "spec", "containers"))


def _selector(obj: Object) -> str:
    labels = _spec(obj, "selector", "matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in labels.items()) or "<none>"


def _regarding(obj: Object) -> str:
    regarding = obj.get("regarding") or {}
    return f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}"


def _text(name: str, cell: Cell) -> Column:
    return name, "string", 0, cell


def _wide(name: str, cell: Cell) -> Column:
    return name, "string", 1, cell


def _count(name: str, field: str) -> Column:
    return name, "integer", 0, lambda obj: _status(obj, field) or 0


def _ready_of_replicas(obj: Object) -> str:
    return f"{_status(obj, 'readyReplicas') or 0}/{_spec(obj, 'replicas') or 0}"


def _last_seen(obj: Object) -> str | None:
    return obj.get("eventTime") or obj.get("deprecatedLastTimestamp")


_NAME = _text("Name", lambda obj: obj["metadata"]["name"])
_AGE = _text("Age", _created)
_IMAGES = _wide("Images", _images)
_SELECTOR = _wide("Selector", _selector)
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
        _text("Roles", _node_roles),
        _AGE,
        _text("Version", lambda obj: _status(obj, "nodeInfo", "kubeletVersion") or ""),
    ),
    "deployments": (
        _text("Ready", _ready_of_replicas),
        _count("Up-to-date", "updatedReplicas"),
        _count("Available", "availableReplicas"),
        _AGE,
        _IMAGES,
        _SELECTOR,
    ),
    "statefulsets": (_text("Ready", _ready_of_replicas), _AGE, _IMAGES),
    "replicasets": (
        ("Desired", "integer", 0, lambda obj: _spec(obj, "replicas") or 0),
        _count("Current", "replicas"),
        _count("Ready", "readyReplicas"),
        _AGE,
        _IMAGES,
        _SELECTOR,
    ),
    "poddisruptionbudgets": (
        _text("Min Available", lambda obj: str(_spec(obj, "minAvailable") or "N/A")),
        _text("Max Unavailable", lambda obj: str(_spec(obj, "maxUnavailable") or "N/A")),
        _count("Allowed Disruptions", "disruptionsAllowed"),
    ),
    "namespaces": (_text("Status", lambda obj: _status(obj, "phase") or ""),),
    "leases": (_text("Holder", lambda obj: _spec(obj, "holderIdentity") or ""),),
    "events": (
        _text("Last Seen", _last_seen),
        _text("Type", lambda obj: obj.get("type", "")),
        _text("Reason", lambda obj: obj.get("reason", "")),
        _text("Object", _regarding),
        _text("Message", lambda obj: obj.get("note", "")),
    ),
}
