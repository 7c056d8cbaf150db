"""A workload, its ledger, and processes that evict: everything that can happen, step by step.

What decides is production code: ``drop_unsent``, ``prepare``, ``authorize`` and ``withdraw`` of
``spotalis.planner.ledger``. What is modelled here is what surrounds it: pods, requests that travel
for as long as they like, processes that stop at the worst moment, and the designs that were not
built (:class:`Design`), so that one sees what each rule is there for.

Left out because it adds nothing, each with its reason:

- A read of the ledger that another write has overtaken is forgotten at once: its own write can
  only lose. The empty ledger is the exception, for it is not there: an old reader may create it.
- Between reading a ledger that is there and writing it, nothing can happen that the write outlives:
  the two are one step then.
- An intent whose pod has ended: whose it is, and its place.
- A write that arrives late is a write that arrives in time, followed by a process that does not
  hear of it (``gives up the turn``).
- A pod that has ended cannot be evicted again, so requests for it go, whoever waits for them goes
  on.
- ``tries`` beyond 2: the rules ask only whether it is more than 1.
- Pods, and processes, differ by name only: one order of them stands for all (``canonical``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple, TypeAlias

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.planner import ledger as production
from tests.model.explorer import SearchResult, Step, explore

MANY = 99
"""As often as you like: nothing is counted."""


class Status(IntEnum):
    """Of a pod on on-demand."""

    READY = 0
    UNREADY = 1
    ENDED = 2
    """Terminating or gone: a list shows neither as living, and neither comes back."""
    UNBORN = 3


class Phase(IntEnum):
    """How far a process is in its turn."""

    IDLE = 0
    READ = 1
    """Has read the ledger and decided what to write."""
    WRITTEN = 2
    """Has written; not yet listed."""
    SENDING = 3
    """Holds an authorisation for what is in ``queue``."""
    WAITING = 4
    """For the answer about ``asked``."""


class Mark(NamedTuple):
    """An intent, small enough to be kept millions of times."""

    pod: int
    instance: int
    attempts: int = 1
    taken_over: bool = False


Marks: TypeAlias = tuple[Mark, ...]
Pods: TypeAlias = tuple[int, ...]


class Process(NamedTuple):
    """One that believes that it leads."""

    name: int
    phase: Phase = Phase.IDLE
    marks: Marks = ()
    """The ledger as it would write, or has written it."""
    read_empty: bool = False
    """There was no ledger when it read."""
    queue: Pods = ()
    asked: int = -1
    refused: Pods = ()
    """Certainly not carried out."""
    foreign: int = 0
    """Losses by others' hands since its list."""
    sent: Pods = ()
    """What it remembers to have sent, where a design remembers that."""


class Request(NamedTuple):
    """An eviction on its way."""

    pod: int
    waits: int
    """The process that waits for the answer; -1: nobody any more."""
    foreign: int
    """Losses by others' hands since the list that authorised it."""


class World(NamedTuple):
    """All of it."""

    pods: Pods
    """:class:`Status` of each."""
    past: tuple[Pods, ...]
    """What a cache may still show, newest first; only where a design reads caches."""
    ledger: Marks
    requests: tuple[Request, ...]
    processes: tuple[Process, ...]
    crashes: int
    events: int


