"""The arithmetic of a PodDisruptionBudget, as pure functions.

Upstream: ``pkg/controller/disruption``.
"""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.embedded.objects.int_or_percent import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The counts in the status of a budget."""

    expected: int
    desired: int
    healthy: int

    @property
    def disruptions(self) -> int:
        """``disruptionsAllowed``; 0 if no pod is expected."""
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


def allowance(
    *,
    min_available: int | str | None,
    max_unavailable: int | str | None,
    pods: int,
    scale: int,
    healthy: int,
) -> Allowance:
    """Compute desired and expected pods; percentages are of ``scale`` and round up.

    Args:
        min_available: ``spec.minAvailable``; with a number, ``pods`` are expected.
        max_unavailable: ``spec.maxUnavailable``; subtracted from ``scale`` in either form.
        pods: the number of pods that the selector matches.
        scale: the desired replicas of all their controllers together.
        healthy: the number of pods that are Ready, not terminating and not being evicted.

    Raises:
        ValueError: the text is not a percentage.
    """
    if max_unavailable is not None:
        desired = max(0, scale - resolve(max_unavailable, scale, round_up=True))
        return Allowance(expected=scale, desired=desired, healthy=healthy)
    if isinstance(min_available, int):
        return Allowance(expected=pods, desired=min_available, healthy=healthy)
    if min_available is not None:
        desired = resolve(min_available, scale, round_up=True)
        return Allowance(expected=scale, desired=desired, healthy=healthy)
    return Allowance(expected=0, desired=0, healthy=healthy)
