"""Model of leader election: a Lease and instances that compete for it.

The decisions are production code: ``observe_lease`` and ``next_action`` of
``spotalis.controller.leadership``. The rest is modelled: a Lease with optimistic concurrency,
writes that take any time or get lost, clocks of different speed, and instances that stop at any
moment, for any time (time passes, and no instance has to act) or for good. A state is a violation
if two instances may move pods at the same instant.

Time is discrete. Any number of events can happen at each instant. Between two instants, each clock
advances by a whole number of units. An instance starts to lead at an instant, so the check misses
nothing in between; a coarse ``tick`` can still round in favour of the design.

The model leaves out the following, because it adds no behaviour:

- The time of attempts: an instance may try at any instant, which includes any retry interval.
- Request timeouts: an instance may stop waiting at any instant, and its request continues.
- Reads that take time: the response is still true when it arrives, or the write that follows can
  only be rejected. A reconcile begins when the read is answered, later than in production, which
  only makes the lead that follows longer. The same holds for renewals without a read.
- Responses that take time (except with ``slow_answers``): an instance that receives the response
  later leads later, and not longer.
- Writes that can only be rejected: they end at once, and the instance reads the Lease again.
- The watch: an instance that receives the Lease from a watch could have read it.
- Cache health checks in the elector, and early step-downs: without them there are more states.
- Resource versions: it matters only whether the version that an instance knows is the current one.
- The identity of other holders: an instance distinguishes only itself, no holder, and another one.
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
from tests.model.explorer import SearchResult, Step, explore


class Phase(IntEnum):
    """What an instance is doing."""

    IDLE = 0
    SENT = 1
    """A write is on its way to the API server."""
    WRITTEN = 2
    """The write took effect; the response is on its way back."""
    LEFT = 3
    """The instance has shut down and no longer competes."""


class Holder(IntEnum):
    """The holder of the Lease from the view of one instance."""

    NONE = 0
    SELF = 1
    OTHER = 2


NO_WRITE, ACQUIRE, RELEASE, CREATE = 0, 1, 2, 4
"""Kinds of writes. Abandoned writes form a bit set, because two of the same kind are equivalent."""


class Instance(NamedTuple):
    """One instance of the operator. Durations are in units of its own clock."""

    clock: int
    """Units by which the clock advances between two instants."""
    twin: bool = False
    """Another instance has the same identity."""
    phase: Phase = Phase.IDLE
    left: int = 0
    """Time left until ``leads_until``; 0: the instance does not lead."""
    holder: Holder = Holder.NONE
    """The holder when the instance last observed the Lease."""
    seen: bool = False
    """The Lease has not changed since the instance last observed it."""
    age: int = 0
    """Time since ``seen_at``, capped just above the lease duration."""
    begun: int = 0
    """Time since the current attempt began, capped just above the lease duration."""
    writes: int = NO_WRITE
    fresh: bool = False
    """No other write has followed the instance's own write, whose response is on its way."""
    abandoned: int = NO_WRITE
    """Writes on their way whose response the instance no longer awaits."""
    holds: bool = False
    """The Lease names this instance as holder."""


class World(NamedTuple):
    """A state of the model."""

    exists: bool
    """Whether the Lease exists."""
    holder_ended: bool
    """The Lease names an instance that has ended."""
    instances: tuple[Instance, ...]
    abandoned: int
    """Writes on their way from instances that have ended."""
    restarts: int
    deletions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Deviations from the implemented design; the defaults are the implemented design."""

    counts_from_answer: bool = False
    """``leads_until`` counts from the response instead of the start of the attempt."""
    leads_for_lease: bool = False
    """``leads_until`` counts the lease duration instead of the shorter renewal deadline."""
    releases_first: bool = False
    """The instance releases the Lease before it stops leading."""
    twins: int = 0
    """Number of instances with the same identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of the model."""

    clocks: tuple[int, ...]
    """Units by which each instance's clock advances between two instants."""
    tick: int = 1
    """Units per tick. The lease duration is 3 ticks, the renewal deadline 2."""
    restarts: int = 0
    """Maximum number of instances that end and are replaced by new ones."""
    releases: bool = False
    """Instances may shut down and release the Lease."""
    deletions: int = 0
    """Maximum number of times that another client deletes the Lease."""
    slow_answers: bool = False
    """Responses to writes take time, not only the writes."""
    known: bool = False
    """In the initial state the first instance holds the Lease, and all have observed that."""

    @property
    def lease(self) -> int:
        """The lease duration in units."""
        return 3 * self.tick

    @property
    def deadline(self) -> int:
        """The renewal deadline in units."""
        return 2 * self.tick


