"""Objects as an API server returns them. Each builder takes the fields that a test is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def metadata(name: str, namespace: str = "shop", version: int = 1, **fields: Any) -> Json:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-23T09:00:00Z",
        **fields,
    }


def a_pod(
    name: str = "web-1",
    *,
    version: int = 1,
    spec: Mapping[str, Any] | None = None,
    conditions: Sequence[Mapping[str, Any]] = (),
    phase: str = "Running",
    **meta: Any,
) -> Json:
    """A pod with one container without requests; ``meta`` are fields of its metadata."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, version=version, **meta),
        "spec": {"containers": [{"name": "app", "image": "app"}], "nodeName": "n1", **(spec or {})},
        "status": {"phase": phase, "conditions": list(conditions)},
    }


def condition(kind: str, status: str = "True", reason: str = "", since: str | None = None) -> Json:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": since}


def a_list(items: Sequence[Json], version: int = 1, continue_: str = "") -> Json:
    meta = {"resourceVersion": str(version), "continue": continue_}
    return {"kind": "List", "metadata": meta, "items": list(items)}


def a_status(
    code: int,
    reason: str = "",
    message: str = "",
    *,
    causes: Sequence[Mapping[str, str]] = (),
    retry_after_seconds: int | None = None,
) -> Json:
    details: Json = {"causes": list(causes)}
    if retry_after_seconds is not None:
        details["retryAfterSeconds"] = retry_after_seconds
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def text(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def event(kind: str, document: Json) -> bytes:
    """One line of a watch."""
    return text({"type": kind, "object": document}) + b"\n"


def a_bookmark(version: int, *, ends_list: bool = False) -> bytes:
    """A bookmark. Required fields are null, as in real bookmarks."""
    annotations = {"k8s.io/initial-events-end": "true"} if ends_list else None
    meta = {"resourceVersion": str(version), "annotations": annotations, "creationTimestamp": None}
    document = {"kind": "Pod", "metadata": meta, "spec": {"containers": None}, "status": {}}
    return event("BOOKMARK", document)
