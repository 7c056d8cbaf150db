"""Parses the paths of the API: resource, namespace, name and subresource."""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.embedded.objects.resources import RESOURCES, Resource
from spotalis.embedded.server import errors
from spotalis.embedded.server.discovery import GROUPS

_BY_PATH = {(r.group, r.version, r.plural): r for r in RESOURCES}


@dataclass(frozen=True, slots=True)
class Route:
    """The target of a request."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    """``""`` for the collection."""
    subresource: str = ""


def route(path: str) -> Route:
    """Parse a path.

    Raises:
        ApiError: 404, the resource does not exist.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise errors.no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if group and (group, version) not in GROUPS:
        raise errors.no_such_group()
    resource = _BY_PATH.get((group, version, rest[0]))
    if resource is None or len(rest) > 3:
        raise errors.no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise errors.no_such_path()
    if resource.namespaced != bool(namespace) and (name or not resource.namespaced):
        raise errors.no_such_path()
    return Route(resource, namespace, name, subresource)