def search(design: Design, bounds: Bounds) -> SearchResult:
    """Search all states that this design can reach within these bounds."""
    instances = [
        Instance(clock, twin=number < design.twins) for number, clock in enumerate(bounds.clocks)
    ]
    if bounds.known:
        instances = [r._replace(holder=Holder.OTHER, seen=True) for r in instances]
        instances[0] = instances[0]._replace(holder=Holder.SELF, holds=True, left=bounds.deadline)
    start = World(
        exists=bounds.known,
        holder_ended=False,
        instances=tuple(instances),
        abandoned=NO_WRITE,
        restarts=bounds.restarts,
        deletions=bounds.deletions,
    )
    return explore(start, _Rules(design, bounds).steps, canonical=canonical)


def canonical(world: World) -> World:
    """Sort the instances, and drop knowledge that cannot affect any decision."""
    if world.exists and not world.deletions:
        # The next read returns a changed Lease, so what the instance knew has no effect.
        world = world._replace(
            instances=tuple(
                r if r.seen else r._replace(holder=Holder.NONE, age=0) for r in world.instances
            )
        )
    return world._replace(instances=tuple(sorted(world.instances)))


Known: TypeAlias = tuple[Holder, bool, int]
"""Holder, whether the Lease is unchanged, and age: the part of an instance that decisions use."""

_NAMES = {Holder.NONE: "", Holder.SELF: "a_1", Holder.OTHER: "b_2"}
_HOLDERS = {name: holder for holder, name in _NAMES.items()}


def _lease(holder: Holder, version: str, seconds: int) -> Lease:
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
    known: Known, holder: Holder, exists: bool, seconds: int
) -> tuple[Holder, int, production.Action]:
    """The production code's reading of the Lease: holder, age of the observation, next action."""
    known_holder, seen, age = known
    state = LeadershipState(identity=_NAMES[Holder.SELF])
    if known_holder is not Holder.NONE or seen:
        state = production.observe_lease(
            _lease(known_holder, "2" if seen else "1", seconds), state, -float(age)
        )
    lease = _lease(holder, "2", seconds) if exists else None
    state = production.observe_lease(lease, state, 0.0)
    action = production.next_action(lease, state, 0.0)
    return _HOLDERS[state.holder], min(int(-state.seen_at), seconds + 1), action


class _Rules:
    """The transitions of one design within one set of bounds."""

    def __init__(self, design: Design, bounds: Bounds) -> None:
        self._design = design
        self._bounds = bounds

    def steps(self, world: World) -> Iterator[Step[World]]:
        yield Step("an instant passes", self._after_instant(world))
        if world.deletions and world.exists:
            left = world.deletions - 1
            gone = _overwritten(world)._replace(exists=False, deletions=left)
            yield Step("another client deletes the Lease", gone)
        yield from _late_writes(world)
        for index, instance in enumerate(world.instances):
            name = _name(instance, index)
            if instance.phase is not Phase.LEFT and world.restarts:
                yield Step(f"{name} ends; another starts", _ended(world, index))
            match instance.phase:
                case Phase.IDLE:
                    yield self._reads(world, index, instance)
                    if self._bounds.releases:
                        yield self._shuts_down(world, index, instance)
                case Phase.SENT:
                    stopped = _idle(
                        instance._replace(abandoned=instance.abandoned | instance.writes)
                    )
                    yield Step(f"{name} stops waiting", _with(world, index, stopped))
                    if world.exists is (instance.writes != CREATE):
                        yield self._writes(world, index, instance)
                case Phase.WRITTEN:
                    yield Step(f"{name} loses the response", _with(world, index, _idle(instance)))
                    yield self._receives_response(world, index, instance)

    def _after_instant(self, world: World) -> World:
        maximum = self._bounds.lease + 1
        instances = tuple(
            r._replace(
                left=max(0, r.left - r.clock),
                age=min(maximum, r.age + r.clock) if r.holder or r.seen else 0,
                begun=min(maximum, r.begun + r.clock) if r.writes else 0,
            )
            for r in world.instances
        )
        return world._replace(instances=instances)

    def _reads(self, world: World, index: int, instance: Instance) -> Step[World]:
        known = (instance.holder, instance.seen, instance.age)
        holder = _holder(world, instance)
        observed_holder, age, next_action = _look(known, holder, world.exists, self._bounds.lease)
        after = instance._replace(holder=observed_holder, seen=world.exists, age=age)
        if isinstance(next_action, production.Wait):
            after = after._replace(left=0)
        else:
            writes = ACQUIRE if world.exists else CREATE
            after = after._replace(phase=Phase.SENT, writes=writes)
        action = f"{_name(instance, index)} reads the Lease: {type(next_action).__name__.lower()}"
        return Step(action, _with(world, index, after))

    def _shuts_down(self, world: World, index: int, instance: Instance) -> Step[World]:
        left = instance.left if self._design.releases_first else 0
        after = instance._replace(phase=Phase.LEFT, left=left)
        if instance.left and instance.holds:
            after = after._replace(phase=Phase.SENT, writes=RELEASE)
        return Step(f"{_name(instance, index)} shuts down", _with(world, index, after))

    def _writes(self, world: World, index: int, instance: Instance) -> Step[World]:
        after = _committed(world, index, instance.writes)
        written = after.instances[index]._replace(
            phase=Phase.WRITTEN, writes=instance.writes, begun=instance.begun, fresh=True
        )
        action = f"{_name(instance, index)}'s {_WRITES[instance.writes]} takes effect"
        if self._bounds.slow_answers:
            return Step(action, _with(after, index, written))
        response = self._receives_response(after, index, written)
        return response._replace(action=f"{action}, {response.action}")

    def _receives_response(self, world: World, index: int, instance: Instance) -> Step[World]:
        """The instance learns that its write took effect."""
        name = _name(instance, index)
        if instance.writes == RELEASE:
            return Step(f"{name} has released the Lease", _with(world, index, _idle(instance)))
        span = self._bounds.lease if self._design.leads_for_lease else self._bounds.deadline
        left = span if self._design.counts_from_answer else max(0, span - instance.begun)
        seen = instance._replace(holder=Holder.SELF, seen=instance.fresh, age=0)
        others = any(o.left for number, o in enumerate(world.instances) if number != index)
        violation = "two instances lead" if left and others else ""
        return Step(
            f"{name} leads", _with(world, index, _idle(seen)._replace(left=left)), violation
        )


