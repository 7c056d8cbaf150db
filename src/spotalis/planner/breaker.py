"""Keeps a workload off spot for a while if its spot replicas are lost again and again.

See docs/reference/behaviour.md, "Interruptions".

The breaker is closed, open until ``Ledger.unstable_until``, and then half open for the time within
which interruptions count together: one replica tries spot. If that one is lost too, the breaker
opens again. Everything follows from the ledger and the time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime

import msgspec

from spotalis.model.controller_configuration import InterruptionBreaker
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.reserved_slots import ReservedSlots


def with_breaker(observed: Observed, now: datetime) -> Observed:
    """Count the interruptions of spot replicas in the ledger; open or close the breaker.

    Replicas that are lost together are one interruption. The next one counts only if it hits a
    node that was created after the last, because the autoscaler buys such nodes again and again. A
    large workload loses replicas on old nodes all the time, and nodes that were created together
    expire together. Nodes that an autoscaler removes by its own decision do not count.
    """
    breaker, before = observed.cluster.breaker, observed.ledger
    ledger = record_interruption(before, breaker, observed.replicas, now)
    if ledger != before:  # a copy loses what is derived from its fields
        observed = dataclasses.replace(observed, ledger=ledger)
    left = spot_starts_left(ledger, observed.replicas, observed.reservations.values(), now)
    if left == observed.spot_starts_left:
        return observed
    return dataclasses.replace(observed, spot_starts_left=left)


def record_interruption(
    ledger: Ledger, breaker: InterruptionBreaker, replicas: Iterable[Replica], now: datetime
) -> Ledger:
    """The ledger after the losses among these replicas; those on spot nodes that are reclaimed
    suffice."""
    until = ledger.unstable_until
    lost = [r for r in replicas if r.on_reclaimed_node and r.node_type is NodeType.SPOT]
    if until is None and not ledger.interrupted_at and not lost:
        return ledger
    if not breaker.interruptions or (until is not None and now >= until + breaker.within):
        return msgspec.structs.replace(ledger, interrupted_at=(), unstable_until=None)
    recent = tuple(at for at in ledger.interrupted_at if now - at < breaker.within)
    if until is not None:
        if now >= until and any(_is_after(replica.pod.created_at, until) for replica in lost):
            return msgspec.structs.replace(ledger, unstable_until=now + breaker.open_for)
        return ledger
    if lost and (not recent or any(_is_after(r.node_created_at, recent[-1]) for r in lost)):
        recent = (*recent, now)
    if len(recent) >= breaker.interruptions:
        return msgspec.structs.replace(
            ledger, interrupted_at=(), unstable_until=now + breaker.open_for
        )
    return msgspec.structs.replace(ledger, interrupted_at=recent)


def _is_after(created_at: datetime | None, time: datetime) -> bool:
    return created_at is not None and created_at >= time


def spot_starts_left(
    ledger: Ledger,
    replicas: Iterable[Replica],
    reservations: Iterable[ReservedSlots],
    now: datetime,
) -> int | None:
    """How many more replicas may start on spot now; None if the breaker is closed.

    ``replicas`` is read only while the breaker is half open.
    """
    until = ledger.unstable_until
    if until is None:
        return None
    if now < until:
        return 0
    trying = sum(
        replica.is_active
        and replica.node_type is NodeType.SPOT
        and _is_after(replica.pod.created_at, until)
        for replica in replicas
    )
    moving = sum(intent.target is NodeType.SPOT for intent in ledger.intents)
    reserved = sum(slots.spot.bit_count() for slots in reservations)
    return max(0, 1 - trying - moving - reserved)
