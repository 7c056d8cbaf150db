"""What the planner decides and why.

The condition, Events, metrics and the command line use the same reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod


class Reason(StrEnum):
    """Why a workload is in its state. The documentation has a page for each reason."""

    BALANCED = "Balanced"
    """The split is as desired."""
    REBALANCING = "Rebalancing"
    """Replicas are being moved."""
    NOT_MANAGED = "NotManaged"
    """The workload is not enabled."""
    NO_POLICY = "NoPolicy"
    """The workload is enabled, but has no percentage."""
    INVALID_POLICY = "InvalidPolicy"
    """A value is invalid. The workload is left unchanged."""
    READ_ONLY = "ReadOnly"
    """The operator is read-only."""
    PAUSED = "Paused"
    """The owner has paused moves."""
    CACHE_NOT_READY = "CacheNotReady"
    """A first list has not arrived, or a watch has been silent for too long."""
    IMPLAUSIBLE_VIEW = "ImplausibleView"
    """A list lacks many objects whose deletion was never announced."""
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    """A rollout is in progress."""
    SCALING = "Scaling"
    """The number of replicas is changing."""
    MOVES_IN_FLIGHT = "MovesInFlight"
    """As many replicas are missing or moving as the limits allow."""
    COOLDOWN = "Cooldown"
    """The last move has ended too recently."""
    OUTSIDE_WINDOW = "OutsideWindow"
    """The disruption window is closed."""
    BLOCKED_BY_PDB = "BlockedByPDB"
    """A PodDisruptionBudget does not allow the eviction."""
    EVICTION_REFUSED = "EvictionRefused"
    """Admission control or the API server refuses an eviction, or its outcome is not known."""
    FLOOR_UNMET = "FloorUnmet"
    """A move would leave fewer ready on-demand replicas than the minimum."""
    STORM_FROZEN = "StormFrozen"
    """Many spot nodes are being lost: no replica moves to spot in the whole cluster."""
    SPOT_UNSTABLE = "SpotUnstable"
    """Spot replicas of the workload were lost again and again: none starts on spot for a while."""
    NO_SPOT_CAPACITY = "NoSpotCapacity"
    """No spot node has free resources for a replica."""
    NO_ON_DEMAND_CAPACITY = "NoOnDemandCapacity"
    """Replicas wait for an on-demand node, or no on-demand node could hold one that must move."""
    FUTILE = "Futile"
    """Replacements land on the type that was left."""
    PINNED = "Pinned"
    """The pod template selects a capacity type, so that the split cannot be reached."""
    NO_CLASSIFIER = "NoClassifier"
    """No node has a capacity type."""
    WAITING_FOR_PODS = "WaitingForPods"
    """Replicas are missing, and no replica is on the wrong type."""
    LEDGER_UNREADABLE = "LedgerUnreadable"
    """The ledger is damaged or was written by another version of Spotalis."""
    WEBHOOK_NEVER_CALLED = "WebhookNeverCalled"
    """Replicas are created without admission requests: the webhook is not reached."""
    NO_CANDIDATE = "NoCandidate"
    """No replica that should move may be moved: each is protected, or a replacement."""


@dataclass(frozen=True, slots=True)
class Hold:
    """There is nothing to do and nothing to wait for."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Defer:
    """There may be something to do, but not now."""

    reason: Reason
    message: str
    requeue_after: timedelta | None = None
    """When to reconcile again at the latest; None: when something changes, or at the resync."""
    gate: str = ""
    """The object that prevents moves: ``pdb/strict``; empty if it is not an object."""


@dataclass(frozen=True, slots=True)
class Move:
    """One eviction, after which the replacement lands on the target type."""

    pod: Pod
    target: NodeType
    probe: bool = False
    """Whether the replacement can be scheduled is not known."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Make these moves now, in this order, up to the first eviction that is refused."""

    moves: tuple[Move, ...]
    reason: Reason
    message: str


Decision: TypeAlias = Hold | Defer | Evict
