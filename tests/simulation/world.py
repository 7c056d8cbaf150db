"""Runs a history: an embedded cluster, and operator processes that start and crash."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from spotalis.app.build import build_operator
from spotalis.app.operator import Operator
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.virtual_time import VirtualClock
from spotalis.model.controller_configuration import (
    ControllerConfiguration,
    InterruptionBreaker,
    LeaderElection,
)
from spotalis.model.environment import Clock
from spotalis.model.nodes import NodeType
from spotalis.planner.spot_knowledge import probe_backoff
from spotalis.webhook.webhook_configuration import webhook_configuration
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.history import FaultRates, History, Step
from tests.simulation.network import FaultyTransport
from tests.simulation.oracle import (
    NAMESPACE,
    OPERATOR_NAMESPACE,
    desired_on_spot,
    is_ready,
    node_type_of,
)
from tests.support.cluster import policy, workload_body

SPLIT_TIMEOUT = 780.0
"""Maximum virtual seconds from the end of the faults to the exact split: the ten minutes for which
a storm stops moves to spot, plus three. Delays that a ledger prescribes (futile moves, probes) are
added."""
ORPHAN_TIMEOUT = 100.0
"""Seconds after which an orphaned intent may be released by a rollout."""
RECOVERY_SECONDS = 40.0
"""Time until every watch is connected again: slightly more than the longest backoff."""
CONTROLLER_SECONDS = 5.0
"""Time until the controllers of the cluster have handled lost nodes."""
QUIET_SECONDS = 35.0
"""Time without evictions after the split is reached: more than one resync."""

ModifyOperator = Callable[[Operator], None]
"""Plants a fault into a new operator."""


NEVER_UNSTABLE = InterruptionBreaker(interruptions=0)
"""The histories lose spot nodes again and again and must end with the exact split in minutes;
scenarios/test_unstable_spot.py has the breaker."""


@dataclass(frozen=True)
class SkewedClock:
    """The clock of one process: its wall clock has an offset, its monotonic clock another rate."""

    clock: Clock
    ahead: float
    rate: float

    def now(self) -> datetime:
        """The wall clock."""
        return self.clock.now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        """The monotonic clock, which is not comparable between processes."""
        return 1000.0 + self.ahead + self.clock.monotonic() * self.rate


@dataclass(kw_only=True)
class OperatorProcess:
    """An operator from start to end."""

    name: str
    operator: Operator
    transport: FaultyTransport
    task: asyncio.Task[None] = field(init=False)
    crash_scheduled: bool = False
    last_results: dict[object, str] = field(default_factory=dict)


class TraceTelemetry(Telemetry):
    """Passes results and changes of leadership to the trace."""

    def __init__(
        self, on_result: Callable[[ReconcileResult], None], log: Callable[[str], None]
    ) -> None:
        self._on_result = on_result
        self._log = log

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        self._on_result(result)

    def on_leadership_change(self, leads: bool) -> None:
        self._log("leads" if leads else "follows")


class World(SimulatedCluster):
    """The cluster and its operators."""

    def __init__(self, history: History, clock: VirtualClock, modify: ModifyOperator) -> None:
        super().__init__(history, clock, webhook=self._admit)
        self.fault_rates = history.fault_rates
        """The rates of webhook faults, and of faults of messages of new operators."""
        self.crashes = 0
        self.seconds_to_split = 0.0
        self.needed_rollout = False
        """A rollout was needed to release an orphaned intent."""
        self._modify = modify
        self._rng = random.Random(f"{history.seed}/world")
        self._processes: list[OperatorProcess | None] = [None] * history.operators
        self._started = 0

    # -- operators -------------------------------------------------------------------------------

    def start(self, slot: int) -> None:
        """Start a process in this slot if none is running there."""
        if self._processes[slot] is not None:
            return
        self._started += 1
        name = f"op{slot}.{self._started}"
        settings = ControllerConfiguration(
            identity=f"op{slot}",
            max_moves_in_flight=self.history.max_moves_in_flight,
            breaker=NEVER_UNSTABLE,
            leader_election=LeaderElection(enabled=self.history.leader_election),
        )
        excluded = settings.namespaces.excluded | {settings.namespace}
        settings = replace(settings, namespaces=replace(settings.namespaces, excluded=excluded))
        ahead, rate = self.history.clocks[slot % len(self.history.clocks)]
        transport = FaultyTransport(
            self.cluster.transport(name),
            random.Random(f"{self.history.seed}/{name}"),
            fault_rates=self.fault_rates,
            sending=lambda request: self.oracle.sending(name, operator, request),
            listed=lambda request, version: self.oracle.listed(name, request, version),
            crash=lambda why: self._schedule_crash(slot, why),
        )
        operator = build_operator(
            transport,
            settings=settings,
            clock=SkewedClock(self.clock, ahead, rate),
            rng=random.Random(f"{self.history.seed}/{name}/rng"),
            telemetry=TraceTelemetry(
                on_result=lambda result: self._on_reconcile(process, result),
                log=lambda text: self.oracle.log(f"{name}: {text}"),
            ),
        )
        self._modify(operator)
        process = OperatorProcess(name=name, operator=operator, transport=transport)
        process.task = asyncio.create_task(operator.run(), name=name)
        process.task.add_done_callback(lambda task: self._ended(process, task))
        self._processes[slot] = process
        self.oracle.log(f"{name}: starts")

    def _schedule_crash(self, slot: int, why: str) -> None:
        process = self._processes[slot]
        if process is not None and not process.crash_scheduled:
            process.crash_scheduled = True
            self._spawn(self.kill(slot, f"at {why}"))

    async def kill(self, slot: int, why: str = "") -> None:
        """Crash a process at its current await. A new process starts in its slot later."""
        process = self._processes[slot]
        if process is None:
            return
        self._processes[slot] = None
        self.crashes += 1
        self.oracle.log(f"{process.name}: crashes {why}")
        await process.transport.close()
        process.task.cancel()
        self._spawn(self._later(self._rng.choice((0.1, 2.0, 17.0)), slot))

    async def _later(self, seconds: float, slot: int) -> None:
        await asyncio.sleep(seconds)
        self.start(slot)

    def _ended(self, process: OperatorProcess, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.oracle.record_violation(f"{process.name} ended by {failure!r}")

    def _on_reconcile(self, process: OperatorProcess, result: ReconcileResult) -> None:
        text = f"{result.key}: {result.reason} {getattr(result.decision, 'message', '')}"
        text += "".join(f"; {e.move.pod.name} {e.outcome} {e.message}" for e in result.evictions)
        if process.last_results.get(result.key) != text:
            process.last_results[result.key] = text
            self.oracle.log(f"{process.name}: {text}")

    async def _admit(self, target: Mapping[str, Any], body: bytes, seconds: float) -> bytes:
        living = [p for p in self._processes if p is not None and p.operator.synced.is_set()]
        if not living or self._rng.random() < self.fault_rates.webhook_down:
            raise ConnectionRefusedError("no operator is reachable")
        if self._rng.random() < self.fault_rates.webhook_slow:
            await asyncio.sleep(self._rng.uniform(0.1, 3.0))
        return (await self._rng.choice(living).operator.admission.handle(body)).body

    @property
    def processes(self) -> list[OperatorProcess]:
        """The running processes."""
        return [process for process in self._processes if process is not None]

    # -- the run -------------------------------------------------------------------------------

    async def apply(self, action: str, *, index: int = 0, value: int = 0) -> None:
        """Perform one action of a script now."""
        await self._apply(Step(at=self.clock.monotonic(), action=action, index=index, value=value))

    async def _apply(self, step: Step) -> None:
        self.oracle.log(f"world: {step.action} {step.index} {step.value}")
        try:
            await getattr(self, "_" + step.action.replace("-", "_"))(step)
        except ApiError as refused:
            self.oracle.log(f"world: refused: {refused}")

    async def prepare(self) -> None:
        """Create nodes, the webhook, synced operators, and workloads with all pods ready."""
        names = sorted({"kube-system", OPERATOR_NAMESPACE})
        registered = webhook_configuration(
            name="spotalis", client_config={"url": "https://operator.invalid"}, excluded=names
        )
        await self.api.create("namespaces", {"metadata": {"name": OPERATOR_NAMESPACE}})
        await self.api.create("mutatingwebhookconfigurations", registered)
        await self.add_nodes(self.history.spot, self.history.on_demand)
        fault_rates, self.fault_rates = self.fault_rates, FaultRates()
        for slot in range(self.history.operators):
            self.start(slot)
        for process in self.processes:
            await process.operator.synced.wait()
        for spec in self.history.workloads:
            annotations = policy(
                spec.percent,
                spec.floor,
                max_moves_in_flight=str(spec.moves),
                spot_fallback=f"{spec.fallback_seconds}s",
            )
            body = workload_body(spec.kind, spec.name, spec.replicas, annotations)
            body["metadata"]["namespace"] = NAMESPACE
            body["spec"]["minReadySeconds"] = spec.min_ready
            if spec.kind == "StatefulSet":
                body["spec"] |= {"serviceName": spec.name, "podManagementPolicy": "Parallel"}
            await self.api.create(spec.kind.lower() + "s", body)
            if spec.budget is not None:
                await self.set_budget(spec.name, spec.budget)
        await asyncio.sleep(3.0 + max(spec.min_ready for spec in self.history.workloads))
        self.fault_rates = fault_rates
        for process in self.processes:
            process.transport.fault_rates = fault_rates

    async def run_steps(self) -> None:
        """Perform each step at its time, and wait until the end of the faults."""
        began = self.clock.monotonic()
        for step in self.history.steps:
            await asyncio.sleep(max(0.0, began + step.at - self.clock.monotonic()))
            await self._apply(step)
        await asyncio.sleep(max(0.0, began + self.history.seconds - self.clock.monotonic()))

    async def end_faults(self) -> None:
        """End all faults: messages arrive, all operators run, and the cluster has capacity."""
        self.oracle.log("the faults end")
        self.fault_rates = FaultRates(latency=self.history.fault_rates.latency)
        transports = [process.transport for process in self.processes]
        for transport in transports if self.history.has_faults else ():
            transport.clear()
        for name in sorted(self._warned & set(self.cluster.fleet.names())):
            await self.cluster.fleet.reclaim(name)
        for name in self.cluster.fleet.names():
            self.cluster.fleet.mark_ready(name)
        await self.add_nodes(1, 1)
        for name in sorted(self._unready_pods):
            self.heal(name)
        for spec in self.history.workloads:
            await self.annotate(spec.name, "paused-until", None)
            await self.set_budget(spec.name, None)
        for slot in range(self.history.operators):
            self.start(slot)
        latest = max((transport.latest for transport in transports), default=0.0)
        await asyncio.sleep(max(0.0, latest - self.clock.monotonic()))
        await asyncio.sleep(RECOVERY_SECONDS if self.history.has_faults else CONTROLLER_SECONDS)

    async def wait_for_split(self) -> float:
        """Wait for the exact split; record a violation if it is not reached or does not last."""
        began = since = self.clock.monotonic()
        while why := self.mismatch():
            since = max(since, self._delayed_until())
            waited = self.clock.monotonic() - since
            if waited > ORPHAN_TIMEOUT and not self.needed_rollout and self._has_orphan():
                self.oracle.log("world: the owner rolls out to release an orphaned intent")
                self.needed_rollout = True
                began = since = self.clock.monotonic()
                for number in range(len(self.history.workloads)):
                    await self._rollout(Step(at=0.0, action="rollout", index=number))
            if waited > SPLIT_TIMEOUT:
                self.oracle.record_violation(f"L1: after {SPLIT_TIMEOUT:g} s {why}")
                return waited
            await asyncio.sleep(1.0)
        settled = self.clock.monotonic()
        count = self.oracle.evicted.total()
        self.oracle.log("the split is exact")
        await asyncio.sleep(QUIET_SECONDS)
        if self.oracle.evicted.total() != count:
            self.oracle.record_violation("L1: an eviction followed although the split was exact")
        elif why := self.mismatch():
            self.oracle.record_violation(f"L1: the split did not last: {why}")
        return settled - began

    def _has_orphan(self) -> bool:
        """Whether an intent may have been sent and the floor forbids to resend it.

        Such an intent can be neither recalled nor dropped; it remains until its pod ends
        (docs/concepts/safety.md).
        """
        return any(
            intent.attempts > 2
            for ledger in self.oracle.ledgers.values()
            for intent in ledger.intents
        )

    def _delayed_until(self) -> float:
        """Loop time until which ledgers, or what is known about spot, delay moves."""
        ahead = max(ahead for ahead, _ in self.history.clocks)
        behind = min(ahead for ahead, _ in self.history.clocks)
        futile = [ledger.futile_until for ledger in self.oracle.ledgers.values()]
        probes = [
            record.at + probe_backoff(record.failed_probes)
            for record in self.oracle.spot_records
            if not record.found
        ]
        until = [
            (at - self.clock.now()).total_seconds() - behind + ahead
            for at in (*futile, *probes)
            if at is not None
        ]
        return self.clock.monotonic() + max(until, default=-1e9)

    def mismatch(self) -> str:
        """Describe the difference from the exact split; empty if there is none."""
        for spec in self.history.workloads:
            workload = self.workload(spec.name)
            replicas, wanted = workload["spec"]["replicas"], desired_on_spot(workload)
            pods = self.oracle.pods_of(spec.name)
            ready = [p for p in pods if is_ready(p) and not p["metadata"].get("deletionTimestamp")]
            spots = sum(node_type_of(pod) is NodeType.SPOT for pod in ready)
            if len(pods) != replicas or len(ready) != replicas or spots != wanted:
                return (
                    f"{spec.name} has {spots} on spot of {len(ready)} ready of {len(pods)}, "
                    f"wanted {wanted} of {replicas}"
                )
        for name, ledger in self.oracle.ledgers.items():
            if ledger.intents:
                return f"{name} still has intents {[intent.name for intent in ledger.intents]}"
        return ""

    # -- faults of operators ---------------------------------------------------------------------

    async def _crash(self, step: Step) -> None:
        await self.kill(step.index % self.history.operators)

    async def _lag(self, step: Step) -> None:
        if (transport := self._transport_of(step)) is not None:
            transport.lag_seconds = step.value

    async def _cut(self, step: Step) -> None:
        if (transport := self._transport_of(step)) is not None:
            transport.cut(step.index)

    async def _silence(self, step: Step) -> None:
        if (transport := self._transport_of(step)) is not None:
            transport.silence(step.index)

    async def _garbage(self, step: Step) -> None:
        if (transport := self._transport_of(step)) is not None:
            transport.garbled = True

    async def _isolate(self, step: Step) -> None:
        if (transport := self._transport_of(step)) is not None:
            transport.isolated = True
            self._spawn(self._reconnect(transport, step.value))

    async def _reconnect(self, transport: FaultyTransport, seconds: float) -> None:
        await asyncio.sleep(seconds)
        transport.isolated = False

    def _transport_of(self, step: Step) -> FaultyTransport | None:
        process = self._processes[step.index % self.history.operators]
        return None if process is None else process.transport

    async def stop(self) -> None:
        """Stop all processes and tasks."""
        tasks = [*self._tasks, *(process.task for process in self.processes)]
        self._processes = [None] * len(self._processes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
