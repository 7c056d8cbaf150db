"""What became of moves: which are over, where their replacements landed, what follows from it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.model.ledger import Intent, Ledger, SpotAvailability
from spotalis.model.nodes import NodeType
from spotalis.planner.observed import Observed, Replica

FUTILE_MOVES = 3
"""In a row; from then on each stops further moves for a while (behaviour.md 5)."""
FIRST_REST = timedelta(minutes=5)
LONGEST_REST = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveResolution:
    """A ledger after a look at what became of its moves."""

    ledger: Ledger
    """Without the moves that are over."""
    over: tuple[Intent, ...] = ()
    landed: bool = False
    """A probe has found a spot node: whoever waits for spot may try anew."""


def resolve_moves(observed: Observed, ended: Set[str], now: datetime) -> MoveResolution:
    """Strike the moves that are over, and learn from where their replacements landed.

    A move is over when its pod has ended and its replacement has been available for the
    workload's ``minReadySeconds``. The replacement names its move; where no webhook of ours saw
    it, one that is available counts for the oldest move.

    Args:
        observed: with the ledger as read; pods of its intents count as evicted.
        ended: UIDs of pods that were seen ending or gone.
        now: aware.
    """
    ledger = observed.ledger
    over = _over(observed, ended, now)
    struck = {intent.pod for intent in over}
    ledger = msgspec.structs.replace(
        ledger, intents=tuple(i for i in ledger.intents if i.pod not in struck)
    )
    strangers = _strangers(observed, over)
    landed = False
    for intent in over:
        found = _replacement(observed, intent)
        if found is None and strangers:
            found = strangers.pop()
        if found is None or found.node_type is NodeType.UNKNOWN:
            continue
        if found.node_type is intent.target:
            ledger = msgspec.structs.replace(ledger, futile_moves=0, futile_until=None)
            if intent.probe:
                landed = True
                ledger = msgspec.structs.replace(
                    ledger,
                    spot_availability=SpotAvailability.AVAILABLE,
                    failed_probes=0,
                    next_probe_at=None,
                )
        else:  # a probe too: what nobody pinned to spot has found out nothing there
            # Where no review ever came the next one would land no better.
            ledger = record_futile_move(ledger, now, most=1 if observed.bypassed else FUTILE_MOVES)
    return MoveResolution(ledger=_known(observed, ledger), over=tuple(over), landed=landed)


def record_futile_move(ledger: Ledger, now: datetime, most: int = FUTILE_MOVES) -> Ledger:
    """Count a move whose replacement landed in the class just left; after ``most``, rest.

    Moves that were under way when the rest began tell nothing new, and make it no longer: else
    seven that went with one node would rest for as long as seven attempts.
    """
    if ledger.futile_until is not None and now < ledger.futile_until:
        return ledger
    futile = ledger.futile_moves + 1
    until = ledger.futile_until
    if futile >= most:
        until = now + min(FIRST_REST * 2 ** min(futile - most, 10), LONGEST_REST)
    return msgspec.structs.replace(ledger, futile_moves=futile, futile_until=until)


def _over(observed: Observed, ended: Set[str], now: datetime) -> list[Intent]:
    done = [intent for intent in observed.ledger.intents if intent.pod in ended]
    min_ready = timedelta(seconds=observed.workload.min_ready_seconds)
    served = {r.pod.move for r in observed.active if r.available(min_ready, now)} - {""}
    over = [intent for intent in done if intent.move in served]
    rest = [intent for intent in done if intent.move not in served]
    # Pods that are meant and still live are not missing yet, though they count as evicted.
    alive = {r.pod.uid for r in observed.replicas if r.evicted and r.pod.ready} - ended
    missing = max(0, observed.missing(now) - len(alive))
    return over + rest[: max(0, len(rest) - missing)]


def _replacement(observed: Observed, intent: Intent) -> Replica | None:
    return next((r for r in observed.active if r.pod.move == intent.move and r.pod.node), None)


def _strangers(observed: Observed, over: list[Intent]) -> list[Replica]:
    """Bound replicas that no webhook of ours has seen, made since the oldest of these moves."""
    begun = min(
        (intent.created_at for intent in over if intent.created_at is not None), default=None
    )
    if begun is None:
        return []
    return [
        replica
        for replica in observed.active
        if not replica.pod.rule
        and replica.pod.node
        and replica.pod.created_at is not None
        and replica.pod.created_at >= begun.replace(microsecond=0)
    ]


def _known(observed: Observed, ledger: Ledger) -> Ledger:
    """Forget what is known about spot once it no longer matters, or is no longer so."""
    if ledger.spot_availability is SpotAvailability.UNKNOWN and not ledger.failed_probes:
        return ledger
    surplus = observed.state.surplus(NodeType.ON_DEMAND)
    room = observed.room.get(NodeType.SPOT, 0)
    waits = any(r.pod.unschedulable and r.node_type is NodeType.SPOT for r in observed.active)
    at_rest = observed.state.is_balanced and not waits and not ledger.intents
    enough = 0 < surplus <= room
    if at_rest or (enough and ledger.spot_availability is SpotAvailability.EXHAUSTED):
        return msgspec.structs.replace(
            ledger, spot_availability=SpotAvailability.UNKNOWN, failed_probes=0, next_probe_at=None
        )
    return ledger
