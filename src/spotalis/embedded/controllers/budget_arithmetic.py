"""The arithmetic of a PodDisruptionBudget.

Pure; upstream: ``pkg/controller/disruption``.
"""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.embedded.objects.amounts import share


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What goes into the status."""

    expected: int
    desired: int
    healthy: int

    @property
    def disruptions(self) -> int:
        """``disruptionsAllowed``: none while no pod is expected."""
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


def allowance(
    *,
    min_available: int | str | None,
    max_unavailable: int | str | None,
    pods: int,
    scale: int,
    healthy: int,
) -> Allowance:
    """Desired and expected pods; percentages are of ``scale``, and all round up.

    Args:
        min_available: ``spec.minAvailable``; a number is taken as it is, with ``pods`` expected.
        max_unavailable: ``spec.maxUnavailable``, which counts from ``scale`` in either form.
        pods: how many the selector matches.
        scale: the wanted replicas of all their controllers together.
        healthy: ready, not terminating, and not about to be.

    Raises:
        ValueError: text that is no percentage.
    """
    if max_unavailable is not None:
        desired = max(0, scale - share(max_unavailable, scale, up=True))
        return Allowance(expected=scale, desired=desired, healthy=healthy)
    if isinstance(min_available, int):
        return Allowance(expected=pods, desired=min_available, healthy=healthy)
    if min_available is not None:
        desired = share(min_available, scale, up=True)
        return Allowance(expected=scale, desired=desired, healthy=healthy)
    return Allowance(expected=0, desired=0, healthy=healthy)