Prepare = Callable[..., Ledger]
Authorise = Callable[..., tuple[Intent, ...]]
Withdraw = Callable[..., Ledger]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a process does in its turn; the default is what is built: design J."""

    ledger: bool = True
    """Write intents ahead; without it, list and send."""
    cached: bool = False
    """Count from a cache that may be any of the last three states, not from a quorum list."""
    remembers: bool = False
    """Without a ledger: keep in memory what was sent, and count it as gone."""
    expires: bool = False
    """Intents may be forgotten by the clock."""
    lists_first: bool = False
    """List, then write."""
    resends_unlisted: bool = False
    """Send what was taken over without a new list."""
    reads_again: bool = False
    """Read the ledger once more after the list, and send nothing if another has written it."""
    drops_unsent: bool = False
    """Remember what was sent, and strike what was written and never sent on the next look."""
    prepare: Prepare = production.prepare
    authorize: Authorise = production.authorize
    withdraw: Withdraw = production.withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How small the world is."""

    pods: int = 3
    floor: int = 1
    processes: int = 2
    in_flight: int = 2
    """Requests on their way at a time; any of them for ever."""
    crashes: int = MANY
    births: int = 1
    """Replacements."""
    events: int = 1
    """A pod becomes unready or is taken by others; becoming ready is free."""
    strict: bool = False
    """Of losses by others' hands, forgive only those since the eviction's own list; else also
    those since the list of any eviction of ours that was carried out after that."""
    batch: int = 2
    """New intents in one turn, at most."""


def search(design: Design, bounds: Bounds, *, by_name: bool = False) -> SearchResult:
    """Everything that can happen to this design within these bounds.

    ``by_name``: worlds that differ by names only are seen one by one.
    """
    rules = _Rules(design, bounds)
    start = World(
        pods=(Status.READY,) * bounds.pods + (Status.UNBORN,) * bounds.births,
        past=(),
        ledger=(),
        requests=(),
        processes=tuple(Process(name) for name in range(bounds.processes)),
        crashes=bounds.crashes,
        events=bounds.events,
    )
    if by_name:
        return explore(start, rules.steps)
    return explore(start, rules.steps, canonical=canonical)


