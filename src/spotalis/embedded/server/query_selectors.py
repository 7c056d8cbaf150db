"""Label and field selectors: those in a query, as text, and those in an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.server.errors import bad_request
from spotalis.model.objects import LabelSelector, Requirement

Matches = Callable[[Object], bool]
"""Whether an object is meant."""


def everything(_: Object) -> bool:
    """The selector that lets all through."""
    return True


def from_query(resource: Resource, labels: str, fields: str) -> Matches:
    """What ``labelSelector`` and ``fieldSelector`` of a request select together.

    Raises:
        ApiError: 400, one of them cannot be read or names a field that is not selectable.
    """
    wanted = parse_labels(labels) if labels else ()
    tests = parse_fields(resource, fields) if fields else ()
    if not wanted and not tests:
        return everything

    def matches(obj: Object) -> bool:
        carried = obj["metadata"].get("labels") or {}
        return all(one.matches(carried) for one in wanted) and all(test(obj) for test in tests)

    return matches


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    """A ``metav1.LabelSelector``; None, which selects nothing, where there is none."""
    if selector is None:
        return None
    equal = [
        Requirement(key, "In", (value,))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    expressions = [
        Requirement(one["key"], one["operator"], tuple(one.get("values") or ()))
        for one in selector.get("matchExpressions") or ()
    ]
    return LabelSelector((*equal, *expressions))


def to_query(selector: Mapping[str, Any] | None) -> str:
    """A ``metav1.LabelSelector`` as text, keys in order, as the scale subresource shows it."""
    parts = []
    for one in sorted((from_object(selector) or LabelSelector()).requirements, key=_by_key):
        values = ",".join(sorted(one.values))
        match one.operator:
            case "In" if len(one.values) == 1:
                parts.append(f"{one.key}={values}")
            case "In":
                parts.append(f"{one.key} in ({values})")
            case "NotIn":
                parts.append(f"{one.key} notin ({values})")
            case "Exists":
                parts.append(one.key)
            case _:
                parts.append(f"!{one.key}")
    return ",".join(parts)


def _by_key(requirement: Requirement) -> str:
    return requirement.key


_PART = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_NAME = rf"{_PART}(?:/{_PART})?"
_VALUE = r"[A-Za-z0-9]?(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<absent_key>{_NAME})"
    rf"|(?P<key>{_NAME})\s*"
    rf"(?:(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<operator>==|=|!=|>|<)\s*(?P<value>{_VALUE}))?)\s*(?:,|$)"
)
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Requirements of a label selector such as ``app=web,tier in (a,b),!old``.

    Raises:
        ApiError: 400; the words of the message are not the real server's.
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
        if found["operator"] in "<>" and not found["value"].isdigit():
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            shown = f'values[0]: Invalid value: "{found["value"]}": {why}'
            raise bad_request(f"unable to parse requirement: {shown}")
        return Requirement(found["key"], _OPERATORS[found["operator"]], (found["value"],))
    return Requirement(found["key"], "Exists")


def parse_fields(resource: Resource, text: str) -> tuple[Matches, ...]:
    """The tests of a field selector such as ``spec.nodeName=n1,status.phase!=Running``.

    Raises:
        ApiError: 400, a field of this kind that cannot be selected by.
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
    """What reads a selectable field.

    Raises:
        ApiError: 400, it is none of this kind's.
    """
    special = _EVENT_FIELDS.get(path, "") if resource.plural == "events" else path
    known = special and (
        path in ("metadata.name", "metadata.namespace")
        or path in _FIELDS.get(resource.plural, ())
        or resource.plural == "events"
    )
    if not known:
        if resource.plural in _FIELDS:
            raise bad_request(f"field label not supported: {path}")
        raise bad_request(
            f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    if special == "source":
        return _event_source
    steps = special.split(".")

    def read(obj: Object) -> str:
        value: Any = obj
        for step in steps:
            value = (value or {}).get(step)
        if value is None:
            return _ABSENT.get(path, "")
        return str(value).lower() if isinstance(value, bool) else str(value)

    return read


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
    "events": (),
}
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS: dict[str, str] = {
    **{f"involvedObject.{part}": f"regarding.{part}" for part in _REFERENCE},
    **{f"regarding.{part}": f"regarding.{part}" for part in _REFERENCE},
    **{path: path for path in ("metadata.name", "metadata.namespace", "reason", "type")},
    "reportingComponent": "reportingController",
    "reportingController": "reportingController",
    "source": "source",
}
"""Of events, by the names of either API group, as they stand in the stored form."""


def _event_source(obj: Object) -> str:
    source: str = (obj.get("deprecatedSource") or {}).get("component", "")
    return source or str(obj.get("reportingController", ""))
