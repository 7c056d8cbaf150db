"""A Lease, and replicas that compete for it: everything that can happen, instant by instant.

What decides is production code: ``saw`` and ``next_move`` of ``spotalis.controller.leadership``.
What surrounds it is modelled: a Lease that is written by compare and swap, writes that travel for
as long as they like or get lost, clocks that run apart, and replicas that stop at any moment, for
as long as you like (time passes, and nobody has to do anything), or for good. Broken is a world
in which two replicas may move pods at the same instant.

Time is discrete: whatever happens, happens at an instant, and any number of things at each. A clock
advances by a whole number of units between two of them. What leads begins to lead at an instant, so
that nothing between two of them is missed; a coarse ``tick`` may still round in our favour.

Left out because it adds nothing, each with its reason:

- When a replica tries: at any instant, which is more than any pause between attempts allows for.
- Time limits of requests: a replica may wait no longer at any instant; what it has sent goes on.
- A read that travels: its answer is still true when it arrives, or the write that follows from it
  can only be refused. The turn begins when it is answered, later than in production, which makes
  the lead that follows only longer. So do renewals without a read.
- A write's answer that travels (but ``slow_answers``): who hears later leads later, and not longer.
- A write that can only be refused: it is over, and whoever waits for it looks anew.
- The watch: whoever hears of a Lease might as well have read it.
- ``heard`` in ``LeaderElector._turn``, and stepping down early: there are more worlds without them.
- Versions of the Lease: all that matters of the one a replica knows is whether it is the current.
- Who else holds the Lease: a replica asks only whether it is itself, nobody, or another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple, TypeAlias

from spotalis.controller import leadership as production
from spotalis.model.leadership import LeadershipState
from spotalis.model.objects import Lease
from tests.model.explorer import Explored, Step, explore


class Phase(IntEnum):
    """What a replica does."""

    IDLE = 0
    SENT = 1
    """A write is on its way to the API server, and can be carried out."""
    WRITTEN = 2
    """It was carried out; its answer is on its way back."""
    LEFT = 3
    """It has released the Lease, or would have, and competes no more."""


class Who(IntEnum):
    """Who holds the Lease, as one replica sees it."""

    NOBODY = 0
    SELF = 1
    OTHER = 2


NO_WRITE, AS_OWN, RELEASING, CREATING = 0, 1, 2, 4
"""What a write does; abandoned ones are added up, as any two of the same kind do the same."""


class Replica(NamedTuple):
    """One process; all spans are in units of its own clock."""

    clock: int
    """Units that it advances between two instants."""
    twin: bool = False
    """Goes by a name that another also goes by."""
    phase: Phase = Phase.IDLE
    left: int = 0
    """Until ``leads_until``."""
    holder: Who = Who.NOBODY
    """Last seen."""
    seen: bool = False
    """The Lease is as it was when it was last seen."""
    age: int = 0
    """Since ``seen_at``; more than the lease is all the same."""
    begun: int = 0
    """Since the turn under way began; more than the lease is all the same."""
    writes: int = NO_WRITE
    fresh: bool = False
    """Nobody has written since its own write that it has not heard of."""
    abandoned: int = NO_WRITE
    """Writes that still travel, for whose answer it does not wait."""
    holds: bool = False
    """Its name stands in the Lease."""


class World(NamedTuple):
    """All of it."""

    there: bool
    """Whether there is a Lease."""
    dead: bool
    """The name in it is that of a process that is no more."""
    replicas: tuple[Replica, ...]
    abandoned: int
    """Writes of the dead that still travel."""
    restarts: int
    deletions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What differs from what is built; the default is what is built."""

    counts_from_answer: bool = False
    """``leads_until`` counts from the answer, not from the start of the turn."""
    leads_for_lease: bool = False
    """``leads_until`` counts the whole lease, not the shorter renewal deadline."""
    releases_first: bool = False
    """Gives the Lease back, and only then ceases to lead."""
    twins: int = 0
    """So many replicas go by one name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How small the world is."""

    clocks: tuple[int, ...]
    """Units that each replica's clock advances between two instants."""
    tick: int = 1
    """Units of a tick: lease 3 ticks, renewal deadline 2."""
    restarts: int = 0
    """Processes that end and start anew under another name."""
    releases: bool = False
    deletions: int = 0
    """Of the Lease, by somebody's hand."""
    slow_answers: bool = False
    """Answers to writes travel too, not only the writes."""
    known: bool = False
    """The first replica holds the Lease when all begins, and everybody has seen that."""

    @property
    def lease(self) -> int:
        """In units."""
        return 3 * self.tick

    @property
    def deadline(self) -> int:
        """In units."""
        return 2 * self.tick


