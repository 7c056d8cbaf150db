"""What the planner answers, and why: one vocabulary for status, event, metric and CLI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod


class Reason(StrEnum):
    """Why a workload is as it is; each has a page in the documentation."""

    BALANCED = "Balanced"
    """Present equals wanted."""
    REBALANCING = "Rebalancing"
    """Replicas are being moved."""
    NOT_MANAGED = "NotManaged"
    """Not opted in."""
    NO_POLICY = "NoPolicy"
    """Opted in, but neither a share nor a floor is set anywhere."""
    INVALID_POLICY = "InvalidPolicy"
    """A value cannot be used; the workload is left as it is."""
    READ_ONLY = "ReadOnly"
    """The operator only watches."""
    PAUSED = "Paused"
    """The owner stopped moves."""
    CACHE_NOT_READY = "CacheNotReady"
    """The first lists are not in."""
    IMPLAUSIBLE_VIEW = "ImplausibleView"
    """Objects vanished in bulk that nobody deleted: more likely our view than the world."""
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    """A new template is being rolled out."""
    SCALING = "Scaling"
    """The number of replicas is changing."""
    MOVES_IN_FLIGHT = "MovesInFlight"
    """As many replicas are missing or on the move as the owner allows."""
    COOLDOWN = "Cooldown"
    """The last move is too recent."""
    OUTSIDE_WINDOW = "OutsideWindow"
    """Moves may happen only in a window that is closed now."""
    BLOCKED_BY_PDB = "BlockedByPDB"
    """A PodDisruptionBudget allows no disruption."""
    FLOOR_UNMET = "FloorUnmet"
    """A move would leave fewer ready on-demand replicas than the floor."""
    STORM_FROZEN = "StormFrozen"
    """So many spot nodes are being taken that moves towards spot rest in the whole cluster."""
    NO_SPOT_CAPACITY = "NoSpotCapacity"
    """No node of the wanted class has room for a replica."""
    FUTILE = "Futile"
    """Replacements keep landing in the class they left."""
    PINNED = "Pinned"
    """The template pins a class, so the split cannot be reached."""
    NO_CLASSIFIER = "NoClassifier"
    """No node says which class it is."""
    WAITING_FOR_PODS = "WaitingForPods"
    """The wanted replicas are not all there yet, and none is on the wrong class."""
    LEDGER_UNREADABLE = "LedgerUnreadable"
    """Another build wrote the record of its moves, or it is damaged."""
    WEBHOOK_NEVER_CALLED = "WebhookNeverCalled"
    """Replicas appear that no review came for: the API server does not reach the webhook."""
    NO_CANDIDATE = "NoCandidate"
    """Every replica that should move is protected or pinned."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do, and nothing to wait for."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Defer:
    """Something would be to do, or to know, but not now."""

    reason: Reason
    message: str
    requeue_after: timedelta | None = None
    """When to look again at the latest; None: only when something changes (or at the resync)."""


@dataclass(frozen=True, slots=True)
class Move:
    """One eviction that lets a replacement land on the other class."""

    pod: Pod
    target: NodeType
    probe: bool = False
    """Made without evidence of room, to find out."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Move these replicas now, in this order; stop at the first that is refused."""

    moves: tuple[Move, ...]
    reason: Reason
    message: str


Decision: TypeAlias = Hold | Defer | Evict
