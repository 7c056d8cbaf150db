"""What the API server refuses with 422: missing fields, and changes of what is immutable.

Only what a scenario or a user's mistake may run into; values are mostly taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from spotalis.embedded.copies import deep_copy
from spotalis.embedded.errors import Cause, forbidden_value, invalid, invalid_value, required
from spotalis.embedded.resources import Object, Resource
from spotalis.embedded.selectors import from_object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_IMMUTABLE = "field is immutable"
_STATEFULSET_MAY = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_POD_MAY = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)


def check_create(resource: Resource, obj: Object) -> None:
    """Raise ApiError 422 for what cannot be created."""
    causes = [*_of_kind(resource, obj), *_metadata(obj)]
    if causes:
        raise invalid(resource, obj["metadata"].get("name", ""), causes)


def check_update(resource: Resource, new: Object, old: Object) -> None:
    """Raise ApiError 422 for changes that are not allowed."""
    causes = [*_of_metadata_change(new, old)]
    if new.get("spec") != old.get("spec"):
        causes += _of_change(resource, new, old)
        if not causes:
            causes += _of_kind(resource, new)
    if causes:
        raise invalid(resource, new["metadata"]["name"], causes)


def _metadata(obj: Object) -> Iterator[Cause]:
    name = obj["metadata"].get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield invalid_value("metadata.name", shown(name), _BAD_NAME)


def _of_metadata_change(new: Object, old: Object) -> Iterator[Cause]:
    after, before = new["metadata"], old["metadata"]
    if after.get("deletionTimestamp") and before.get("deletionTimestamp"):
        added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if added:
            why = (
                "no new finalizers can be added if the object is being deleted, found new "
                f"finalizers {shown(sorted(added))}"
            )
            yield forbidden_value("metadata.finalizers", why)


def _of_kind(resource: Resource, obj: Object) -> Iterator[Cause]:
    match resource.plural:
        case "pods":
            yield from _pod_spec(obj.get("spec") or {}, "spec")
        case "deployments" | "statefulsets" | "replicasets" | "daemonsets":
            yield from _workload(resource, obj["spec"])
        case "events":
            yield from _event(obj)


def _workload(resource: Resource, spec: Object) -> Iterator[Cause]:
    if (spec.get("replicas") or 0) < 0:
        why = "must be greater than or equal to 0"
        yield invalid_value("spec.replicas", str(spec["replicas"]), why)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    selector = from_object(spec.get("selector"))
    if selector is None:
        yield required("spec.selector")
    elif not selector.requirements:
        why = f"empty selector is invalid for {resource.kind.lower()}"
        yield invalid_value("spec.selector", "{}", why)
    if selector is None or not selector.matches(labels):
        why = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", shown(labels), why)
    yield from _pod_spec(spec["template"].get("spec") or {}, "spec.template.spec")


def _pod_spec(spec: Object, path: str) -> Iterator[Cause]:
    containers = spec.get("containers") or ()
    if not containers:
        yield required(f"{path}.containers")
    for number, container in enumerate(containers):
        if not container.get("name"):
            yield required(f"{path}.containers[{number}].name")
        if not container.get("image"):
            yield required(f"{path}.containers[{number}].image")


def _event(obj: Object) -> Iterator[Cause]:
    """The rules for new events of ``events.k8s.io``; those of the core group have none."""
    if "eventTime" not in obj:
        return
    if not obj["eventTime"]:
        yield required("eventTime")
    for field in ("reportingController", "reportingInstance", "action", "reason"):
        if not obj.get(field):
            yield required(field)
    if obj.get("type") not in ("Normal", "Warning"):
        yield invalid_value("type", shown(obj.get("type", "")), "has invalid value: ")
    for field, limit in (("reportingInstance", 128), ("note", 1024)):
        if len((obj.get(field) or "").encode()) > limit:
            yield invalid_value(field, '""', f"can have at most {limit} characters")


def _of_change(resource: Resource, new: Object, old: Object) -> Iterator[Cause]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    match resource.plural:
        case "deployments" | "replicasets" | "daemonsets":
            if after.get("selector") != before.get("selector"):
                yield invalid_value("spec.selector", shown(after.get("selector")), _IMMUTABLE)
        case "statefulsets":
            changed = {key for key in {*after, *before} if after.get(key) != before.get(key)}
            if not changed <= {*_STATEFULSET_MAY}:
                *names, last = (f"'{name}'" for name in _STATEFULSET_MAY)
                why = (
                    "updates to statefulset spec for fields other than "
                    f"{', '.join(names)} and {last} are forbidden"
                )
                yield forbidden_value("spec", why)
        case "pods":
            if _frozen(after) != _frozen(before) or not _only_adds(after, before):
                yield forbidden_value("spec", _POD_MAY)


def _frozen(spec: Object) -> Object:
    """The part of a pod's spec that never changes.

    Scheduling gates, and the node selector of a pod that has some, may change; here always.
    """
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    kept = {key: value for key, value in spec.items() if key not in free}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{**one, "image": ""} for one in deep_copy(kept[field])]
    if spec.get("schedulingGates"):
        kept.pop("nodeSelector", None)
        kept.pop("affinity", None)
    return kept


def _only_adds(after: Object, before: Object) -> bool:
    """Tolerations stay, except for their seconds, and scheduling gates do not grow."""
    wanted = [_lasting(one) for one in after.get("tolerations") or ()]
    kept = all(_lasting(one) in wanted for one in before.get("tolerations") or ())
    gates = before.get("schedulingGates") or ()
    return kept and all(gate in gates for gate in after.get("schedulingGates") or ())


def _lasting(toleration: Object) -> Object:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def shown(value: Any) -> str:
    """A value as messages show it: JSON with sorted keys."""
    return msgspec.json.encode(value, order="sorted").decode()
