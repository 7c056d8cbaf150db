"""What every kind has: metadata, conditions and selectors, as JSON structs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import inf
from typing import TypeAlias

import msgspec

from spotalis.kube.decode.shared import SharedValues
from spotalis.model.configuration import MAX_NAMED_KEYS, POD_CAPACITY_TYPE, READ_KEYS
from spotalis.model.objects import PREFIX, LabelSelector, Owner, Requirement
from spotalis.model.policy_text import cut

DECODE_ERRORS = (ValueError, RecursionError)
"""What msgspec raises for text that is not JSON, has wrong types, or is nested too deeply."""

NULL = msgspec.Raw(b"null")
Labels: TypeAlias = dict[str, str] | None


class Wire(msgspec.Struct, gc=False, rename="camel"):
    """Base of the structs that mirror the API's JSON; unknown fields are skipped."""


class Identity(Wire):
    """The metadata of an object of any kind, for bookmarks and for undecodable objects."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: Labels = None


class OwnerReference(Wire):
    """One of ``metadata.ownerReferences``."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Metadata(Wire, kw_only=True):
    """``metadata`` of every kind but pods."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Labels = None
    annotations: Labels = None
    owner_references: msgspec.Raw = NULL
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(Wire):
    """A condition of a pod, a node or a workload."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class Expression(Wire):
    """A match expression of a label selector or of a node selector term."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class Selector(Wire):
    """A label selector."""

    match_labels: Labels = None
    match_expressions: list[Expression] | None = None


class _Identified(Wire):
    metadata: Identity


def identity(raw: bytes | msgspec.Raw) -> Identity:
    """Decode the identity of an object of any kind, whatever else it holds."""
    return _IDENTIFIED.decode(raw).metadata


def controlling_owner(references: list[OwnerReference] | None) -> Owner | None:
    """The owner reference with ``controller: true``; None if there is none."""
    for reference in references or ():
        if reference.controller:
            group = reference.api_version.rpartition("/")[0]
            return Owner(group, reference.kind, reference.name, reference.uid)
    return None


MAX_NAME_LENGTH = 253
"""Characters of a name (RFC 1123 subdomain); no other field of an owner is longer. The API server
does not check the length of what an owner reference names."""


def shared_owner(references: msgspec.Raw) -> Owner | None:
    """Like :func:`controlling_owner`; equal JSON returns the same object.

    None if no object can have these names. Owners have no share, because a pod without its owner
    would be missing from its workload.
    """
    return _SHARED_OWNERS.find(references, "")


def _bounded_owner(raw: bytes) -> Owner | None:
    owner = controlling_owner(_OWNERS.decode(raw))
    if owner is None:
        return None
    names = (owner.group, owner.kind, owner.name, owner.uid)
    return owner if max(map(len, names)) <= MAX_NAME_LENGTH else None


def own_keys(keys: Labels) -> tuple[dict[str, str], int]:
    """The labels or annotations under ``spotalis.io/``, and how many of them were left out.

    Values that are too long to be read are cut. Of the keys that Spotalis does not read, only as
    many are kept as a warning can name, and one more.
    """
    kept: dict[str, str] = {}
    unread = 0
    for key, value in (keys or {}).items():
        if not key.startswith(PREFIX):
            continue
        if key not in READ_KEYS:
            unread += 1
            if unread > MAX_NAMED_KEYS + 1:
                continue
        kept[key] = cut(value)
    return kept, max(0, unread - MAX_NAMED_KEYS - 1)


MAX_LABELS_LENGTH = 4096
"""Characters of a pod's labels that are kept. Common pods have fewer than 1,000; an object may have
1.5 MiB of them. Selectors of PodDisruptionBudgets and of anti-affinity do not see the others."""

REMOVAL_DISABLED = "autoscaling.cast.ai/removal-disabled"
RESTRICT_SCALE_DOWN = "spotinst.io/restrict-scale-down"
_FIRST_KEPT = (
    POD_CAPACITY_TYPE,
    "controller-revision-hash",
    "pod-template-hash",
    REMOVAL_DISABLED,
    RESTRICT_SCALE_DOWN,
)
"""Labels of pods that Spotalis reads by name."""


class _Labels(dict[str, str]):
    """Labels that several pods share."""

    __slots__ = ("__weakref__",)


def shared_labels(raw: msgspec.Raw, namespace: str) -> Mapping[str, str]:
    """The labels of a pod or pod template; equal JSON returns the same object.

    If they are too long, some of them; if the namespace has used up its share, those that are read
    by name.
    """
    found = _SHARED_LABELS.find(raw, namespace)
    if found is not None:
        return found
    labels = _LABELS.decode(raw) or {}
    return {key: labels[key] for key in _FIRST_KEPT if key in labels}


def _bounded_labels(raw: bytes) -> _Labels:
    labels = _LABELS.decode(raw) or {}
    if sum(map(len, labels)) + sum(map(len, labels.values())) <= MAX_LABELS_LENGTH:
        return _Labels(labels)
    kept = _Labels()
    left = MAX_LABELS_LENGTH
    for key in (*_FIRST_KEPT, *labels):
        left -= len(key) + len(labels.get(key, ""))
        if left < 0:
            break
        if key in labels:
            kept[key] = labels[key]
    return kept


MAX_SELECTOR_BYTES = 8192
"""JSON of a label selector. Selectors of people and tools have fewer than 500 bytes."""


def shared_selector(raw: msgspec.Raw, namespace: str) -> LabelSelector | None:
    """A label selector; equal JSON returns the same object.

    None if it is absent, too long to be evaluated, or if the namespace has used up its share.
    """
    return _SHARED_SELECTORS.find(raw, namespace)


def _bounded_selector(raw: bytes) -> LabelSelector | None:
    written = _SELECTOR.decode(raw) if len(raw) <= MAX_SELECTOR_BYTES else None
    return None if written is None else selector(written)


def selector(written: Selector) -> LabelSelector:
    """A label selector as a record."""
    equal = (
        Requirement(key, "In", (value,))
        for key, value in sorted((written.match_labels or {}).items())
    )
    return LabelSelector((*equal, *map(requirement, written.match_expressions or ())))


def requirement(expression: Expression) -> Requirement:
    """A match expression as a record."""
    return Requirement(expression.key, expression.operator, tuple(expression.values or ()))


_IDENTIFIED = msgspec.json.Decoder(_Identified)
_SELECTOR = msgspec.json.Decoder(Selector | None)
_OWNERS = msgspec.json.Decoder(list[OwnerReference] | None)
_LABELS = msgspec.json.Decoder(Labels)

MIB = 2**20
SHARE_OF_LABELS = 8 * MIB
"""Of each namespace: about 5,000 different sets of ten labels, as the pods of StatefulSets have
them."""
SHARE_OF_SELECTORS = 2 * MIB
"""About 5,000 PodDisruptionBudgets and workloads with a selector of one label."""
_SHARED_OWNERS = SharedValues(_bounded_owner, inf)
_SHARED_LABELS = SharedValues(_bounded_labels, SHARE_OF_LABELS)
_SHARED_SELECTORS = SharedValues(_bounded_selector, SHARE_OF_SELECTORS)