class _Rules:
    """What can happen next, for one design within one set of bounds."""

    def __init__(self, design: Design, bounds: Bounds) -> None:
        self._design = design
        self._bounds = bounds

    def steps(self, world: World) -> Iterator[Step[World]]:
        yield from self._of_others(world)
        for index, request in enumerate(world.requests):
            yield from self._of_request(world, index, request)
        for index, process in enumerate(world.processes):
            if world.crashes:
                born = Process(max(p.name for p in world.processes) + 1)
                after = _with_process(_deserted(world, process), index, born)
                left = world.crashes if world.crashes == MANY else world.crashes - 1
                yield Step(
                    f"{_name(process)} crashes; {_name(born)} starts", after._replace(crashes=left)
                )
            match process.phase:
                case Phase.IDLE if self._design.ledger:
                    yield from self._reads(world, index, process)
                case Phase.IDLE:
                    yield from self._lists_only(world, index, process)
                case Phase.READ:
                    yield self._writes(world, index, process)
                case Phase.WRITTEN:
                    yield self._lists(world, index, process)
                    yield _gives_up(world, index, process)
                case Phase.SENDING:
                    yield from self._sends(world, index, process)
                    yield _gives_up(world, index, process)
                case Phase.WAITING:
                    waits_not = _with_process(_deserted(world, process), index, _going_on(process))
                    says = f"waits no longer for the answer about {_pod(process.asked)}"
                    yield Step(f"{_name(process)} {says}", waits_not)

    # What happens without us.

    def _of_others(self, world: World) -> Iterator[Step[World]]:
        for pod, status in enumerate(world.pods):
            if status is Status.UNBORN:
                if pod == 0 or world.pods[pod - 1] is not Status.UNBORN:
                    yield self._changed(world, pod, Status.UNREADY, "is created")
            elif status is Status.UNREADY:
                yield self._changed(world, pod, Status.READY, "becomes ready")
            if world.events and status is Status.READY:
                lost = _with_loss(world)
                yield self._changed(lost, pod, Status.UNREADY, "becomes unready by itself")
                yield self._changed(lost, pod, Status.ENDED, "is taken by somebody else")

    def _changed(self, world: World, pod: int, status: Status, says: str) -> Step[World]:
        return Step(f"{_pod(pod)} {says}", self._with_status(world, pod, status))

    def _with_status(self, world: World, pod: int, status: Status) -> World:
        pods = (*world.pods[:pod], status, *world.pods[pod + 1 :])
        past = (world.pods, *world.past)[:2] if self._design.cached else ()
        world = world._replace(pods=pods, past=past)
        return _without_requests(world, pod) if status is Status.ENDED else world

    def _of_request(self, world: World, index: int, request: Request) -> Iterator[Step[World]]:
        pod = _pod(request.pod)
        ready = world.pods.count(Status.READY)
        reduces = world.pods[request.pod] is Status.READY
        least = self._bounds.floor - request.foreign
        broken = f"{ready - 1} ready of {self._bounds.floor}" if reduces and ready <= least else ""
        overlapped = world
        if not self._bounds.strict:
            overlapped = _with_foreign(world, lambda foreign: max(foreign, request.foreign))
        ended = self._with_status(overlapped, request.pod, Status.ENDED)
        yield Step(f"the eviction of {pod} is carried out", ended, broken)
        rest = world._replace(
            requests=(*world.requests[:index], *world.requests[index + 1 :]),
            processes=tuple(
                _going_on(process) if process.name == request.waits else process
                for process in world.processes
            ),
        )
        yield Step(f"the eviction of {pod} is dropped on its way", rest)
        if request.waits >= 0:
            refused = tuple(
                after._replace(
                    refused=tuple(sorted((*after.refused, request.pod))),
                    sent=tuple(
                        sent
                        for sent in after.sent
                        if sent != request.pod or self._design.drops_unsent
                    ),
                )
                if after.name == request.waits
                else after
                for after in rest.processes
            )
            yield Step(
                f"the eviction of {pod} is refused, and P{request.waits} hears it",
                rest._replace(processes=refused),
            )

    # A turn with a ledger.

    def _reads(self, world: World, index: int, process: Process) -> Iterator[Step[World]]:
        ended = frozenset(p for p, status in enumerate(world.pods) if status is Status.ENDED)
        decided: set[tuple[Marks, Pods]] = set()
        for ledger in {world.ledger, ()} if self._design.expires else {world.ledger}:
            if self._design.drops_unsent:
                ledger = _without_unsent(ledger, process.name, process.sent)
            named = frozenset(mark.pod for mark in ledger)
            new = [pod for pod in _living(world.pods) if pod not in named]
            for size in range(0 if world.ledger else 1, self._bounds.batch + 1):
                for wanted in combinations(new, size):
                    # Its caches show what has ended, or not yet; and it may take everything to be
                    # over that has (planner/resolution.py strikes nothing else).
                    for known in {ended, frozenset[int]()}:
                        left = tuple(mark for mark in ledger if mark.pod not in known)
                        marks = _prepared(self._design.prepare, left, process.name, wanted)
                        decided.add((marks, wanted))
        for marks, wanted in decided:
            read = process._replace(phase=Phase.READ, marks=marks, read_empty=not world.ledger)
            if self._design.lists_first:
                read = self._authorised(world, read)
            after = _with_process(world, index, read)
            says = f"{_name(process)} reads {_told(world.ledger)}, wants {_pods(wanted)}"
            if world.ledger and not self._design.lists_first:
                written = self._writes(after, index, read)
                yield Step(f"{says}, writes {_told(marks)}", written.after)
            else:
                yield Step(says, after)

    def _writes(self, world: World, index: int, process: Process) -> Step[World]:
        if process.read_empty and world.ledger:
            return Step(
                f"{_name(process)} cannot create the ledger: there is one",
                _with_process(world, index, _idle(process)),
            )
        written = process._replace(phase=Phase.WRITTEN, read_empty=False)
        again = tuple(
            mark.pod
            for mark in process.marks
            if mark.taken_over and mark.pod in _living(world.pods)
        )
        if self._design.resends_unlisted and again:
            written = written._replace(phase=Phase.SENDING, marks=(), queue=again)
        if self._design.lists_first:
            written = _or_done(written._replace(phase=Phase.SENDING, marks=()))
        after = _with_process(self._with_ledger(world, process.marks), index, written)
        return Step(f"{_name(process)} writes {_told(process.marks)}", after)

    def _lists(self, world: World, index: int, process: Process) -> Step[World]:
        after = self._authorised(world, process)._replace(phase=Phase.SENDING, marks=())
        says = f"lists {_statuses(world.pods)}, may evict {_pods(after.queue)}"
        return Step(f"{_name(process)} {says}", _with_process(world, index, _or_done(after)))

    def _authorised(self, world: World, process: Process) -> Process:
        allowed = _authorised(self._design.authorize, process.marks, world.pods, self._bounds.floor)
        living = _living(world.pods)
        refused = {mark.pod for mark in process.marks if mark.pod in living} - set(allowed)
        return process._replace(queue=allowed, refused=tuple(sorted(refused)), foreign=0)

    def _sends(self, world: World, index: int, process: Process) -> Iterator[Step[World]]:
        if not process.queue:
            ledger = _withdrawn(self._design.withdraw, world.ledger, process.name, process.refused)
            after = _with_process(self._with_ledger(world, ledger), index, _idle(process))
            says = f"withdraws {_pods(process.refused)}, leaves {_told(ledger)}"
            yield Step(f"{_name(process)} {says}", after)
        elif len(world.requests) < self._bounds.in_flight:
            pod, *queue = process.queue
            request = Request(pod, process.name, process.foreign)
            remembers = self._design.remembers or self._design.drops_unsent
            sent = tuple(sorted({*process.sent, pod})) if remembers else ()
            waiting = process._replace(
                phase=Phase.WAITING, asked=pod, queue=tuple(queue), sent=sent
            )
            after = world._replace(requests=tuple(sorted((*world.requests, request))))
            yield Step(
                f"{_name(process)} sends the eviction of {_pod(pod)}",
                _with_process(after, index, waiting),
            )

    def _with_ledger(self, world: World, ledger: Marks) -> World:
        """Written; what others have read before is of no use any more, unless it was nothing."""
        overtaken = (Phase.READ, Phase.WRITTEN) if self._design.reads_again else (Phase.READ,)
        processes = tuple(
            _idle(process) if process.phase in overtaken and not process.read_empty else process
            for process in world.processes
        )
        return world._replace(ledger=ledger, processes=processes)

    # A turn without one.

    def _lists_only(self, world: World, index: int, process: Process) -> Iterator[Step[World]]:
        for seen in {world.pods, *world.past}:
            left = tuple(
                Status.ENDED if pod in process.sent else status for pod, status in enumerate(seen)
            )
            for size in range(1, self._bounds.batch + 1):
                for wanted in combinations(_living(left), size):
                    marks = tuple(Mark(pod, process.name) for pod in wanted)
                    allowed = _authorised(self._design.authorize, marks, left, self._bounds.floor)
                    # A loss that a cache does not show yet counts as one after it.
                    late = seen != world.pods and self._bounds.events > world.events
                    after = process._replace(phase=Phase.SENDING, queue=allowed, foreign=int(late))
                    says = f"sees {_statuses(seen)}, may evict {_pods(allowed)} of {_pods(wanted)}"
                    yield Step(
                        f"{_name(process)} {says}", _with_process(world, index, _or_done(after))
                    )