# State changes.


def _late_writes(world: World) -> Iterator[Step[World]]:
    senders = [(instance.abandoned, index) for index, instance in enumerate(world.instances)]
    for abandoned, index in [*senders, (world.abandoned, -1)]:
        for kind in (ACQUIRE, RELEASE, CREATE):
            if abandoned & kind and world.exists is (kind != CREATE):
                instance = (
                    "an ended instance" if index < 0 else _name(world.instances[index], index)
                )
                action = f"a late {_WRITES[kind]} of {instance} takes effect"
                yield Step(action, _committed(world, index, kind))


def _with(world: World, index: int, instance: Instance) -> World:
    instances = (*world.instances[:index], instance, *world.instances[index + 1 :])
    return world._replace(instances=instances)


def _idle(instance: Instance) -> Instance:
    phase = Phase.LEFT if instance.writes == RELEASE else Phase.IDLE
    return instance._replace(phase=phase, writes=NO_WRITE, begun=0, fresh=False)


def _holder(world: World, instance: Instance) -> Holder:
    if instance.holds:
        return Holder.SELF
    return (
        Holder.OTHER if world.holder_ended or any(r.holds for r in world.instances) else Holder.NONE
    )


def _overwritten(world: World) -> World:
    """The Lease changed: writes that are based on its previous version can only be rejected."""
    keeps = CREATE if world.deletions else NO_WRITE
    instances = []
    for instance in world.instances:
        if instance.phase is Phase.SENT and not instance.writes & keeps:
            instance = _idle(instance)
        instances.append(
            instance._replace(
                seen=False, fresh=False, abandoned=instance.abandoned & keeps, holds=False
            )
        )
    return world._replace(
        instances=tuple(instances), abandoned=world.abandoned & keeps, holder_ended=False
    )


def _committed(world: World, index: int, kind: int) -> World:
    """The write of an instance takes effect; index -1: of an instance that has ended."""
    after = _overwritten(world)._replace(exists=True, holder_ended=index < 0 and kind != RELEASE)
    if index < 0 or kind == RELEASE:
        return after
    twin = after.instances[index].twin
    instances = tuple(
        r._replace(holds=number == index or (twin and r.twin))
        for number, r in enumerate(after.instances)
    )
    return after._replace(instances=instances)


def _ended(world: World, index: int) -> World:
    instance = world.instances[index]
    on_its_way = instance.writes if instance.phase is Phase.SENT else NO_WRITE
    world = world._replace(
        holder_ended=world.holder_ended or instance.holds,
        abandoned=world.abandoned | instance.abandoned | on_its_way,
        restarts=world.restarts - 1,
    )
    return _with(world, index, Instance(instance.clock))


# Descriptions for traces.

_WRITES = {ACQUIRE: "write", RELEASE: "release", CREATE: "creation"}


def _name(instance: Instance, index: int) -> str:
    return f"I{index} (clock {instance.clock})"