def search(design: Design, bounds: Bounds) -> Explored:
    """Everything that can happen to this design within these bounds."""
    replicas = [
        Replica(clock, twin=number < design.twins) for number, clock in enumerate(bounds.clocks)
    ]
    if bounds.known:
        replicas = [r._replace(holder=Who.OTHER, seen=True) for r in replicas]
        replicas[0] = replicas[0]._replace(holder=Who.SELF, holds=True, left=bounds.deadline)
    start = World(
        there=bounds.known,
        dead=False,
        replicas=tuple(replicas),
        abandoned=NO_WRITE,
        restarts=bounds.restarts,
        deletions=bounds.deletions,
    )
    return explore(start, _Rules(design, bounds).steps, canonical=canonical)


def canonical(world: World) -> World:
    """Replicas with clocks alike differ by their place only; what nobody asks again is dropped."""
    if world.there and not world.deletions:
        # Whoever reads the Lease next sees another one, and forgets what it has known.
        world = world._replace(
            replicas=tuple(
                r if r.seen else r._replace(holder=Who.NOBODY, age=0) for r in world.replicas
            )
        )
    return world._replace(replicas=tuple(sorted(world.replicas)))


Known: TypeAlias = tuple[Who, bool, int]
"""Holder, whether the Lease is still as seen, and the age: what of a state decides."""

_NAMES = {Who.NOBODY: "", Who.SELF: "a_1", Who.OTHER: "b_2"}
_WHO = {name: who for who, name in _NAMES.items()}


def _lease(holder: Who, version: str, seconds: int) -> Lease:
    return Lease(
        namespace="spotalis-system",
        name="spotalis",
        uid="u",
        resource_version=version,
        holder=_NAMES[holder],
        duration_seconds=seconds,
    )


@cache
def _look(
    known: Known, holder: Who, there: bool, seconds: int
) -> tuple[Who, int, production.Action]:
    """Production's look at the Lease: whom it takes for its holder, since when, what it does."""
    who, seen, age = known
    state = LeadershipState(identity=_NAMES[Who.SELF])
    if who is not Who.NOBODY or seen:
        state = production.observe_lease(
            _lease(who, "2" if seen else "1", seconds), state, -float(age)
        )
    lease = _lease(holder, "2", seconds) if there else None
    state = production.observe_lease(lease, state, 0.0)
    move = production.next_action(lease, state, 0.0)
    return _WHO[state.holder], min(int(-state.seen_at), seconds + 1), move


class _Rules:
    """What can happen next, for one design within one set of bounds."""

    def __init__(self, design: Design, bounds: Bounds) -> None:
        self._design = design
        self._bounds = bounds

    def steps(self, world: World) -> Iterator[Step[World]]:
        yield Step("an instant passes", self._later(world))
        if world.deletions and world.there:
            left = world.deletions - 1
            gone = _overwritten(world)._replace(there=False, deletions=left)
            yield Step("somebody deletes the Lease", gone)
        yield from _late_writes(world)
        for index, replica in enumerate(world.replicas):
            name = _name(replica, index)
            if replica.phase is not Phase.LEFT and world.restarts:
                yield Step(f"{name} ends; another starts", _ended(world, index))
            match replica.phase:
                case Phase.IDLE:
                    yield self._looks(world, index, replica)
                    if self._bounds.releases:
                        yield self._shuts_down(world, index, replica)
                case Phase.SENT:
                    waits_not = _idle(
                        replica._replace(abandoned=replica.abandoned | replica.writes)
                    )
                    yield Step(f"{name} waits no longer", _with(world, index, waits_not))
                    if world.there is (replica.writes != CREATING):
                        yield self._writes(world, index, replica)
                case Phase.WRITTEN:
                    yield Step(f"{name} gives up", _with(world, index, _idle(replica)))
                    yield self._hears(world, index, replica)

    def _later(self, world: World) -> World:
        most = self._bounds.lease + 1
        replicas = tuple(
            r._replace(
                left=max(0, r.left - r.clock),
                age=min(most, r.age + r.clock) if r.holder or r.seen else 0,
                begun=min(most, r.begun + r.clock) if r.writes else 0,
            )
            for r in world.replicas
        )
        return world._replace(replicas=replicas)

    def _looks(self, world: World, index: int, replica: Replica) -> Step[World]:
        known = (replica.holder, replica.seen, replica.age)
        holder = _holder(world, replica)
        who, age, move = _look(known, holder, world.there, self._bounds.lease)
        after = replica._replace(holder=who, seen=world.there, age=age)
        if isinstance(move, production.Wait):
            after = after._replace(left=0)
        else:
            writes = AS_OWN if world.there else CREATING
            after = after._replace(phase=Phase.SENT, writes=writes)
        says = f"{_name(replica, index)} looks: {type(move).__name__.lower()}"
        return Step(says, _with(world, index, after))

    def _shuts_down(self, world: World, index: int, replica: Replica) -> Step[World]:
        left = replica.left if self._design.releases_first else 0
        after = replica._replace(phase=Phase.LEFT, left=left)
        if replica.left and replica.holds:
            after = after._replace(phase=Phase.SENT, writes=RELEASING)
        return Step(f"{_name(replica, index)} shuts down", _with(world, index, after))

    def _writes(self, world: World, index: int, replica: Replica) -> Step[World]:
        after = _committed(world, index, replica.writes)
        written = after.replicas[index]._replace(
            phase=Phase.WRITTEN, writes=replica.writes, begun=replica.begun, fresh=True
        )
        says = f"{_name(replica, index)}'s {_WRITES[replica.writes]} is carried out"
        if self._bounds.slow_answers:
            return Step(says, _with(after, index, written))
        heard = self._hears(after, index, written)
        return heard._replace(says=f"{says}, {heard.says}")

    def _hears(self, world: World, index: int, replica: Replica) -> Step[World]:
        """That its write was carried out."""
        name = _name(replica, index)
        if replica.writes == RELEASING:
            return Step(f"{name} is free of it", _with(world, index, _idle(replica)))
        span = self._bounds.lease if self._design.leads_for_lease else self._bounds.deadline
        left = span if self._design.counts_from_answer else max(0, span - replica.begun)
        seen = replica._replace(holder=Who.SELF, seen=replica.fresh, age=0)
        others = any(o.left for number, o in enumerate(world.replicas) if number != index)
        broken = "two lead at once" if left and others else ""
        return Step(f"{name} leads", _with(world, index, _idle(seen)._replace(left=left)), broken)


