"""Histories: generated sequences of events in a small cluster.

A history is a value, generated from a seed; it can be printed and simplified. It states what
happens to the cluster and how often messages meet faults. A random generator with the same seed
chooses the fault of each message (tests/simulation/network.py), so the seed determines the run.
"""

from __future__ import annotations

import random  # noqa: TID251  # seeded
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True, kw_only=True)
class WorkloadSpec:
    """A workload and its policy."""

    kind: str
    name: str
    replicas: int
    percent: int
    floor: int
    moves: int
    fallback_seconds: int
    """``spot-fallback``, in seconds."""
    budget: int | None = None
    """``maxUnavailable`` of its PodDisruptionBudget; None: no budget."""
    min_ready: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """An action at a time. ``index`` selects the node, pod, workload or operator at that time."""

    at: float
    action: str
    index: int = 0
    value: int = 0

    def __str__(self) -> str:
        return f"{self.at:.1f} s: {self.action} {self.index} {self.value}"


@dataclass(frozen=True, kw_only=True)
class FaultRates:
    """Probabilities of faults of messages, between 0 and 1, and the usual latency."""

    latency: float = 0.0
    """Maximum time that a message usually takes, in seconds."""
    held: float = 0.0
    """An eviction or ledger write is delayed by up to 40 s, even if its sender crashes."""
    delayed: float = 0.0
    """Any request is delayed by up to 10 s."""
    lost: float = 0.0
    unanswered: float = 0.0
    """The request takes effect, and its response is lost."""
    reader_paused: float = 0.0
    """The response is read late, as by a process that was stopped in between."""
    refused: float = 0.0
    throttled: float = 0.0
    """The response is 429 with Retry-After."""
    server_error: float = 0.0
    """The response is 500."""
    crash: float = 0.0
    """The process crashes at this message, before or after its delivery."""
    webhook_down: float = 0.0
    """The webhook is not reachable."""
    webhook_slow: float = 0.0
    """The webhook responds late, or after the timeout."""

    @property
    def is_zero(self) -> bool:
        """Whether no message meets a fault."""
        return self == FaultRates(latency=self.latency)


@dataclass(frozen=True, kw_only=True)
class History:
    """All parameters of a run, except the random faults of single messages."""

    seed: int
    spot: int
    on_demand: int
    workloads: tuple[WorkloadSpec, ...]
    operators: int = 1
    leader_election: bool = True
    """False: every operator leads all the time."""
    clocks: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """Per operator: offset of its wall clock in seconds, and rate of its monotonic clock."""
    max_moves_in_flight: int = 20
    """Maximum number of moves in flight in the whole cluster."""
    fault_rates: FaultRates = field(default_factory=FaultRates)
    steps: tuple[Step, ...] = ()
    seconds: float = 30.0
    """Duration of the steps and faults in seconds."""

    @property
    def has_faults(self) -> bool:
        """Whether operators or their messages meet any fault."""
        return not self.fault_rates.is_zero or any(step.action in FAULTS for step in self.steps)

    def __str__(self) -> str:
        fault_rates = ", ".join(
            f"{each.name} {getattr(self.fault_rates, each.name):g}"
            for each in fields(FaultRates)
            if getattr(self.fault_rates, each.name)
        )
        head = (
            f"seed {self.seed}: {self.spot} spot and {self.on_demand} on-demand nodes, "
            f"{self.operators} operators{'' if self.leader_election else ', all leading'}, "
            f"clocks {self.clocks}, {self.max_moves_in_flight} moves in flight, "
            f"{self.seconds:g} s"
        )
        lines = [
            head,
            *(f"  {spec}" for spec in self.workloads),
            f"  faults: {fault_rates or 'none'}",
            *(f"  {step}" for step in self.steps),
        ]
        return "\n".join(lines)


CLUSTER_ACTIONS = (
    "lose-node", "add-node", "warn-node", "unready-node", "scale", "percent", "floor", "rollout",
    "evict-pod", "delete-pod", "unready-pod", "budget", "pause",
)  # fmt: skip
"""Actions of owners, cloud providers and other controllers."""
FAULTS = ("crash", "lag", "cut", "silence", "isolate", "garbage")
"""Faults of operator processes and their watches."""
OWNER_ACTIONS = ("percent", "percent", "floor", "scale", "rollout")


def chaos(seed: int) -> History:
    """A short history with faults: two in three bring the workload to its floor, one is mixed."""
    return floor_pressure(seed, wavering=seed % 3 == 1) if seed % 3 else mixed(seed)