# What follows at once from a step.


def _idle(process: Process) -> Process:
    return Process(process.name, sent=process.sent)


def _or_done(process: Process) -> Process:
    """Idle, if nothing is left to send nor to withdraw."""
    return process if process.queue or process.refused else _idle(process)


def _going_on(process: Process) -> Process:
    return _or_done(process._replace(phase=Phase.SENDING, asked=-1))


def _gives_up(world: World, index: int, process: Process) -> Step[World]:
    """As when it no longer leads, or never heard of its own write."""
    return Step(f"{_name(process)} gives up the turn", _with_process(world, index, _idle(process)))


def _with_process(world: World, index: int, process: Process) -> World:
    processes = (*world.processes[:index], process, *world.processes[index + 1 :])
    return world._replace(processes=processes)


def _with_loss(world: World) -> World:
    """Others take from the floor: whoever has listed before could not know."""
    return _with_foreign(world, lambda foreign: foreign + 1)._replace(events=world.events - 1)


def _with_foreign(world: World, counted: Callable[[int], int]) -> World:
    """Counted anew by all evictions that are authorised and not yet carried out."""
    return world._replace(
        requests=tuple(
            request._replace(foreign=counted(request.foreign)) for request in world.requests
        ),
        processes=tuple(
            process._replace(foreign=counted(process.foreign)) if process.queue else process
            for process in world.processes
        ),
    )


