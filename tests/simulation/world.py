"""One history, played: the embedded cluster, operator processes that come and go, and a story."""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251  # seeded
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from spotalis.app.build import build_operator
from spotalis.app.operator import Operator
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.controllers.kubelet import READY
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError as Refused
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.client import ApiError, PatchType
from spotalis.model.controller_configuration import ControllerConfiguration, LeaderElection
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX
from spotalis.model.transport import TransportError
from spotalis.webhook.webhook_configuration import webhook_configuration
from tests.simulation.network import Line
from tests.simulation.oracle import (
    HOME,
    NAMESPACE,
    Oracle,
    class_of,
    is_ready,
    wanted_on_spot,
)
from tests.simulation.story import Step, Story, Weather
from tests.support.cluster import policy, workload_body

SETTLES_WITHIN = 780.0
"""Virtual seconds from the end of the faults to the exact split: the ten minutes that moves to spot
rest after a storm, and three; what a ledger itself puts off
(futile moves, probes) comes on top."""
HELD_AFTER = 100.0
RECOVERS_WITHIN = 40.0
"""Until every watch is up again: the longest backoff, and a little."""
CONTROLLERS_WITHIN = 5.0
"""Until the cluster's own controllers have dealt with nodes that were taken."""
QUIET_SECONDS = 35.0
"""How long nothing may be evicted then: more than one resync."""

Altered = Callable[[Operator], None]
"""Plants a fault into an operator just made."""


@dataclass(kw_only=True)
class Outcome:
    """What came of a history."""

    story: Story
    broken: list[str]
    trace: list[str]
    evicted: Counter[str]
    settled_after: float = 0.0
    """Virtual seconds from the end of the faults to the exact split."""
    pressed: int = 0
    """How often an eviction left exactly the floor."""
    crashes: int = 0
    held: bool = False
    """An orphan kept its place in a ledger until its owner rolled out."""


@dataclass(frozen=True)
class SkewedClock:
    """A process's own clock: its wall clock ahead, its monotonic clock faster or slower."""

    clock: Clock
    ahead: float
    rate: float

    def now(self) -> datetime:
        """Wall clock."""
        return self.clock.now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        """Never agrees with another process's."""
        return 1000.0 + self.ahead + self.clock.monotonic() * self.rate


@dataclass(kw_only=True)
class Process:
    """One operator, from its start to its end."""

    name: str
    operator: Operator
    line: Line
    running: asyncio.Task[None] = field(init=False)
    doomed: bool = False
    said: dict[object, str] = field(default_factory=dict)


class _Recorder(Telemetry):
    """Passes results and changes of leadership to the world."""

    def __init__(
        self, on_result: Callable[[ReconcileResult], None], say: Callable[[str], None]
    ) -> None:
        self._on_result = on_result
        self._say = say

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        self._on_result(result)

    def on_leadership_change(self, leads: bool) -> None:
        self._say("leads" if leads else "follows")


