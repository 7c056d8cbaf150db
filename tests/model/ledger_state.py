"""States, designs and bounds of the model of the eviction protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from spotalis.model.ledger import Intent, Ledger
from spotalis.planner import ledger as production

UNLIMITED = 99
"""No limit, and nothing is counted."""


class Status(IntEnum):
    """Status of a pod on an on-demand node."""

    READY = 0
    UNREADY = 1
    ENDED = 2
    """Terminating or gone. Lists do not count the pod, and it does not become ready again."""
    NOT_CREATED = 3


class Phase(IntEnum):
    """Progress of an instance within a reconcile."""

    IDLE = 0
    READ = 1
    """It has read the ledger and decided what to write."""
    WRITTEN = 2
    """It has written the ledger and not yet listed the pods."""
    SENDING = 3
    """The evictions in ``queue`` are authorized."""
    WAITING = 4
    """It waits for the response to the eviction of ``pending``."""


class PackedIntent(NamedTuple):
    """An intent in compact form, because a search keeps millions."""

    pod: int
    instance: int
    attempts: int = 1
    taken_over: bool = False


PackedLedger: TypeAlias = tuple[PackedIntent, ...]
Pods: TypeAlias = tuple[int, ...]


class Instance(NamedTuple):
    """An instance of the operator that leads, or believes that it leads."""

    name: int
    phase: Phase = Phase.IDLE
    intents: PackedLedger = ()
    """The ledger that it is about to write, or has written."""
    read_empty: bool = False
    """The ledger did not exist when the instance read it."""
    queue: Pods = ()
    pending: int = -1
    rejected: Pods = ()
    """Pods whose eviction was certainly not performed."""
    losses: int = 0
    """Losses caused by others since its list."""
    sent: Pods = ()
    """Evictions that it remembers to have sent, in designs that remember them."""


class Request(NamedTuple):
    """An eviction request in transit."""

    pod: int
    sender: int
    """The instance that waits for the response; -1: none."""
    losses: int
    """Losses caused by others since the list that authorized it."""


class World(NamedTuple):
    """A state of the model."""

    pods: Pods
    """:class:`Status` of each pod."""
    past: tuple[Pods, ...]
    """Previous states that a cache may show, newest first, in designs that read caches."""
    ledger: PackedLedger
    requests: tuple[Request, ...]
    instances: tuple[Instance, ...]
    crashes: int
    events: int


Authorize = Callable[..., tuple[Intent, ...]]
Withdraw = Callable[..., Ledger]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Deviations from the implemented design (J); the defaults are the implemented design."""

    ledger: bool = True
    """Write intents before evictions. Without it: list and send."""
    cached: bool = False
    """Count pods from a cache that shows any of the last three states, not from a quorum list."""
    remembers: bool = False
    """Without a ledger: remember sent evictions in memory, and count their pods as gone."""
    expires: bool = False
    """Intents expire."""
    lists_first: bool = False
    """List the pods before writing the ledger."""
    resends_unlisted: bool = False
    """Send intents that were taken over without a new list."""
    reads_again: bool = False
    """Read the ledger again after the list, and send nothing if it has changed."""
    drops_unsent: bool = False
    """Remember sent evictions, and remove intents that were never sent in the next reconcile."""
    authorize: Authorize = production.authorize
    withdraw: Withdraw = production.withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of the model."""

    pods: int = 3
    floor: int = 1
    instances: int = 2
    in_flight: int = 2
    """Maximum number of requests in transit; each can take any time."""
    crashes: int = UNLIMITED
    replacements: int = 1
    """Maximum number of replacement pods."""
    events: int = 1
    """Maximum number of losses by others: a pod becomes unready or is removed. Pods become ready
    without a limit."""
    strict: bool = False
    """Excuse only losses by others since the eviction's own list.

    Otherwise also excuse losses since the list of any eviction that was performed after that list.
    """
    batch: int = 2
    """Maximum number of new intents per reconcile."""
