"""Stops moves to spot while many spot nodes are being lost.

See docs/reference/behaviour.md, "Interruptions".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from spotalis.model.controller_configuration import StormBreaker


@dataclass(frozen=True, slots=True)
class StormState:
    """The recent losses of spot nodes, and until when they stop moves."""

    losses: tuple[datetime, ...] = ()
    """When each spot node disappeared or was announced to be reclaimed, in order."""
    frozen_until: datetime | None = None
    """No replica moves to spot until then. None or in the past: no storm."""

    def is_active(self, now: datetime) -> bool:
        """Whether moves to spot are stopped now."""
        return self.frozen_until is not None and now < self.frozen_until


def record_loss(state: StormState, at: datetime, breaker: StormBreaker) -> StormState:
    """Record the loss of a spot node. During a storm every loss prolongs the storm."""
    losses = tuple(sorted((*state.losses, at)))
    kept = tuple(loss for loss in losses if losses[-1] - loss < breaker.window)
    if not state.is_active(at):
        return replace(state, losses=kept)
    return StormState(kept, at + breaker.cooldown)


def evaluate(state: StormState, left: int, breaker: StormBreaker) -> StormState:
    """Start or prolong a storm if the recent losses call for it. Idempotent.

    Args:
        left: the number of spot nodes that are present and not being reclaimed.
    """
    lost = len(state.losses)
    if lost < breaker.min_nodes or lost * 100 <= breaker.threshold_percent * (left + lost):
        return state
    until = state.losses[-1] + breaker.cooldown
    if state.frozen_until is not None and state.frozen_until >= until:
        return state
    return replace(state, frozen_until=until)
