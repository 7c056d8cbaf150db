"""The next step of a StatefulSet, as a pure function of the ordinals of its pods.

Upstream: ``pkg/controller/statefulset/stateful_set_control.go``, without the feature gate
``MaxUnavailableStatefulSet``, which is off by default in v1.36.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSpec:
    """The part of the spec that determines the order of the pods."""

    replicas: int
    start: int = 0
    """``spec.ordinals.start``."""
    ordered: bool = True
    """``podManagementPolicy`` is OrderedReady, not Parallel."""
    rolling: bool = True
    """The update strategy is RollingUpdate, not OnDelete."""
    partition: int = 0
    """The number of replicas, from the first, that keep the current revision."""
    current: str = ""
    """Name of the current revision."""
    update: str = ""
    """Name of the update revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One pod of the StatefulSet."""

    ordinal: int
    revision: str = ""
    ready: bool = True
    """Running and Ready."""
    available: bool = True
    """Ready for at least ``minReadySeconds``."""
    terminating: bool = False
    finished: bool = False
    """Succeeded or failed."""

    @property
    def unavailable(self) -> bool:
        """Whether it blocks its successors."""
        return self.terminating or not self.available


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one sync does: pods to create (ordinal and revision), and ordinals to delete."""

    create: tuple[tuple[int, str], ...] = ()
    delete: tuple[int, ...] = ()


def next_step(spec: OrderSpec, members: Sequence[Member]) -> Step:
    """Create missing pods, else delete excess pods, else update outdated pods.

    With ``ordered`` a step changes at most one pod, and only if all its predecessors are available.
    """
    members_by_ordinal = {
        member.ordinal: member
        for member in members
        if spec.start <= member.ordinal < spec.start + spec.replicas
    }
    excess_members = sorted(
        (
            member
            for member in members
            if member.ordinal >= 0 and member.ordinal not in members_by_ordinal
        ),
        key=lambda member: -member.ordinal,
    )
    if spec.ordered:
        return _ordered(spec, members_by_ordinal, excess_members)
    return _parallel(spec, members_by_ordinal, excess_members)


def _ordered(
    spec: OrderSpec, members_by_ordinal: dict[int, Member], excess_members: list[Member]
) -> Step:
    for ordinal in range(spec.start, spec.start + spec.replicas):
        member = members_by_ordinal.get(ordinal)
        if member is None:
            return Step(create=((ordinal, _revision_for(spec, ordinal)),))
        if member.finished:
            return Step(delete=() if member.terminating else (ordinal,))
        if member.terminating or not member.ready or not member.available:
            return Step()
    if not excess_members:
        return Step(delete=_outdated(spec, members_by_ordinal))
    highest = excess_members[0]
    lowest_unavailable = next((m for m in reversed(excess_members) if m.unavailable), None)
    healthy = highest.ready and highest.available
    if highest.terminating or not (healthy or highest is lowest_unavailable):
        return Step()
    return Step(delete=(highest.ordinal,))


def _parallel(
    spec: OrderSpec, members_by_ordinal: dict[int, Member], excess_members: list[Member]
) -> Step:
    ordinals = range(spec.start, spec.start + spec.replicas)
    create = tuple((o, _revision_for(spec, o)) for o in ordinals if o not in members_by_ordinal)
    finished = tuple(o for o, m in members_by_ordinal.items() if m.finished and not m.terminating)
    excess = tuple(member.ordinal for member in excess_members if not member.terminating)
    created = {
        ordinal: Member(ordinal=ordinal, revision=revision, ready=False, available=False)
        for ordinal, revision in create
    }
    outdated = tuple(
        o for o in _outdated(spec, {**members_by_ordinal, **created}) if o not in finished
    )
    return Step(create=create, delete=(*finished, *excess, *outdated))


def _outdated(spec: OrderSpec, members_by_ordinal: dict[int, Member]) -> tuple[int, ...]:
    """The highest outdated ordinal, if all above it are updated and available."""
    if not spec.rolling:
        return ()
    for ordinal in range(spec.start + spec.replicas - 1, spec.start + spec.partition - 1, -1):
        member = members_by_ordinal[ordinal]
        if member.revision != spec.update and not member.terminating:
            return (ordinal,)
        if member.unavailable:
            return ()
    return ()


def _revision_for(spec: OrderSpec, ordinal: int) -> str:
    old = spec.rolling and ordinal < spec.start + spec.partition
    return spec.current if old else spec.update