def _without_requests(world: World, pod: int) -> World:
    """Nobody can evict it any more, and whoever wants to goes on."""
    return world._replace(
        requests=tuple(request for request in world.requests if request.pod != pod),
        processes=tuple(_without(process, pod) for process in world.processes),
    )


def _without(process: Process, pod: int) -> Process:
    if process.phase not in (Phase.SENDING, Phase.WAITING):
        return process
    process = process._replace(
        queue=tuple(one for one in process.queue if one != pod),
        refused=tuple(one for one in process.refused if one != pod),
    )
    if process.asked == pod:
        return _going_on(process)
    return process if process.phase is Phase.WAITING else _or_done(process)


def _deserted(world: World, process: Process) -> World:
    """Nobody waits for its answer any more."""
    return world._replace(
        requests=tuple(
            sorted(
                request._replace(waits=-1) if request.waits == process.name else request
                for request in world.requests
            )
        )
    )


# The production functions, over small values, each answer remembered.

_MOST_TRIES = 2


@cache
def _intent(mark: Mark) -> Intent:
    return Intent(
        pod=str(mark.pod),
        name=f"p{mark.pod}",
        target=NodeType.SPOT,
        instance=str(mark.instance),
        attempts=mark.attempts,
        taken_over=mark.taken_over,
    )


def _ledger(marks: Marks) -> Ledger:
    return Ledger(intents=tuple(map(_intent, marks)))


def _marks(ledger: Ledger) -> Marks:
    return tuple(
        Mark(int(i.pod), int(i.instance), min(i.attempts, _MOST_TRIES), i.taken_over)
        for i in ledger.intents
    )


@cache
def _prepared(prepare: Prepare, marks: Marks, instance: int, wanted: Pods) -> Marks:
    return _marks(
        prepare(
            _ledger(marks),
            instance=str(instance),
            wanted=[_intent(Mark(pod, instance)) for pod in wanted],
        )
    )


@cache
def _without_unsent(marks: Marks, instance: int, sent: Pods) -> Marks:
    return _marks(
        production.drop_unsent(_ledger(marks), instance=str(instance), sent=set(map(str, sent)))
    )


@cache
def _authorised(authorize: Authorise, marks: Marks, pods: Pods, floor: int) -> Pods:
    allowed = authorize(
        _ledger(marks),
        living={str(pod) for pod in _living(pods)},
        floor_pods={str(pod) for pod, status in enumerate(pods) if status is Status.READY},
        floor=floor,
    )
    return tuple(int(intent.pod) for intent in allowed)


@cache
def _withdrawn(withdraw: Withdraw, marks: Marks, instance: int, refused: Pods) -> Marks:
    return _marks(withdraw(_ledger(marks), instance=str(instance), refused=map(str, refused)))


@cache
def _living(pods: Pods) -> Pods:
    return tuple(pod for pod, status in enumerate(pods) if status in (Status.READY, Status.UNREADY))


# One world for all that differ by names only.

_DEAD = 9
"""The name of every process that is no more: whose it was, no rule asks."""


