"""Label and field selectors of list and watch requests, parsed from the query."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.objects.selectors import Requirement
from spotalis.embedded.server.errors import bad_request

Matches = Callable[[Object], bool]
"""Whether a selector selects an object."""


def everything(_: Object) -> bool:
    """The selector that selects every object."""
    return True


def from_query(resource: Resource, labels: str, fields: str) -> Matches:
    """Combine the ``labelSelector`` and ``fieldSelector`` parameters of a request.

    Raises:
        ApiError: 400, a selector is malformed or names a field that cannot be selected by.
    """
    requirements = parse_labels(labels) if labels else ()
    tests = parse_fields(resource, fields) if fields else ()
    if not requirements and not tests:
        return everything

    def matches(obj: Object) -> bool:
        carried = obj["metadata"].get("labels") or {}
        return all(one.matches(carried) for one in requirements) and all(t(obj) for t in tests)

    return matches


_PART = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_NAME = rf"{_PART}(?:/{_PART})?"
_VALUE = r"[A-Za-z0-9]?(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<absent_key>{_NAME})"
    rf"|(?P<key>{_NAME})\s*"
    rf"(?:(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<operator>==|=|!=)\s*(?P<value>{_VALUE}))?)\s*(?:,|$)"
)
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn"}


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector such as ``app=web,tier in (a,b),!old``.

    Raises:
        ApiError: 400; the message is not worded as the real server's.
    """
    requirements, at = [], 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None or found.end() == at:
            raise bad_request(f"unable to parse requirement: {text[at:]!r}")
        at = found.end()
        requirements.append(_requirement(found))
    if text.rstrip().endswith(","):
        raise bad_request("found '', expected: identifier after ','")
    return tuple(requirements)


def _requirement(found: re.Match[str]) -> Requirement:
    if found["absent"]:
        return Requirement(found["absent_key"], "DoesNotExist")
    if found["set"]:
        values = tuple(value.strip() for value in found["values"].split(","))
        return Requirement(found["key"], "In" if found["set"] == "in" else "NotIn", values)
    if found["operator"]:
        return Requirement(found["key"], _OPERATORS[found["operator"]], (found["value"],))
    return Requirement(found["key"], "Exists")


def parse_fields(resource: Resource, text: str) -> tuple[Matches, ...]:
    """Parse a field selector such as ``spec.nodeName=n1,status.phase!=Running``.

    Raises:
        ApiError: 400, the kind cannot be selected by one of the fields.
    """
    return tuple(_field_test(resource, term) for term in text.split(",") if term)


def _field_test(resource: Resource, term: str) -> Matches:
    found = re.fullmatch(r"([^=!]*)(==|=|!=)(.*)", term)
    if found is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, operator, value = found.groups()
    read = field_reader(resource, path)
    wanted = operator != "!="
    return lambda obj: (read(obj) == value) is wanted


def field_reader(resource: Resource, path: str) -> Callable[[Object], str]:
    """Return a function that reads a selectable field.

    Raises:
        ApiError: 400, the kind cannot be selected by this field.
    """
    if path not in ("metadata.name", "metadata.namespace", *_FIELDS.get(resource.plural, ())):
        if resource.plural in _FIELDS:
            raise bad_request(f"field label not supported: {path}")
        raise bad_request(
            f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    if path == "source":
        return _source_of_event
    steps = path.split(".")

    def read(obj: Object) -> str:
        value: Any = obj
        for step in steps:
            value = (value or {}).get(step)
        if value is None:
            return _ABSENT.get(path, "")
        return str(value).lower() if isinstance(value, bool) else str(value)

    return read


def _source_of_event(event: Object) -> str:
    source: str = (event.get("source") or {}).get("component") or ""
    return source or event.get("reportingComponent", "")


_ABSENT = {"spec.unschedulable": "false", "spec.replicas": "0", "status.replicas": "0"}
_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "jobs": ("status.successful",),
    "events": (
        *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name"),
        *("involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion"),
        *("involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"),
    ),
}
