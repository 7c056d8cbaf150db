"""What must outlive a process and be known to every replica of the operator, per workload.

Written ahead of each eviction, by compare and swap (planner/ledger.py says what that buys), as one
ConfigMap per workload in the operator's own namespace. What the rules are is not said here.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from spotalis.model.nodes import NodeType

SCHEMA = 1
"""Of what is written; a build that reads another number leaves the workload alone."""
MOVE_CHARACTERS = 8
"""Of the evicted pod's UID: how its replacement names the move that it stands for."""


class SpotAvailability(StrEnum):
    """What a workload knows about room on spot (behaviour.md 6)."""

    UNKNOWN = "unknown"
    EXHAUSTED = "exhausted"
    """A replica waited in vain: new ones of spot slots start on on-demand."""
    AVAILABLE = "available"
    """A probe has landed: somebody adds spot nodes for pods that wait."""


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An eviction that is meant: from before it is sent until its replacement serves."""

    pod: str
    """UID."""
    name: str
    target: NodeType
    instance: str
    """The process that may send it; another must first take it over."""
    created_at: datetime | None = None
    """When it was meant, by its first instance's clock: tells new replicas from old, no more."""
    attempts: int = 1
    """Turns in which it may have been sent."""
    taken_over: bool = False
    """Taken over: its first instance may have sent it, or may yet."""
    probe: bool = False
    """Sent without evidence of room, to find out."""

    @property
    def move(self) -> str:
        """How a replacement's decision names it."""
        return self.pod[:MOVE_CHARACTERS]


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One workload's record; the empty one is not written at all."""

    schema: int = SCHEMA
    workload: str = ""
    """For people: ``Deployment/shop/api``."""
    intents: tuple[Intent, ...] = ()
    """Oldest first."""
    spot_availability: SpotAvailability = SpotAvailability.UNKNOWN
    failed_probes: int = 0
    """In a row."""
    next_probe_at: datetime | None = None
    """No probe before this instant; None: at once."""
    futile_moves: int = 0
    """Moves in a row whose replacement landed in the class just left."""
    futile_until: datetime | None = None
    """No move before this instant."""

    @property
    def empty(self) -> bool:
        """Nothing that must be remembered."""
        return msgspec.structs.replace(self, schema=SCHEMA, workload="") == Ledger()


class LedgerObject(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The ConfigMap that holds a ledger."""

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    ledger: Ledger | None = None
    """None: another build wrote it, or it is damaged; nothing may be done on its strength."""
