"""Which moves have finished, where their replacements landed, and what the workload learns.

See docs/reference/behaviour.md, "Repair" and "Spot shortage and return".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.observed import Observed, Replica

FUTILE_MOVE_LIMIT = 3
"""Consecutive futile moves after which moves of the workload stop for a while."""
MIN_FUTILE_BACKOFF = timedelta(minutes=5)
MAX_FUTILE_BACKOFF = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveResolution:
    """The moves that have finished."""

    ledger: Ledger
    """Without these moves, and with what was learned from them."""
    finished: tuple[Intent, ...] = ()
    found_spot: bool = False
    """A replacement shows that spot nodes are to be had."""


def resolve_moves(observed: Observed, now: datetime) -> MoveResolution:
    """Remove the moves that have finished, and learn from where their replacements landed.

    A move has finished when its pod has ended and its replacement has been available for the
    workload's ``minReadySeconds``. A replacement that the webhook has seen names its move. Any
    other available replica counts for the oldest move.

    Args:
        observed: with the ledger as read.
        now: aware.
    """
    if not observed.ledger.intents:
        return MoveResolution(ledger=observed.ledger)
    finished = _finished(observed, now)
    removed = {intent.pod for intent in finished}
    ledger = msgspec.structs.replace(
        observed.ledger,
        intents=tuple(i for i in observed.ledger.intents if i.pod not in removed),
    )
    unadmitted = _unadmitted_replicas(observed, finished)
    found_spot = False
    for intent in finished:
        found = _find_replacement(observed, intent)
        if found is None and unadmitted:
            found = unadmitted.pop()
        if found is None or found.node_type is NodeType.UNKNOWN:
            continue
        if found.node_type is intent.target:
            ledger = msgspec.structs.replace(ledger, futile_moves=0, futile_until=None)
            # Without a probe it may have taken room that was there while spot was exhausted.
            is_proof = intent.probe or observed.spot_view.availability is SpotAvailability.AVAILABLE
            found_spot |= is_proof and intent.target is NodeType.SPOT
        else:
            # The replacement of a probe, too: without a pin to spot it has found out nothing.
            # If no admission request ever arrived, the next move would end the same way.
            limit = 1 if observed.bypassed else FUTILE_MOVE_LIMIT
            ledger = record_futile_move(ledger, now, limit)
    return MoveResolution(ledger=ledger, finished=tuple(finished), found_spot=found_spot)


def record_futile_move(ledger: Ledger, now: datetime, limit: int = FUTILE_MOVE_LIMIT) -> Ledger:
    """Count a move whose replacement landed on the type that was left; back off at the limit.

    During the backoff nothing is counted: the moves that were in progress when it began say
    nothing new. Otherwise seven moves that end with one node would cause the backoff of seven
    attempts.
    """
    if ledger.futile_until is not None and now < ledger.futile_until:
        return ledger
    count = ledger.futile_moves + 1
    until = ledger.futile_until
    if count >= limit:
        until = now + min(MIN_FUTILE_BACKOFF * 2 ** min(count - limit, 10), MAX_FUTILE_BACKOFF)
    return msgspec.structs.replace(ledger, futile_moves=count, futile_until=until)


def _finished(observed: Observed, now: datetime) -> list[Intent]:
    ended = [intent for intent in observed.ledger.intents if intent.pod in observed.terminated]
    min_ready = timedelta(seconds=observed.workload.min_ready_seconds)
    replaced = {r.pod.move for r in observed.active if r.is_available(min_ready, now)} - {""}
    finished = [intent for intent in ended if intent.move in replaced]
    rest = [intent for intent in ended if intent.move not in replaced]
    # Pods whose eviction is only intended are still there, although they count as gone.
    present = {r.pod.uid for r in observed.replicas if r.counts_as_gone and r.pod.ready}
    missing = max(0, observed.missing(now) - len(present - observed.terminated))
    return finished + rest[: max(0, len(rest) - missing)]


def _find_replacement(observed: Observed, intent: Intent) -> Replica | None:
    return next((r for r in observed.active if r.pod.move == intent.move and r.pod.node), None)


def _unadmitted_replicas(observed: Observed, finished: list[Intent]) -> list[Replica]:
    """The bound replicas that the webhook has not seen, created since the oldest of these moves."""
    since = min((intent.created_at for intent in finished if intent.created_at), default=None)
    if since is None:
        return []
    return [
        replica
        for replica in observed.active
        if not replica.pod.rule
        and replica.pod.node
        and replica.pod.created_at is not None
        and replica.pod.created_at >= since.replace(microsecond=0)
    ]
