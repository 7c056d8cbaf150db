"""What a StatefulSet does next, decided from its pods' ordinals.

Pure; upstream: ``statefulset/stateful_set_control.go`` (without the gate
``MaxUnavailableStatefulSet``, which is off by default in v1.36).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A StatefulSet's spec, as far as its pods' order depends on it."""

    replicas: int
    start: int = 0
    """``spec.ordinals.start``."""
    ordered: bool = True
    """``podManagementPolicy`` is OrderedReady and not Parallel."""
    rolling: bool = True
    """The update strategy is RollingUpdate and not OnDelete."""
    partition: int = 0
    """The first so many replicas keep the current revision."""
    current: str = ""
    """Name of the current revision."""
    update: str = ""
    """Name of the update revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One pod of it."""

    ordinal: int
    revision: str = ""
    ready: bool = True
    """Running and Ready."""
    available: bool = True
    """Ready for ``minReadySeconds``."""
    terminating: bool = False
    finished: bool = False
    """Succeeded or failed."""

    @property
    def unavailable(self) -> bool:
        """It blocks its successors."""
        return self.terminating or not self.available


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one sync does: pods to create (ordinal and revision) and ordinals to delete."""

    create: tuple[tuple[int, str], ...] = ()
    delete: tuple[int, ...] = ()


def next_step(wanted: Wanted, members: Sequence[Member]) -> Step:
    """Create what is missing, else take away what is too much, else update what is old.

    With ``ordered`` at most one pod is touched, and only when all before it are available.
    """
    living = {
        member.ordinal: member
        for member in members
        if wanted.start <= member.ordinal < wanted.start + wanted.replicas
    }
    condemned = sorted(
        (member for member in members if member.ordinal >= 0 and member.ordinal not in living),
        key=lambda member: -member.ordinal,
    )
    if wanted.ordered:
        return _ordered(wanted, living, condemned)
    return _burst(wanted, living, condemned)


def _ordered(wanted: Wanted, living: dict[int, Member], condemned: list[Member]) -> Step:
    for ordinal in range(wanted.start, wanted.start + wanted.replicas):
        member = living.get(ordinal)
        if member is None:
            return Step(create=((ordinal, _revision_for(wanted, ordinal)),))
        if member.finished:
            return Step(delete=() if member.terminating else (ordinal,))
        if member.terminating or not member.ready or not member.available:
            return Step()
    if not condemned:
        return Step(delete=_outdated(wanted, living))
    highest = condemned[0]
    lowest_unavailable = next((m for m in reversed(condemned) if m.unavailable), None)
    healthy = highest.ready and highest.available
    if highest.terminating or not (healthy or highest is lowest_unavailable):
        return Step()
    return Step(delete=(highest.ordinal,))


def _burst(wanted: Wanted, living: dict[int, Member], condemned: list[Member]) -> Step:
    ordinals = range(wanted.start, wanted.start + wanted.replicas)
    create = tuple((o, _revision_for(wanted, o)) for o in ordinals if o not in living)
    finished = tuple(o for o, m in living.items() if m.finished and not m.terminating)
    excess = tuple(member.ordinal for member in condemned if not member.terminating)
    born = {
        ordinal: Member(ordinal=ordinal, revision=revision, ready=False, available=False)
        for ordinal, revision in create
    }
    outdated = tuple(o for o in _outdated(wanted, {**living, **born}) if o not in finished)
    return Step(create=create, delete=(*finished, *excess, *outdated))


def _outdated(wanted: Wanted, living: dict[int, Member]) -> tuple[int, ...]:
    """The highest ordinal with another revision, once all above it are updated and available."""
    if not wanted.rolling:
        return ()
    for ordinal in range(
        wanted.start + wanted.replicas - 1, wanted.start + wanted.partition - 1, -1
    ):
        member = living[ordinal]
        if member.revision != wanted.update and not member.terminating:
            return (ordinal,)
        if member.unavailable:
            return ()
    return ()


def _revision_for(wanted: Wanted, ordinal: int) -> str:
    old = wanted.rolling and ordinal < wanted.start + wanted.partition
    return wanted.current if old else wanted.update