class World:
    """A cluster and the operators on it."""

    def __init__(self, story: Story, clock: VirtualClock, altered: Altered) -> None:
        self.story = story
        self.clock = clock
        self._altered = altered
        self._dice = random.Random(f"{story.seed}/world")
        self._weather: Weather = story.weather
        self._processes: list[Process | None] = [None] * story.operators
        self._started = 0
        self.crashes = 0
        self.settled_after = 0.0
        self.held = False
        """The ledger held what only a rollout freed."""
        self._chores: set[asyncio.Task[None]] = set()
        self._sick: set[tuple[str, str]] = set()
        self._warned: set[str] = set()
        self.cluster = EmbeddedCluster(
            clock=clock, rng=random.Random(f"{story.seed}/cluster"), webhook=self._review
        )
        self.api = self.cluster.api
        self.oracle = Oracle(story, self.cluster, clock.monotonic)

    # -- operators -------------------------------------------------------------------------------

    def start(self, slot: int) -> None:
        """A new process in this slot, if none lives there."""
        if self._processes[slot] is not None:
            return
        self._started += 1
        name = f"op{slot}.{self._started}"
        settings = ControllerConfiguration(
            identity=f"op{slot}",
            max_moves_in_flight=self.story.in_flight,
            leader_election=LeaderElection(enabled=self.story.elect),
        )
        excluded = settings.namespaces.excluded | {settings.namespace}
        settings = replace(settings, namespaces=replace(settings.namespaces, excluded=excluded))
        ahead, rate = self.story.clocks[slot % len(self.story.clocks)]
        line = Line(
            self.cluster.transport(name),
            random.Random(f"{self.story.seed}/{name}"),
            weather=self._weather,
            sending=lambda request: self.oracle.sending(name, operator, request),
            listed=lambda request, version: self.oracle.listed(name, request, version),
            crash=lambda why: self._doom(slot, why),
        )
        operator = build_operator(
            line,
            settings=settings,
            clock=SkewedClock(self.clock, ahead, rate),
            rng=random.Random(f"{self.story.seed}/{name}/rng"),
            telemetry=_Recorder(
                on_result=lambda result: self._turned(process, result),
                say=lambda text: self.oracle.say(f"{name}: {text}"),
            ),
        )
        self._altered(operator)
        process = Process(name=name, operator=operator, line=line)
        process.running = asyncio.create_task(operator.run(), name=name)
        process.running.add_done_callback(lambda task: self._ended(process, task))
        self._processes[slot] = process
        self.oracle.say(f"{name}: starts")

    def _doom(self, slot: int, why: str) -> None:
        process = self._processes[slot]
        if process is not None and not process.doomed:
            process.doomed = True
            self._chore(self.kill(slot, f"at {why}"))

    async def kill(self, slot: int, why: str = "") -> None:
        """End a process at whatever it waits for; another starts in its place after a while."""
        process = self._processes[slot]
        if process is None:
            return
        self._processes[slot] = None
        self.crashes += 1
        self.oracle.say(f"{process.name}: crashes {why}")
        await process.line.close()
        process.running.cancel()
        self._chore(self._later(self._dice.choice((0.1, 2.0, 17.0)), slot))

    async def _later(self, seconds: float, slot: int) -> None:
        await asyncio.sleep(seconds)
        self.start(slot)

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.oracle.accuse(f"{process.name} ended by {failure!r}")

    def _turned(self, process: Process, turn: ReconcileResult) -> None:
        words = f"{turn.key}: {turn.reason} {getattr(turn.decision, 'message', '')}"
        words += "".join(f"; {e.move.pod.name} {e.outcome} {e.message}" for e in turn.evictions)
        if process.said.get(turn.key) != words:
            process.said[turn.key] = words
            self.oracle.say(f"{process.name}: {words}")

    async def _review(self, target: Mapping[str, Any], body: bytes, seconds: float) -> bytes:
        living = [p for p in self._processes if p is not None and p.operator.synced.is_set()]
        if not living or self._dice.random() < self._weather.away:
            raise ConnectionRefusedError("no operator can be reached")
        if self._dice.random() < self._weather.slow:
            await asyncio.sleep(self._dice.uniform(0.1, 3.0))
        return await self._dice.choice(living).operator.admission.handle(body)

    @property
    def living(self) -> list[Process]:
        """Processes that run."""
        return [process for process in self._processes if process is not None]

    # -- the story -------------------------------------------------------------------------------

    async def take(self, what: str, *, who: int = 0, value: int = 0) -> None:
        """One step of a script, now."""
        await self._take(Step(at=self.clock.monotonic(), what=what, who=who, value=value))

    async def prepare(self) -> None:
        """Nodes, the webhook, operators that are in, workloads with all their pods ready."""
        names = sorted({"kube-system", HOME})
        registered = webhook_configuration(
            name="spotalis", client_config={"url": "https://operator.invalid"}, excluded=names
        )
        await self.api.create("namespaces", {"metadata": {"name": HOME}})
        await self.api.create("mutatingwebhookconfigurations", registered)
        await self._add_nodes(self.story.spot, self.story.on_demand)
        weather, self._weather = self._weather, Weather()
        for slot in range(self.story.operators):
            self.start(slot)
        for process in self.living:
            await process.operator.synced.wait()
        for owned in self.story.workloads:
            annotations = policy(
                owned.percent,
                owned.floor,
                max_moves_in_flight=str(owned.moves),
                spot_fallback=f"{owned.patience}s",
            )
            body = workload_body(owned.kind, owned.name, owned.replicas, annotations)
            body["metadata"]["namespace"] = NAMESPACE
            body["spec"]["minReadySeconds"] = owned.min_ready
            if owned.kind == "StatefulSet":
                body["spec"] |= {"serviceName": owned.name, "podManagementPolicy": "Parallel"}
            await self.api.create(owned.kind.lower() + "s", body)
            if owned.budget is not None:
                await self._set_budget(owned.name, owned.budget)
        await asyncio.sleep(3.0 + max(owned.min_ready for owned in self.story.workloads))
        self._weather = weather
        for process in self.living:
            process.line.weather = weather

    async def play(self) -> None:
        """The steps, each at its time; then the faults end."""
        began = self.clock.monotonic()
        for step in self.story.steps:
            await asyncio.sleep(max(0.0, began + step.at - self.clock.monotonic()))
            await self._take(step)
        await asyncio.sleep(max(0.0, began + self.story.seconds - self.clock.monotonic()))

    async def clear_up(self) -> None:
        """The faults end: every message arrives, every process lives, the cluster has room."""
        self.oracle.say("the faults end")
        self._weather = Weather(latency=self.story.weather.latency)
        lines = [process.line for process in self.living]
        for line in lines if self.story.disturbed else ():
            line.clear()
        for name in sorted(self._warned & set(self.cluster.fleet.names())):
            await self.cluster.fleet.reclaim(name)
        for name in self.cluster.fleet.names():
            self.cluster.fleet.mark_ready(name)
        await self._add_nodes(1, 1)
        for namespace, name in sorted(self._sick):
            self._heal(namespace, name)
        for owned in self.story.workloads:
            await self._annotate(owned.name, "paused-until", None)
            await self._set_budget(owned.name, None)
        for slot in range(self.story.operators):
            self.start(slot)
        latest = max((line.latest for line in lines), default=0.0)
        await asyncio.sleep(max(0.0, latest - self.clock.monotonic()))
        await asyncio.sleep(RECOVERS_WITHIN if self.story.disturbed else CONTROLLERS_WITHIN)

    async def settle(self) -> float:
        """Wait until all is as it should be; accuse if it does not come to that."""
        began = since = self.clock.monotonic()
        while why := self.unsettled():
            since = max(since, self._put_off())
            waited = self.clock.monotonic() - since
            if waited > HELD_AFTER and not self.held and self._is_held():
                self.oracle.say("world: the owner rolls out, to free what the ledger holds")
                self.held = True
                began = since = self.clock.monotonic()
                for number in range(len(self.story.workloads)):
                    await self._rollout(Step(at=0.0, what="rollout", who=number))
            if waited > SETTLES_WITHIN:
                self.oracle.accuse(f"L1: after {SETTLES_WITHIN:g} s {why}")
                return waited
            await asyncio.sleep(1.0)
        settled = self.clock.monotonic()
        count = self.oracle.evicted.total()
        self.oracle.say("all is as it should be")
        await asyncio.sleep(QUIET_SECONDS)
        if self.oracle.evicted.total() != count:
            self.oracle.accuse("L1: an eviction came after all was as it should be")
        elif why := self.unsettled():
            self.oracle.accuse(f"L1: it did not last: {why}")
        return settled - began

    def _is_held(self) -> bool:
        """An eviction that may have been sent, and that the floor forbids to send again, can
        neither be recalled nor forgotten: it keeps its place until its pod goes (safety.md D.4,
        the price of design J)."""
        return any(
            intent.attempts > 2
            for ledger in self.oracle.ledgers.values()
            for intent in ledger.intents
        )

    def _put_off(self) -> float:
        """Loop time until which a ledger rests by its own rule."""
        ahead = max(ahead for ahead, _ in self.story.clocks)
        behind = min(ahead for ahead, _ in self.story.clocks)
        until = [
            (at - self.clock.now()).total_seconds() - behind + ahead
            for ledger in self.oracle.ledgers.values()
            for at in (ledger.futile_until, ledger.next_probe_at)
            if at is not None
        ]
        return self.clock.monotonic() + max(until, default=-1e9)

    def unsettled(self) -> str:
        """What is not as it should be, in words."""
        for owned in self.story.workloads:
            workload = self.workload(owned.name)
            replicas, wanted = workload["spec"]["replicas"], wanted_on_spot(workload)
            pods = self.oracle.pods_of(owned.name)
            ready = [p for p in pods if is_ready(p) and not p["metadata"].get("deletionTimestamp")]
            spots = sum(class_of(pod) is NodeType.SPOT for pod in ready)
            if len(pods) != replicas or len(ready) != replicas or spots != wanted:
                return (
                    f"{owned.name} has {spots} on spot of {len(ready)} ready of {len(pods)}, "
                    f"wanted {wanted} of {replicas}"
                )
        for name, ledger in self.oracle.ledgers.items():
            if ledger.intents:
                return f"{name} still means {[intent.name for intent in ledger.intents]}"
        return ""

    # -- steps -----------------------------------------------------------------------------------

    async def _take(self, step: Step) -> None:
        self.oracle.say(f"world: {step.what} {step.who} {step.value}")
        try:
            await getattr(self, "_" + step.what.replace("-", "_"))(step)
        except Refused as refused:
            self.oracle.say(f"world: refused: {refused}")

    def _pick(self, names: list[str], step: Step) -> str | None:
        return names[step.who % len(names)] if names else None

    def _workload_of(self, step: Step) -> str:
        return self.story.workloads[step.who % len(self.story.workloads)].name

    async def _lose_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            await self.cluster.fleet.reclaim(name)

    async def _lose_spot(self, step: Step) -> None:
        for name in self.cluster.fleet.names(NodeType.SPOT):
            await self.cluster.fleet.reclaim(name)

    async def _add_node(self, step: Step) -> None:
        await self._add_nodes(step.value, 1 - step.value)

    async def _warn_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            self._warned.add(name)
            await self.cluster.fleet.announce_reclaim(name)

    async def _unready_node(self, step: Step) -> None:
        if name := self._pick(self.cluster.fleet.names(), step):
            self.cluster.fleet.mark_not_ready(name)

    async def _scale(self, step: Step) -> None:
        await self._change(self._workload_of(step), {"spec": {"replicas": step.value}})

    async def _percent(self, step: Step) -> None:
        await self._annotate(self._workload_of(step), "spot-percentage", str(step.value))

    async def _floor(self, step: Step) -> None:
        await self._annotate(self._workload_of(step), "min-on-demand", str(step.value))

    async def _pause(self, step: Step) -> None:
        name = self._workload_of(step)
        await self._annotate(name, "paused-until", "forever")
        self._chore(self._resume(name, step.value))

    async def _resume(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._annotate(name, "paused-until", None)

    async def _rollout(self, step: Step) -> None:
        stamp = {"metadata": {"annotations": {"rolled": f"{self.clock.monotonic():g}"}}}
        await self._change(self._workload_of(step), {"spec": {"template": stamp}})

    async def _evict_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            await self.api.evict(NAMESPACE, name, user="somebody")

    async def _delete_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            await self.api.delete("pods", NAMESPACE, name, user="somebody")

    async def _sick_pod(self, step: Step) -> None:
        if name := self._pick(self._pods(step), step):
            self._sick.add((NAMESPACE, name))
            self._mark(NAMESPACE, name, "never")
            self._chore(self._recover(name, step.value))

    async def _recover(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._heal(NAMESPACE, name)

    async def _budget(self, step: Step) -> None:
        await self._set_budget(self._workload_of(step), step.value)

    async def _set_budget(self, name: str, at_most: int | None) -> None:
        held = self.cluster.store.get("poddisruptionbudgets", NAMESPACE, name)
        if held is not None:
            await self.api.delete("poddisruptionbudgets", NAMESPACE, name)
        if at_most is None:
            return
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": {"app": name}}, "maxUnavailable": at_most},
        }
        await self.api.create("poddisruptionbudgets", body)

    async def _crash(self, step: Step) -> None:
        await self.kill(step.who % self.story.operators)

    async def _lag(self, step: Step) -> None:
        if (line := self._line(step)) is not None:
            line.lag_seconds = step.value

    async def _cut(self, step: Step) -> None:
        if (line := self._line(step)) is not None:
            line.cut(step.who)

    async def _silence(self, step: Step) -> None:
        if (line := self._line(step)) is not None:
            line.silence(step.who)

    async def _garbage(self, step: Step) -> None:
        if (line := self._line(step)) is not None:
            line.garbled = True

    async def _isolate(self, step: Step) -> None:
        if (line := self._line(step)) is not None:
            line.isolated = True
            self._chore(self._reconnect(line, step.value))

    async def _reconnect(self, line: Line, seconds: float) -> None:
        await asyncio.sleep(seconds)
        line.isolated = False

    def _line(self, step: Step) -> Line | None:
        process = self._processes[step.who % self.story.operators]
        return None if process is None else process.line

    # -- the cluster -----------------------------------------------------------------------------

    def workload(self, name: str) -> Object:
        """The workload as it is now."""
        kind = next(owned.kind for owned in self.story.workloads if owned.name == name)
        found = self.cluster.store.get(kind.lower() + "s", NAMESPACE, name)
        assert found is not None
        return found

    def _pods(self, step: Step) -> list[str]:
        pods = self.oracle.pods_of(self._workload_of(step))
        return [
            pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        ]

    async def _add_nodes(self, spot: int, on_demand: int) -> None:
        await self.cluster.fleet.add(spot=spot, on_demand=on_demand, cpu="8", memory="32Gi")

    async def _annotate(self, name: str, key: str, value: str | None) -> None:
        await self._change(name, {"metadata": {"annotations": {PREFIX + key: value}}})

    async def _change(self, name: str, patch: Object) -> None:
        kind = next(owned.kind for owned in self.story.workloads if owned.name == name)
        merge = PatchType.MERGE.value
        await self.api.patch(kind.lower() + "s", NAMESPACE, name, patch, patch_type=merge)

    def _mark(self, namespace: str, name: str, value: str) -> None:
        pod = self.cluster.store.get("pods", namespace, name)
        if pod is None:
            return
        metadata = pod["metadata"]
        metadata = {
            **metadata,
            "annotations": {**(metadata.get("annotations") or {}), READY: value},
        }
        self.cluster.store.put("pods", {**pod, "metadata": metadata})

    def _heal(self, namespace: str, name: str) -> None:
        self._sick.discard((namespace, name))
        self._mark(namespace, name, "0")

    def _chore(self, what: Any) -> None:
        task = asyncio.create_task(what)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def stop(self) -> None:
        """End every process and chore."""
        tasks = [*self._chores, *(process.running for process in self.living)]
        self._processes = [None] * len(self._processes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Bugs(logging.Handler):
    """What the operator itself calls an error, but for answers that the faults gave it."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, ApiError | TransportError):
            self._oracle.accuse(f"a bug: {record.getMessage()}: {error!r}")


Script = Callable[[World], Awaitable[None]]


def play(story: Story, altered: Altered = lambda operator: None) -> Outcome:
    """Play a story to its end: its steps, the end of the faults, the exact split, and quiet."""

    async def whole(world: World) -> None:
        await world.play()
        await world.clear_up()
        if not world.oracle.broken:
            world.settled_after = await world.settle()

    return enact(story, whole, altered)


def enact(story: Story, script: Script, altered: Altered = lambda operator: None) -> Outcome:
    """Let a script act on a story's world, once all its pods are ready."""

    async def history(clock: VirtualClock) -> Outcome:
        world = World(story, clock, altered)
        bugs = _Bugs(world.oracle)
        logger = logging.getLogger("spotalis")
        logger.addHandler(bugs)
        try:
            async with world.cluster:
                await world.prepare()
                try:
                    await script(world)
                finally:
                    await world.stop()
        finally:
            logger.removeHandler(bugs)
        return Outcome(
            story=story,
            broken=world.oracle.broken,
            trace=world.oracle.trace,
            evicted=world.oracle.evicted,
            settled_after=world.settled_after,
            pressed=world.oracle.floor_pressed,
            crashes=world.crashes,
            held=world.held,
        )

    return run(history)