def floor_pressure(seed: int, *, wavering: bool) -> History:
    """All replicas above the floor move to spot, while messages are delayed.

    With ``wavering`` the owner changes spot-percentage repeatedly.
    """
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2))
    seconds = 25.0
    replicas = rng.randint(3, 5)
    spec = WorkloadSpec(
        kind=rng.choice(("Deployment", "StatefulSet")),
        name="w0",
        replicas=replicas,
        percent=0,
        floor=rng.randint(1, replicas - 2),
        moves=rng.choice((2, 4)),
        fallback_seconds=10,
    )
    shares = rng.sample((20, 34, 50, 70, 100), k=3) if wavering else [100]
    steps = [
        Step(at=1.0 + number * rng.choice((5.0, 9.0)), action="percent", value=share)
        for number, share in enumerate(shares)
    ]
    faults = rng.choices(("lag", "crash", "isolate", "silence"), k=rng.randint(0, 3))
    steps += [_step(rng, fault, seconds) for fault in faults]
    if rng.random() < 0.3:
        steps.append(_step(rng, rng.choice(CLUSTER_ACTIONS), seconds))
    return History(
        seed=seed,
        spot=2,
        on_demand=2,
        workloads=(spec,),
        operators=operators,
        leader_election=operators == 1 or rng.random() < 0.4,
        clocks=((0.0, rng.choice((1.0, 0.85))), (0.0, rng.choice((1.0, 1.2)))),
        fault_rates=FaultRates(
            latency=rng.choice((0.01, 0.2)),
            held=rng.choice((0.2, 0.5, 0.8)),
            delayed=rng.choice((0.0, 0.05, 0.3 if wavering else 0.05)),
            unanswered=rng.choice((0.0, 0.2)),
            reader_paused=rng.choice((0.0, 0.05, 0.3 if wavering else 0.05)),
            crash=rng.choice((0.0, 0.02, 0.05)),
            webhook_down=rng.choice((0.0, 0.0, 0.3)),
        ),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def spot_loss(seed: int) -> History:
    """All spot nodes are lost and may return: fallbacks and probes, while messages meet faults."""
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2))
    seconds = 50.0
    workloads = tuple(
        replace(
            _workload(rng, f"w{number}"),
            percent=rng.choice((50, 70, 100)),
            floor=rng.randint(0, 2),
            fallback_seconds=rng.choice((5, 10)),
        )
        for number in range(rng.choice((1, 1, 2)))
    )
    steps = [Step(at=rng.choice((1.0, 4.0)), action="lose-spot")]
    if rng.random() < 0.7:
        steps.append(Step(at=rng.choice((14.0, 25.0)), action="add-node", value=1))
        if rng.random() < 0.4:
            steps.append(Step(at=rng.choice((30.0, 38.0)), action="lose-spot"))
    faults = rng.choices(("lag", "crash", "isolate", "silence", "cut"), k=rng.randint(0, 3))
    steps += [_step(rng, fault, seconds) for fault in faults]
    if rng.random() < 0.4:
        steps.append(_step(rng, rng.choice(CLUSTER_ACTIONS), seconds))
    return History(
        seed=seed,
        spot=rng.choice((1, 2)),
        on_demand=2,
        workloads=workloads,
        operators=operators,
        leader_election=operators == 1 or rng.random() < 0.6,
        clocks=((0.0, rng.choice((1.0, 0.85))), (0.0, rng.choice((1.0, 1.2)))),
        fault_rates=FaultRates(
            latency=rng.choice((0.01, 0.2)),
            held=rng.choice((0.0, 0.2, 0.5)),
            delayed=rng.choice((0.0, 0.05)),
            lost=rng.choice((0.0, 0.05)),
            unanswered=rng.choice((0.0, 0.2)),
            reader_paused=rng.choice((0.0, 0.05)),
            crash=rng.choice((0.0, 0.02, 0.05)),
            webhook_down=rng.choice((0.0, 0.0, 0.3)),
        ),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def mixed(seed: int) -> History:
    """A short history with all kinds of actions and faults."""
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2, 3))
    seconds = rng.choice((15.0, 25.0, 40.0))
    fault_rates = FaultRates(
        latency=rng.choice((0.0, 0.01, 0.2)),
        held=rng.choice((0.0, 0.2, 0.5)),
        delayed=rng.choice((0.0, 0.05)),
        lost=rng.choice((0.0, 0.0, 0.05)),
        unanswered=rng.choice((0.0, 0.1, 0.3)),
        reader_paused=rng.choice((0.0, 0.05)),
        refused=rng.choice((0.0, 0.05)),
        throttled=rng.choice((0.0, 0.05)),
        server_error=rng.choice((0.0, 0.05)),
        crash=rng.choice((0.0, 0.02, 0.05)),
        webhook_down=rng.choice((0.0, 0.0, 0.3)),
        webhook_slow=rng.choice((0.0, 0.0, 0.1)),
    )
    workloads = tuple(_workload(rng, f"w{n}") for n in range(rng.choice((1, 1, 2))))
    steps = [_step(rng, rng.choice(CLUSTER_ACTIONS), seconds) for _ in range(rng.randint(0, 5))]
    steps += [_step(rng, rng.choice(FAULTS), seconds) for _ in range(rng.randint(0, 4))]
    # Changes of spot-percentage cause moves, most of them from on-demand, where the floor applies.
    steps += [_step(rng, "percent", seconds / 2) for _ in range(2)]
    return History(
        seed=seed,
        spot=rng.randint(1, 3),
        on_demand=rng.randint(1, 3),
        workloads=workloads,
        operators=operators,
        leader_election=operators == 1 or rng.random() < 0.7,
        clocks=tuple(
            (rng.choice((0.0, 0.0, -3.0, 5.0, 3600.0)), rng.choice((1.0, 1.0, 0.85, 1.2)))
            for _ in range(operators)
        ),
        max_moves_in_flight=rng.choice((2, 20)),
        fault_rates=fault_rates,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def undisturbed(seed: int) -> History:
    """A history without faults of the operator."""
    rng = random.Random(seed)
    seconds = rng.choice((20.0, 40.0, 60.0))
    what = rng.choice((OWNER_ACTIONS, CLUSTER_ACTIONS))
    steps = [_step(rng, rng.choice(what), seconds) for _ in range(rng.randint(1, 5))]
    return History(
        seed=seed,
        spot=rng.randint(1, 3),
        on_demand=rng.randint(1, 3),
        workloads=tuple(_workload(rng, f"w{n}") for n in range(rng.choice((1, 1, 2)))),
        fault_rates=FaultRates(latency=rng.choice((0.0, 0.01))),
        max_moves_in_flight=rng.choice((2, 20)),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def _workload(rng: random.Random, name: str) -> WorkloadSpec:
    replicas = rng.randint(2, 7)
    return WorkloadSpec(
        kind=rng.choice(("Deployment", "Deployment", "StatefulSet")),
        name=name,
        replicas=replicas,
        percent=rng.choice((0, 0, 30, 50, 70, 100)),
        floor=rng.randint(0, replicas),
        moves=rng.choice((1, 2, 4)),
        fallback_seconds=rng.choice((5, 15)),
        budget=rng.choice((None, None, 1, 2)),
        min_ready=rng.choice((0, 0, 2)),
    )


def _step(rng: random.Random, what: str, seconds: float) -> Step:
    value = {
        "scale": rng.randint(1, 8),
        "percent": rng.choice((0, 40, 70, 70, 100)),
        "floor": rng.randint(0, 4),
        "lag": rng.choice((1, 5, 20)),
        "isolate": rng.choice((5, 12, 20)),
        "budget": rng.choice((0, 1, 2)),
        "unready-pod": rng.choice((2, 10)),
        "pause": rng.choice((3, 8)),
    }.get(what, rng.randint(0, 1))
    at = round(rng.uniform(1.0, seconds), 1)
    return Step(at=at, action=what, index=rng.randint(0, 9), value=value)


def simplifications(history: History) -> Iterator[History]:
    """Simpler variants of a history; the largest simplifications come first."""
    yield from _with_fewer_steps(history)
    yield from _with_fewer_faults(history)
    yield from _with_smaller_cluster(history)


def _with_fewer_steps(history: History) -> Iterator[History]:
    steps = history.steps
    size = len(steps)
    while size:
        for start in range(0, len(steps), size):
            yield replace(history, steps=steps[:start] + steps[start + size :])
        size //= 2


def _with_fewer_faults(history: History) -> Iterator[History]:
    for each in fields(FaultRates):
        if getattr(history.fault_rates, each.name):
            rates = replace(history.fault_rates, **{each.name: 0.0})
            yield replace(history, fault_rates=rates)
    if history.operators > 1:
        yield replace(history, operators=history.operators - 1)
    if any(clock != (0.0, 1.0) for clock in history.clocks):
        yield replace(history, clocks=((0.0, 1.0),) * len(history.clocks))


def _with_smaller_cluster(history: History) -> Iterator[History]:
    if len(history.workloads) > 1:
        for number in range(len(history.workloads)):
            rest = history.workloads[:number] + history.workloads[number + 1 :]
            yield replace(history, workloads=rest)
    for number, spec in enumerate(history.workloads):
        for less in _simpler_specs(spec):
            workloads = (*history.workloads[:number], less, *history.workloads[number + 1 :])
            yield replace(history, workloads=workloads)
    if history.spot > 1:
        yield replace(history, spot=history.spot - 1)
    if history.on_demand > 1:
        yield replace(history, on_demand=history.on_demand - 1)


def _simpler_specs(spec: WorkloadSpec) -> Iterator[WorkloadSpec]:
    if spec.budget is not None:
        yield replace(spec, budget=None)
    if spec.min_ready:
        yield replace(spec, min_ready=0)
    if spec.kind != "Deployment":
        yield replace(spec, kind="Deployment")
    if spec.replicas > 2:
        less = spec.replicas - 1
        yield replace(spec, replicas=less, floor=min(spec.floor, less))