def canonical(world: World) -> World:
    """The same world with the names that come first."""
    keys = [
        (process.phase, len(process.marks), len(process.queue), len(process.refused))
        for process in world.processes
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    alike = len(set(keys)) < len(keys)
    orders = permutations(order) if alike else (order,)
    return min(_renamed(world, one) for one in orders if sorted(keys) == [keys[i] for i in one])


def _renamed(world: World, order: Sequence[int]) -> World:
    """Processes in this order; pods in the order of all that is said about each.

    Two pods of which the same is said are alike: nothing ties pods to each other.
    """
    processes = [world.processes[old] for old in order]
    names = {process.name: number for number, process in enumerate(processes)}
    said = _said(world, processes, names)
    new = [0] * len(said)
    by_what_is_said = sorted(range(len(said)), key=said.__getitem__)
    for number, old in enumerate(by_what_is_said):
        new[old] = number

    def renamed(marks: Marks) -> Marks:
        living = [
            Mark(new[pod], names.get(instance, _DEAD), tries, taken)
            for pod, instance, tries, taken in marks
            if world.pods[pod] != Status.ENDED
        ]
        ended = sorted([new[mark.pod] for mark in marks if world.pods[mark.pod] == Status.ENDED])
        return (*[Mark(pod, _DEAD) for pod in ended], *living)

    return World(
        tuple([world.pods[old] for old in by_what_is_said]),
        tuple([tuple([pods[old] for old in by_what_is_said]) for pods in world.past]),
        renamed(world.ledger),
        tuple(
            sorted(
                Request(new[pod], names.get(waits, -1), foreign)
                for pod, waits, foreign in world.requests
            )
        ),
        tuple(
            [
                Process(
                    number,
                    process.phase,
                    renamed(process.marks),
                    process.read_empty,
                    tuple([new[pod] for pod in process.queue]),
                    new[process.asked] if process.asked >= 0 else -1,
                    tuple(sorted([new[pod] for pod in process.refused])),
                    process.foreign,
                    tuple(sorted([new[pod] for pod in process.sent])),
                )
                for number, process in enumerate(processes)
            ]
        ),
        world.crashes,
        world.events,
    )


def _said(
    world: World, processes: Sequence[Process], names: dict[int, int]
) -> list[list[tuple[int, ...]]]:
    """All that is said about each pod, without any pod's name."""
    said: list[list[tuple[int, ...]]] = [[(status,)] for status in world.pods]
    for time, pods in enumerate(world.past):
        for pod, status in enumerate(pods):
            said[pod].append((0, time, status))
    for place, mark in enumerate(world.ledger):
        said[mark.pod].append((1, place if world.pods[mark.pod] != Status.ENDED else -1))
    for request in sorted((r.foreign, names.get(r.waits, -1), r.pod) for r in world.requests):
        said[request[2]].append((2, *request[:2]))
    for number, process in enumerate(processes):
        if process.phase is Phase.IDLE and not process.sent:
            continue
        for place, mark in enumerate(process.marks):
            living = world.pods[mark.pod] != Status.ENDED
            said[mark.pod].append((3, number, place if living else -1))
        for place, pod in enumerate(process.queue):
            said[pod].append((4, number, place))
        for pod in process.refused:
            said[pod].append((5, number))
        for pod in process.sent:
            said[pod].append((6, number))
        if process.asked >= 0:
            said[process.asked].append((7, number))
    return said


# In words, for the trace.


def _name(process: Process) -> str:
    return f"P{process.name}"


def _pod(pod: int) -> str:
    return f"pod {pod}"


@cache
def _pods(pods: Pods) -> str:
    return f"pods {', '.join(map(str, pods))}" if pods else "no pod"


@cache
def _told(marks: Marks) -> str:
    told = ", ".join(
        f"{m.pod} by P{m.instance}{' taken' * m.taken_over}{' again' * (m.attempts > 1)}"
        for m in marks
    )
    return f"[{told}]"


@cache
def _statuses(pods: Pods) -> str:
    return (
        "["
        + ", ".join(
            f"{pod} {Status(status).name.lower()}"
            for pod, status in enumerate(pods)
            if status is not Status.UNBORN
        )
        + "]"
    )
