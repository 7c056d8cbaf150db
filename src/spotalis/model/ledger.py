"""A workload's ledger: what must survive a restart and be known to every instance.

There is one ConfigMap per workload with something to remember, in the operator's own namespace. It
is written by compare-and-swap before each eviction; planner/ledger.py explains why.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from spotalis.model.nodes import NodeType
from spotalis.model.spot_knowledge import SpotAvailability, SpotRecord

SCHEMA = 1
"""The version of the format. A version of Spotalis that reads another number leaves the workload
unchanged."""
MOVE_CHARACTERS = 8
"""How many characters of the evicted pod's UID identify a move in its replacement's annotation."""


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A move, from before its eviction is sent until its replacement is available."""

    pod: str
    """UID."""
    name: str
    target: NodeType
    instance: str
    """The instance that may send the eviction. Another one must take the intent over first."""
    created_at: datetime | None = None
    """By the clock of the instance that created it. Only used to tell new replicas from old."""
    attempts: int = 1
    """Reconciles in which the eviction may have been sent."""
    taken_over: bool = False
    """Another instance created it and may have sent the eviction."""
    probe: bool = False
    """The move has no evidence of capacity."""

    @property
    def move(self) -> str:
        """The identifier of the move in its replacement's annotation."""
        return self.pod[:MOVE_CHARACTERS]


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one workload. An empty ledger is not stored."""

    schema: int = SCHEMA
    workload: str = ""
    """``Deployment/shop/api``. Limits per namespace and the sweep depend on it."""
    intents: tuple[Intent, ...] = ()
    """The open moves, oldest first."""
    spot_availability: SpotAvailability = SpotAvailability.UNKNOWN
    """This and the next two fields are read from ledgers that an older version has written.
    model/spot_knowledge.py replaces them."""
    failed_probes: int = 0
    next_probe_at: datetime | None = None
    interrupted_at: tuple[datetime, ...] = ()
    """The recent interruptions of spot replicas that count (planner/breaker.py)."""
    unstable_until: datetime | None = None
    """No replica starts on spot before this time; then one tries."""
    futile_moves: int = 0
    """Consecutive moves whose replacement landed on the type that was left."""
    futile_until: datetime | None = None
    """No move before this time."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing must be remembered."""
        return msgspec.structs.replace(self, schema=SCHEMA, workload="") == Ledger()


class LedgerObject(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A ConfigMap with something to remember: a ledger, the provider groups, or spot."""

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    ledger: Ledger | None = None
    """None if it is damaged or was written by another version. It must not be acted on."""
    group_memory: dict[str, date] = {}
    """The provider groups that were in use; one object, which holds no ledger, has them."""
    spot: tuple[SpotRecord, ...] = ()
    """What is known about spot, if this is the ConfigMap that holds it."""
