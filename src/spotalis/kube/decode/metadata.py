"""What every kind has: metadata, conditions and selectors, as JSON structs."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

import msgspec

from spotalis.model.objects import PREFIX, LabelSelector, Owner, Requirement

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


def shared_owner(references: msgspec.Raw) -> Owner | None:
    """Like :func:`controlling_owner`; equal JSON returns the same object."""
    return _owner(bytes(references))


@lru_cache(maxsize=8192)
def _owner(references: bytes) -> Owner | None:
    return controlling_owner(_OWNERS.decode(references))


def own_keys(keys: Labels) -> dict[str, str]:
    """The labels or annotations under ``spotalis.io/``."""
    return {key: value for key, value in (keys or {}).items() if key.startswith(PREFIX)}


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
_OWNERS = msgspec.json.Decoder(list[OwnerReference] | None)
