"""What the API server refuses with 422: missing fields, and changes of what is immutable.

Only what a scenario or a user's mistake may run into; values are mostly taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.objects.selectors import label_selector
from spotalis.embedded.server.errors import (
    Cause,
    bad_request,
    forbidden_value,
    invalid,
    invalid_kind,
    invalid_value,
    required,
    unsupported_value,
)

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_IMMUTABLE = "field is immutable"
_NEGATIVE = "must be greater than or equal to 0"
_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_PERCENT = re.compile(r"\d+%")
_BAD_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)
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
    causes = [*_of_kind(resource, obj), *_metadata(obj), *_annotations(resource, obj)]
    if causes:
        raise invalid(resource, obj["metadata"].get("name", ""), causes)


def check_types(resource: Resource, obj: Object) -> None:
    """Raise ApiError 400 where text is required and something else is there.

    Only of labels, annotations and the data of ConfigMaps: where a controller may slip.
    """
    for problem in _mistyped(resource, obj):
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a '
        raise bad_request(f"{what}{resource.kind}: {problem}")


def check_patched(resource: Resource, obj: Object) -> None:
    """Raise ApiError 422 where a patch has made something of text that is none."""
    for problem in _mistyped(resource, obj):
        cause = invalid_value("patch", shown(msgspec.json.encode(obj).decode()), problem)
        raise invalid_kind("", "", [cause])


def _mistyped(resource: Resource, obj: Object) -> Iterator[str]:
    metadata = obj.get("metadata") or {}
    places = [("ObjectMeta.metadata", name, metadata) for name in ("labels", "annotations")]
    if resource.plural == "configmaps":
        places.append((resource.kind, "data", obj))
    for path, name, holder in places:
        for value in (holder.get(name) or {}).values():
            if not isinstance(value, str):
                yield (
                    f"json: cannot unmarshal {_go_kind(value)} into Go struct field "
                    f"{path}.{name} of type string"
                )


def _go_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    kinds = {int: "number", float: "number", dict: "object", list: "array"}
    return kinds.get(type(value), "null")


def check_uid(resource: Resource, new: Object, old: Object) -> None:
    """Raise ApiError 422 for a patch that means another object."""
    uid = new["metadata"].get("uid")
    if uid != old["metadata"]["uid"]:
        cause = invalid_value("metadata.uid", shown(uid), _IMMUTABLE)
        raise invalid(resource, old["metadata"]["name"], [cause, cause])


def check_update(resource: Resource, new: Object, old: Object) -> None:
    """Raise ApiError 422 for changes that are not allowed."""
    # The real server, too, looks at metadata twice: once for all kinds, and once for each.
    causes = [*_of_metadata_change(new, old)] * 2
    if new["metadata"].get("annotations") != old["metadata"].get("annotations"):
        causes += _annotations(resource, new)
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
    for number, finalizer in enumerate(obj["metadata"].get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"metadata.finalizers[{number}]", shown(finalizer), why)


def _annotations(resource: Resource, obj: Object) -> Iterator[Cause]:
    """What annotations of pods must be for controllers to read them."""
    cost = (obj["metadata"].get("annotations") or {}).get(_DELETION_COST)
    if resource.plural != "pods" or cost is None:
        return
    plain = re.fullmatch(r"0|-?[1-9]\d{0,9}", cost)
    if plain is None or not -(2**31) <= int(cost) < 2**31:
        field = f"metadata.annotations[{_DELETION_COST}]"
        yield invalid_value(field, shown(cost), "must be a 32bit integer")


def _of_metadata_change(new: Object, old: Object) -> Iterator[Cause]:
    after, before = new["metadata"], old["metadata"]
    if after.get("deletionTimestamp") and before.get("deletionTimestamp"):
        added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if added:
            why = (
                "no new finalizers can be added if the object is being deleted, found new "
                f"finalizers []string{{{', '.join(shown(one) for one in sorted(added))}}}"
            )
            yield forbidden_value("metadata.finalizers", why)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if after.get(field) != before.get(field):
            yield invalid_value(f"metadata.{field}", shown(after.get(field)), _IMMUTABLE)


def _of_kind(resource: Resource, obj: Object) -> Iterator[Cause]:
    match resource.plural:
        case "pods":
            yield from _pod_spec(obj.get("spec") or {}, "spec")
        case "deployments" | "statefulsets" | "replicasets" | "daemonsets":
            yield from _workload(resource, obj["spec"])
        case "poddisruptionbudgets":
            yield from _budget(obj.get("spec") or {})
        case "leases":
            yield from _lease(obj.get("spec") or {})


def _budget(spec: Object) -> Iterator[Cause]:
    rules = {field: spec.get(field) for field in ("minAvailable", "maxUnavailable")}
    if None not in rules.values():
        # The words are those of the server's own type.
        told = {
            "MinAvailable": spec["minAvailable"],
            "Selector": spec.get("selector"),
            "MaxUnavailable": spec["maxUnavailable"],
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        why = "minAvailable and maxUnavailable cannot be both set"
        yield invalid_value("spec", msgspec.json.encode(told).decode(), why)
    for field, rule in rules.items():
        if isinstance(rule, str) and not _PERCENT.fullmatch(rule):
            yield invalid_value(f"spec.{field}", shown(rule), _BAD_PERCENT)
        elif isinstance(rule, str) and int(rule[:-1]) > 100:
            yield invalid_value(f"spec.{field}", shown(rule), "must not be greater than 100%")
        elif isinstance(rule, int) and rule < 0:
            yield invalid_value(f"spec.{field}", str(rule), _NEGATIVE)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _POLICIES:
        yield unsupported_value("spec.unhealthyPodEvictionPolicy", policy, _POLICIES)


def _lease(spec: Object) -> Iterator[Cause]:
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield invalid_value("spec.leaseDurationSeconds", str(seconds), "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield invalid_value("spec.leaseTransitions", str(transitions), _NEGATIVE)


def _workload(resource: Resource, spec: Object) -> Iterator[Cause]:
    if (spec.get("replicas") or 0) < 0:
        yield invalid_value("spec.replicas", str(spec["replicas"]), _NEGATIVE)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    selector = label_selector(spec.get("selector"))
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
            gated = bool(before.get("schedulingGates"))
            if _frozen(after, gated) != _frozen(before, gated) or not _only_adds(after, before):
                yield forbidden_value("spec", _POD_MAY)


def _frozen(spec: Object, gated: bool) -> Object:
    """The part of a pod's spec that never changes.

    ``gated``: it has scheduling gates, and until it is scheduled its node selector may change.
    """
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    kept = {key: value for key, value in spec.items() if key not in free}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{**one, "image": ""} for one in deep_copy(kept[field])]
    if gated:
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