# What follows at once from a step.


def _late_writes(world: World) -> Iterator[Step[World]]:
    senders = [(replica.abandoned, index) for index, replica in enumerate(world.replicas)]
    for abandoned, index in [*senders, (world.abandoned, -1)]:
        for kind in (AS_OWN, RELEASING, CREATING):
            if abandoned & kind and world.there is (kind != CREATING):
                who = "the dead" if index < 0 else _name(world.replicas[index], index)
                says = f"a late {_WRITES[kind]} of {who} is carried out"
                yield Step(says, _committed(world, index, kind))


def _with(world: World, index: int, replica: Replica) -> World:
    replicas = (*world.replicas[:index], replica, *world.replicas[index + 1 :])
    return world._replace(replicas=replicas)


def _idle(replica: Replica) -> Replica:
    phase = Phase.LEFT if replica.writes == RELEASING else Phase.IDLE
    return replica._replace(phase=phase, writes=NO_WRITE, begun=0, fresh=False)


def _holder(world: World, replica: Replica) -> Who:
    if replica.holds:
        return Who.SELF
    return Who.OTHER if world.dead or any(r.holds for r in world.replicas) else Who.NOBODY


def _overwritten(world: World) -> World:
    """The Lease is another one now; who would write over the last one can only be refused."""
    keeps = CREATING if world.deletions else NO_WRITE
    replicas = []
    for replica in world.replicas:
        if replica.phase is Phase.SENT and not replica.writes & keeps:
            replica = _idle(replica)
        replicas.append(
            replica._replace(
                seen=False, fresh=False, abandoned=replica.abandoned & keeps, holds=False
            )
        )
    return world._replace(replicas=tuple(replicas), abandoned=world.abandoned & keeps, dead=False)


def _committed(world: World, index: int, kind: int) -> World:
    """The write is carried out; ``index`` -1: of one that is no more."""
    after = _overwritten(world)._replace(there=True, dead=index < 0 and kind != RELEASING)
    if index < 0 or kind == RELEASING:
        return after
    twin = after.replicas[index].twin
    replicas = tuple(
        r._replace(holds=number == index or (twin and r.twin))
        for number, r in enumerate(after.replicas)
    )
    return after._replace(replicas=replicas)


def _ended(world: World, index: int) -> World:
    replica = world.replicas[index]
    on_its_way = replica.writes if replica.phase is Phase.SENT else NO_WRITE
    world = world._replace(
        dead=world.dead or replica.holds,
        abandoned=world.abandoned | replica.abandoned | on_its_way,
        restarts=world.restarts - 1,
    )
    return _with(world, index, Replica(replica.clock))


# In words, for the trace.

_WRITES = {AS_OWN: "write", RELEASING: "release", CREATING: "creation"}


def _name(replica: Replica, index: int) -> str:
    return f"R{index} (clock {replica.clock})"
