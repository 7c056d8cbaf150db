"""Tables for ``kubectl get`` (``meta.k8s.io/v1`` Table)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from spotalis.embedded.objects.resources import Object

Cell = Callable[[Object], Any]
Column = tuple[str, str, int, Cell]
"""Name, type, priority (1: only with ``-o wide``), and the function that reads the cell."""


def table(plural: str, objects: Sequence[Object], metadata: Object, now: datetime) -> Object:
    """Build a Table of objects of one kind; ``metadata`` is that of the list."""
    columns = (_NAME, *_COLUMNS.get(plural, ()))
    if not any(name == "Age" for name, *_ in columns):
        columns = (*columns, ("Age", "string", 0, _created))
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
    if not stamp:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(stamp)).total_seconds()))
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


def _status(obj: Object, *path: str) -> Any:
    value: Any = obj.get("status") or {}
    for step in path:
        value = (value or {}).get(step)
    return value


def _spec(obj: Object, *path: str) -> Any:
    value: Any = obj.get("spec") or {}
    for step in path:
        value = (value or {}).get(step)
    return value


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


def _holder(obj: Object) -> str:
    return str(_spec(obj, "holderIdentity") or "")


def _regarding(obj: Object) -> str:
    regarding = obj.get("regarding") or {}
    return f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}"


_NAME: Column = ("Name", "string", 0, lambda obj: obj["metadata"]["name"])
_WORKLOAD: tuple[Column, ...] = (
    ("Age", "string", 0, _created),
    ("Images", "string", 1, _images),
    ("Selector", "string", 1, _selector),
)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "integer", 0, _restarts),
        ("Age", "string", 0, _created),
        ("IP", "string", 1, lambda obj: _status(obj, "podIP") or "<none>"),
        ("Node", "string", 1, lambda obj: _spec(obj, "nodeName") or "<none>"),
    ),
    "nodes": (
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        ("Age", "string", 0, _created),
        ("Version", "string", 0, lambda obj: _status(obj, "nodeInfo", "kubeletVersion") or ""),
    ),
    "deployments": (
        (
            "Ready",
            "string",
            0,
            lambda obj: f"{_status(obj, 'readyReplicas') or 0}/{_spec(obj, 'replicas') or 0}",
        ),
        ("Up-to-date", "integer", 0, lambda obj: _status(obj, "updatedReplicas") or 0),
        ("Available", "integer", 0, lambda obj: _status(obj, "availableReplicas") or 0),
        *_WORKLOAD,
    ),
    "statefulsets": (
        (
            "Ready",
            "string",
            0,
            lambda obj: f"{_status(obj, 'readyReplicas') or 0}/{_spec(obj, 'replicas') or 0}",
        ),
        *_WORKLOAD[:2],
    ),
    "replicasets": (
        ("Desired", "integer", 0, lambda obj: _spec(obj, "replicas") or 0),
        ("Current", "integer", 0, lambda obj: _status(obj, "replicas") or 0),
        ("Ready", "integer", 0, lambda obj: _status(obj, "readyReplicas") or 0),
        *_WORKLOAD,
    ),
    "poddisruptionbudgets": (
        ("Min Available", "string", 0, lambda obj: str(_spec(obj, "minAvailable") or "N/A")),
        ("Max Unavailable", "string", 0, lambda obj: str(_spec(obj, "maxUnavailable") or "N/A")),
        ("Allowed Disruptions", "integer", 0, lambda obj: _status(obj, "disruptionsAllowed") or 0),
    ),
    "namespaces": (("Status", "string", 0, lambda obj: _status(obj, "phase") or ""),),
    "leases": (("Holder", "string", 0, _holder),),
    "events": (
        (
            "Last Seen",
            "string",
            0,
            lambda obj: obj.get("eventTime") or obj.get("deprecatedLastTimestamp"),
        ),
        ("Type", "string", 0, lambda obj: obj.get("type", "")),
        ("Reason", "string", 0, lambda obj: obj.get("reason", "")),
        ("Object", "string", 0, _regarding),
        ("Message", "string", 0, lambda obj: obj.get("note", "")),
    ),
}
