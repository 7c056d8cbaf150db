"""What a Rollout of Argo Rollouts has that Deployments and StatefulSets do not."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class RolloutProgress(StrEnum):
    """Where a Rollout stands."""

    AT_REST = "at-rest"
    """Fully promoted, or aborted and back on the stable revision."""
    PAUSED = "paused"
    """Between two steps, or before the promotion of a preview."""
    IN_PROGRESS = "in-progress"
    """Its controller is changing ReplicaSets, or an analysis runs."""


class RolloutState(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The part of a Rollout that is about its steps and its template."""

    progress: RolloutProgress = RolloutProgress.AT_REST
    pause_ends_at: datetime | None = None
    """When the controller ends the present pause; None if a human ends it."""
    template_of: str = ""
    """The Deployment whose pod template it uses (``workloadRef``); empty for its own."""
