"""Model of the eviction protocol: a workload, its ledger, and instances that evict.

The decisions are production code: ``drop_unsent``, ``authorize`` and ``withdraw`` of
``spotalis.planner.ledger``, and ``decide`` of ``spotalis.planner.decide`` for the ledger that a
reconcile writes. The rest is modelled: pods, requests that take any time, instances that
crash at any moment, and designs that were not implemented (:class:`Design`), which show the purpose
of each rule. A state is a violation if an eviction leaves fewer ready pods than the floor.

The model leaves out the following, because it adds no behaviour:

- A read of the ledger that another write has overtaken ends at once, because its own write can only
  be rejected. An empty ledger is the exception: it does not exist, so an old reader can create it.
- Nothing that affects the write can happen between reading an existing ledger and writing it.
  Therefore they are one step.
- The sender and position of an intent whose pod has ended.
- A late write is equivalent to a write in time by an instance that does not receive its response
  (``aborts the reconcile``).
- A pod that has ended cannot be evicted again, so requests for it end, and instances that wait for
  them continue.
- ``attempts`` beyond 2: the rules distinguish only one and more.
- Names: states that differ only in names of pods and instances are equivalent (``canonical``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from tests.model.explorer import SearchResult, Step, explore
from tests.model.ledger_decisions import authorized, decided, live_pods, withdrawn
from tests.model.ledger_state import (
    UNLIMITED,
    Bounds,
    Design,
    Instance,
    PackedIntent,
    PackedLedger,
    Phase,
    Pods,
    Request,
    Status,
    World,
)
from tests.model.ledger_symmetry import canonical
from tests.model.ledger_text import (
    show,
    show_ledger,
    show_pod,
    show_pods,
    show_statuses,
)


def search(design: Design, bounds: Bounds, *, by_name: bool = False) -> SearchResult:
    """Search all states that this design can reach within these bounds.

    With ``by_name``, states that differ only in names count separately.
    """
    rules = _Rules(design, bounds)
    start = World(
        pods=(Status.READY,) * bounds.pods + (Status.NOT_CREATED,) * bounds.replacements,
        past=(),
        ledger=(),
        requests=(),
        instances=tuple(Instance(name) for name in range(bounds.instances)),
        crashes=bounds.crashes,
        events=bounds.events,
    )
    if by_name:
        return explore(start, rules.steps)
    return explore(start, rules.steps, canonical=canonical)


class _Rules:
    """The transitions of one design within one set of bounds."""

    def __init__(self, design: Design, bounds: Bounds) -> None:
        self._design = design
        self._bounds = bounds

    def steps(self, world: World) -> Iterator[Step[World]]:
        yield from self._other_events(world)
        for index, request in enumerate(world.requests):
            yield from self._request_events(world, index, request)
        for index, instance in enumerate(world.instances):
            if world.crashes:
                started = Instance(max(p.name for p in world.instances) + 1)
                after = _with_instance(_stop_waiting(world, instance), index, started)
                left = world.crashes if world.crashes == UNLIMITED else world.crashes - 1
                yield Step(
                    f"{show(instance)} crashes; {show(started)} starts",
                    after._replace(crashes=left),
                )
            match instance.phase:
                case Phase.IDLE if self._design.ledger:
                    yield from self._reads(world, index, instance)
                case Phase.IDLE:
                    yield from self._lists_only(world, index, instance)
                case Phase.READ:
                    yield self._writes(world, index, instance)
                case Phase.WRITTEN:
                    yield self._lists(world, index, instance)
                    yield _abort(world, index, instance)
                case Phase.SENDING:
                    yield from self._sends(world, index, instance)
                    yield _abort(world, index, instance)
                case Phase.WAITING:
                    others = _stop_waiting(world, instance)
                    stopped = _with_instance(others, index, _continue(instance))
                    action = f"stops waiting for the eviction of {show_pod(instance.pending)}"
                    yield Step(f"{show(instance)} {action}", stopped)

    # Events without the operator.

    def _other_events(self, world: World) -> Iterator[Step[World]]:
        for pod, status in enumerate(world.pods):
            if status is Status.NOT_CREATED:
                if pod == 0 or world.pods[pod - 1] is not Status.NOT_CREATED:
                    yield self._changed(world, pod, Status.UNREADY, "is created")
            elif status is Status.UNREADY:
                yield self._changed(world, pod, Status.READY, "becomes ready")
            if world.events and status is Status.READY:
                lost = _with_loss(world)
                yield self._changed(lost, pod, Status.UNREADY, "becomes unready")
                yield self._changed(lost, pod, Status.ENDED, "is removed by others")

    def _changed(self, world: World, pod: int, status: Status, action: str) -> Step[World]:
        return Step(f"{show_pod(pod)} {action}", self._with_status(world, pod, status))

    def _with_status(self, world: World, pod: int, status: Status) -> World:
        pods = (*world.pods[:pod], status, *world.pods[pod + 1 :])
        past = (world.pods, *world.past)[:2] if self._design.cached else ()
        world = world._replace(pods=pods, past=past)
        return _without_requests(world, pod) if status is Status.ENDED else world

    def _request_events(self, world: World, index: int, request: Request) -> Iterator[Step[World]]:
        pod = show_pod(request.pod)
        ready = world.pods.count(Status.READY)
        reduces = world.pods[request.pod] is Status.READY
        floor = self._bounds.floor - request.losses
        violation = (
            f"{ready - 1} ready of {self._bounds.floor}" if reduces and ready <= floor else ""
        )
        overlapped = world
        if not self._bounds.strict:
            overlapped = _with_losses(world, lambda losses: max(losses, request.losses))
        ended = self._with_status(overlapped, request.pod, Status.ENDED)
        yield Step(f"the eviction of {pod} is performed", ended, violation)
        rest = world._replace(
            requests=(*world.requests[:index], *world.requests[index + 1 :]),
            instances=tuple(
                _continue(instance) if instance.name == request.sender else instance
                for instance in world.instances
            ),
        )
        yield Step(f"the eviction of {pod} is lost", rest)
        if request.sender >= 0:
            rejected = tuple(
                after._replace(
                    rejected=tuple(sorted((*after.rejected, request.pod))),
                    sent=tuple(
                        sent
                        for sent in after.sent
                        if sent != request.pod or self._design.drops_unsent
                    ),
                )
                if after.name == request.sender
                else after
                for after in rest.instances
            )
            yield Step(
                f"the eviction of {pod} is rejected, and I{request.sender} receives the response",
                rest._replace(instances=rejected),
            )

    # A reconcile with a ledger.

    def _reads(self, world: World, index: int, instance: Instance) -> Iterator[Step[World]]:
        ended = tuple(p for p, status in enumerate(world.pods) if status is Status.ENDED)
        written_ledgers: set[tuple[PackedLedger, Pods]] = set()
        for ledger in {world.ledger, ()} if self._design.expires else {world.ledger}:
            everything = tuple(sorted(intent.pod for intent in ledger))
            sent = instance.sent if self._design.drops_unsent else everything
            named = {intent.pod for intent in decided(ledger, instance.name, sent, (), ())}
            new = [pod for pod in live_pods(world.pods) if pod not in named]
            for size in range(0 if world.ledger else 1, self._bounds.batch + 1):
                for wanted in combinations(new, size):
                    # The cache may or may not show which pods have ended.
                    for known in {ended, ()}:
                        intents = decided(ledger, instance.name, sent, wanted, known)
                        written_ledgers.add((intents, wanted))
        for intents, wanted in written_ledgers:
            read = instance._replace(phase=Phase.READ, intents=intents, read_empty=not world.ledger)
            if self._design.lists_first:
                read = self._authorized(world, read)
            after = _with_instance(world, index, read)
            action = (
                f"{show(instance)} reads {show_ledger(world.ledger)}, wants {show_pods(wanted)}"
            )
            if world.ledger and not self._design.lists_first:
                written = self._writes(after, index, read)
                yield Step(f"{action}, writes {show_ledger(intents)}", written.after)
            else:
                yield Step(action, after)

    def _writes(self, world: World, index: int, instance: Instance) -> Step[World]:
        if instance.read_empty and world.ledger:
            return Step(
                f"{show(instance)} cannot create the ledger: it exists",
                _with_instance(world, index, _idle(instance)),
            )
        written = instance._replace(phase=Phase.WRITTEN, read_empty=False)
        again = tuple(
            intent.pod
            for intent in instance.intents
            if intent.taken_over and intent.pod in live_pods(world.pods)
        )
        if self._design.resends_unlisted and again:
            written = written._replace(phase=Phase.SENDING, intents=(), queue=again)
        if self._design.lists_first:
            written = _idle_if_done(written._replace(phase=Phase.SENDING, intents=()))
        after = _with_instance(self._with_ledger(world, instance.intents), index, written)
        return Step(f"{show(instance)} writes {show_ledger(instance.intents)}", after)

    def _lists(self, world: World, index: int, instance: Instance) -> Step[World]:
        after = self._authorized(world, instance)._replace(phase=Phase.SENDING, intents=())
        action = f"lists {show_statuses(world.pods)}, may evict {show_pods(after.queue)}"
        return Step(
            f"{show(instance)} {action}", _with_instance(world, index, _idle_if_done(after))
        )

    def _authorized(self, world: World, instance: Instance) -> Instance:
        allowed = authorized(
            self._design.authorize, instance.intents, world.pods, self._bounds.floor
        )
        living = live_pods(world.pods)
        rejected = {intent.pod for intent in instance.intents if intent.pod in living} - set(
            allowed
        )
        return instance._replace(queue=allowed, rejected=tuple(sorted(rejected)), losses=0)

    def _sends(self, world: World, index: int, instance: Instance) -> Iterator[Step[World]]:
        if not instance.queue:
            ledger = withdrawn(
                self._design.withdraw, world.ledger, instance.name, instance.rejected
            )
            after = _with_instance(self._with_ledger(world, ledger), index, _idle(instance))
            action = f"withdraws {show_pods(instance.rejected)}, leaves {show_ledger(ledger)}"
            yield Step(f"{show(instance)} {action}", after)
        elif len(world.requests) < self._bounds.in_flight:
            pod, *queue = instance.queue
            request = Request(pod, instance.name, instance.losses)
            remembers = self._design.remembers or self._design.drops_unsent
            sent = tuple(sorted({*instance.sent, pod})) if remembers else ()
            waiting = instance._replace(
                phase=Phase.WAITING, pending=pod, queue=tuple(queue), sent=sent
            )
            after = world._replace(requests=tuple(sorted((*world.requests, request))))
            yield Step(
                f"{show(instance)} sends the eviction of {show_pod(pod)}",
                _with_instance(after, index, waiting),
            )

    def _with_ledger(self, world: World, ledger: PackedLedger) -> World:
        """Write the ledger. Instances that have read an earlier version can no longer write."""
        overtaken = (Phase.READ, Phase.WRITTEN) if self._design.reads_again else (Phase.READ,)
        instances = tuple(
            _idle(instance) if instance.phase in overtaken and not instance.read_empty else instance
            for instance in world.instances
        )
        return world._replace(ledger=ledger, instances=instances)

    # A reconcile without a ledger.

    def _lists_only(self, world: World, index: int, instance: Instance) -> Iterator[Step[World]]:
        for seen in {world.pods, *world.past}:
            left = tuple(
                Status.ENDED if pod in instance.sent else status for pod, status in enumerate(seen)
            )
            for size in range(1, self._bounds.batch + 1):
                for wanted in combinations(live_pods(left), size):
                    intents = tuple(PackedIntent(pod, instance.name) for pod in wanted)
                    allowed = authorized(self._design.authorize, intents, left, self._bounds.floor)
                    # A loss that the cache does not show yet counts as a later loss.
                    late = seen != world.pods and self._bounds.events > world.events
                    after = instance._replace(phase=Phase.SENDING, queue=allowed, losses=int(late))
                    evictions = f"{show_pods(allowed)} of {show_pods(wanted)}"
                    action = f"sees {show_statuses(seen)}, may evict {evictions}"
                    yield Step(
                        f"{show(instance)} {action}",
                        _with_instance(world, index, _idle_if_done(after)),
                    )


# State changes.


def _idle(instance: Instance) -> Instance:
    return Instance(instance.name, sent=instance.sent)


def _idle_if_done(instance: Instance) -> Instance:
    """Become idle if there is nothing left to send or withdraw."""
    return instance if instance.queue or instance.rejected else _idle(instance)


def _continue(instance: Instance) -> Instance:
    return _idle_if_done(instance._replace(phase=Phase.SENDING, pending=-1))


def _abort(world: World, index: int, instance: Instance) -> Step[World]:
    """The instance no longer leads, or does not receive the response to its write."""
    return Step(
        f"{show(instance)} aborts the reconcile", _with_instance(world, index, _idle(instance))
    )


def _with_instance(world: World, index: int, instance: Instance) -> World:
    instances = (*world.instances[:index], instance, *world.instances[index + 1 :])
    return world._replace(instances=instances)


def _with_loss(world: World) -> World:
    """Count a loss by others for all instances and requests with an earlier list."""
    return _with_losses(world, lambda losses: losses + 1)._replace(events=world.events - 1)


def _with_losses(world: World, update: Callable[[int], int]) -> World:
    """Update the losses of all evictions that are authorized and not yet performed."""
    return world._replace(
        requests=tuple(
            request._replace(losses=update(request.losses)) for request in world.requests
        ),
        instances=tuple(
            instance._replace(losses=update(instance.losses)) if instance.queue else instance
            for instance in world.instances
        ),
    )


def _without_requests(world: World, pod: int) -> World:
    """Remove all requests for an ended pod; instances that wait for them continue."""
    return world._replace(
        requests=tuple(request for request in world.requests if request.pod != pod),
        instances=tuple(_without(instance, pod) for instance in world.instances),
    )


def _without(instance: Instance, pod: int) -> Instance:
    if instance.phase not in (Phase.SENDING, Phase.WAITING):
        return instance
    instance = instance._replace(
        queue=tuple(each for each in instance.queue if each != pod),
        rejected=tuple(each for each in instance.rejected if each != pod),
    )
    if instance.pending == pod:
        return _continue(instance)
    return instance if instance.phase is Phase.WAITING else _idle_if_done(instance)


def _stop_waiting(world: World, instance: Instance) -> World:
    """The instance no longer waits for the response to its request."""
    return world._replace(
        requests=tuple(
            sorted(
                request._replace(sender=-1) if request.sender == instance.name else request
                for request in world.requests
            )
        )
    )
