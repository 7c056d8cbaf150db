"""Whether so many spot nodes are being lost that moving more replicas there is folly.

Behaviour.md 6, Storm. Pure: the instants of losses go in, until when moves rest comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from spotalis.model.controller_configuration import StormBreaker


@dataclass(frozen=True, slots=True)
class StormState:
    """The losses of late, and what they came to."""

    losses: tuple[datetime, ...] = ()
    """When spot nodes vanished or began to leave, in order; each node once."""
    frozen_until: datetime | None = None
    """Moves towards spot rest until then; in the past, or None: there is no storm."""

    def storms(self, now: datetime) -> bool:
        """Whether moves towards spot rest now."""
        return self.frozen_until is not None and now < self.frozen_until


def record_loss(weather: StormState, at: datetime, breaker: StormBreaker) -> StormState:
    """One more spot node is lost. In a storm every loss prolongs it, whatever their number."""
    losses = tuple(sorted((*weather.losses, at)))
    kept = tuple(loss for loss in losses if losses[-1] - loss < breaker.window)
    if not weather.storms(at):
        return replace(weather, losses=kept)
    return StormState(kept, at + breaker.cooldown)


def evaluate(weather: StormState, left: int, breaker: StormBreaker) -> StormState:
    """Whether the losses of late are a storm; may be asked as often as one likes.

    Args:
        left: the spot nodes that are there and not leaving.
    """
    lost = len(weather.losses)
    if lost < breaker.min_nodes or lost * 100 <= breaker.threshold_percent * (left + lost):
        return weather
    until = weather.losses[-1] + breaker.cooldown
    if weather.frozen_until is not None and weather.frozen_until >= until:
        return weather
    return replace(weather, frozen_until=until)
