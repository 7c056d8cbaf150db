"""A minimal OpenAPI v3 document: kubectl reads it to leave field validation to the server."""

from __future__ import annotations

from collections.abc import Iterator

from spotalis.embedded.objects.resources import RESOURCES, Object, Resource
from spotalis.embedded.server.discovery import GROUPS

_ROOT = "/openapi/v3"
_VALIDATION = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]


def document(path: str) -> Object | None:
    """The response to a GET under ``/openapi/v3``; None if there is none."""
    if not path.startswith(_ROOT):
        return None
    places = {"api/v1": ("", "v1")}
    places |= {f"apis/{group}/{version}": (group, version) for group, version in GROUPS}
    if path == _ROOT:
        urls = {place: {"serverRelativeURL": f"{_ROOT}/{place}?hash=0"} for place in places}
        return {"paths": urls}
    found = places.get(path.removeprefix(_ROOT + "/"))
    if found is None:
        return None
    paths: Object = {}
    for resource in RESOURCES:
        if (resource.group, resource.version) == found:
            paths.update(_paths(path.removeprefix(_ROOT), resource))
    info = {"title": "Spotalis embedded cluster", "version": "v1"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _paths(root: str, resource: Resource) -> Iterator[tuple[str, Object]]:
    within = "/namespaces/{namespace}" if resource.namespaced else ""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    operation = {
        "x-kubernetes-group-version-kind": kind,
        "parameters": _VALIDATION,
        "responses": {"200": {"description": "OK"}},
    }
    collection = f"{root}{within}/{resource.plural}"
    yield collection, {"post": operation}
    yield f"{collection}/{{name}}", {"patch": operation, "put": operation}
