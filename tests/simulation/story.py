"""What happens in one history: a value, made from a seed, that can be printed and made smaller.

The story says what the world does; which message then meets which fate is thrown by rng of the
same seed (tests/simulation/network.py). So a seed decides everything.
"""

from __future__ import annotations

import random  # noqa: TID251  # seeded: that is the point
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A workload, and what its owner wrote."""

    kind: str
    name: str
    replicas: int
    percent: int
    floor: int
    moves: int
    patience: int
    """``spot-fallback``, in seconds."""
    budget: int | None = None
    """``maxUnavailable`` of its PodDisruptionBudget; None: it has none."""
    min_ready: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that the world does; who is meant is found at that moment, by number."""

    at: float
    what: str
    who: int = 0
    value: int = 0

    def __str__(self) -> str:
        return f"{self.at:.1f} s: {self.what} {self.who} {self.value}"


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How often a message meets which fate, each between 0 and 1; all 0: calm."""

    latency: float = 0.0
    """Longest usual way of a message, in seconds."""
    held: float = 0.0
    """Evictions and ledger writes on their way for up to a minute, whatever became of their
    sender."""
    late: float = 0.0
    """Any request, for up to ten seconds."""
    lost: float = 0.0
    unanswered: float = 0.0
    """Carried out, and nobody says so."""
    slept: float = 0.0
    """The answer is read late, as by a process that was stopped in between."""
    refused: float = 0.0
    busy: float = 0.0
    """429 with Retry-After."""
    broken: float = 0.0
    """500."""
    crash: float = 0.0
    """The process ends at this very message, before or after it is delivered."""
    away: float = 0.0
    """The webhook cannot be reached."""
    slow: float = 0.0
    """The webhook answers late, or too late."""

    @property
    def calm(self) -> bool:
        """No message is disturbed."""
        return self == Weather(latency=self.latency)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything that is not thrown by rng."""

    seed: int
    spot: int
    on_demand: int
    workloads: tuple[Owned, ...]
    operators: int = 1
    elect: bool = True
    """False: every operator believes that it leads, all the time."""
    clocks: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """Of each operator: wall clock ahead by seconds, and how fast its monotonic clock runs."""
    in_flight: int = 20
    """Evictions at once in the whole cluster."""
    weather: Weather = field(default_factory=Weather)
    steps: tuple[Step, ...] = ()
    seconds: float = 30.0
    """How long anything happens; then the faults end."""

    @property
    def disturbed(self) -> bool:
        """Anything happens to the operator itself."""
        return not self.weather.calm or any(step.what in FAULTS for step in self.steps)

    def __str__(self) -> str:
        weather = ", ".join(
            f"{one.name} {getattr(self.weather, one.name):g}"
            for one in fields(Weather)
            if getattr(self.weather, one.name)
        )
        head = (
            f"seed {self.seed}: {self.spot} spot and {self.on_demand} on-demand nodes, "
            f"{self.operators} operators{'' if self.elect else ', all leading'}, "
            f"clocks {self.clocks}, {self.in_flight} evictions at once, {self.seconds:g} s"
        )
        lines = [
            head,
            *(f"  {owned}" for owned in self.workloads),
            f"  weather: {weather or 'calm'}",
            *(f"  {step}" for step in self.steps),
        ]
        return "\n".join(lines)


WORLD = (
    "lose-node", "add-node", "warn-node", "unready-node", "scale", "percent", "floor", "rollout",
    "evict-pod", "delete-pod", "sick-pod", "budget", "pause",
)  # fmt: skip
"""What owners, providers and other controllers do."""
FAULTS = ("crash", "lag", "cut", "silence", "isolate", "garbage")
"""What happens to the operator's processes and their streams."""
OWNERS_WISHES = ("percent", "percent", "floor", "scale", "rollout")


def chaos(seed: int) -> Story:
    """A short history: two in three press the floor, one has a little of everything."""
    return pressed(seed, wavering=seed % 3 == 1) if seed % 3 else everything(seed)


def pressed(seed: int, *, wavering: bool) -> Story:
    """All replicas are to leave on-demand but for the floor, and messages take their time.

    With ``wavering`` the owner changes the percentage again and again: other slots are to go.
    """
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2))
    seconds = 25.0
    replicas = rng.randint(3, 5)
    owned = Owned(
        kind=rng.choice(("Deployment", "StatefulSet")),
        name="w0",
        replicas=replicas,
        percent=0,
        floor=rng.randint(1, replicas - 2),
        moves=rng.choice((2, 4)),
        patience=10,
    )
    shares = rng.sample((20, 34, 50, 70, 100), k=3) if wavering else [100]
    steps = [
        Step(at=1.0 + number * rng.choice((5.0, 9.0)), what="percent", value=share)
        for number, share in enumerate(shares)
    ]
    whats = rng.choices(("lag", "crash", "isolate", "silence"), k=rng.randint(0, 3))
    steps += [_step(rng, what, seconds) for what in whats]
    if rng.random() < 0.3:
        steps.append(_step(rng, rng.choice(WORLD), seconds))
    return Story(
        seed=seed,
        spot=2,
        on_demand=2,
        workloads=(owned,),
        operators=operators,
        elect=operators == 1 or rng.random() < 0.4,
        clocks=((0.0, rng.choice((1.0, 0.85))), (0.0, rng.choice((1.0, 1.2)))),
        weather=Weather(
            latency=rng.choice((0.01, 0.2)),
            held=rng.choice((0.2, 0.5, 0.8)),
            late=rng.choice((0.0, 0.05, 0.3 if wavering else 0.05)),
            unanswered=rng.choice((0.0, 0.2)),
            slept=rng.choice((0.0, 0.05, 0.3 if wavering else 0.05)),
            crash=rng.choice((0.0, 0.02, 0.05)),
            away=rng.choice((0.0, 0.0, 0.3)),
        ),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def taken(seed: int) -> Story:
    """All of spot goes, and comes back or not: fallbacks and probes, while messages go astray."""
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2))
    seconds = 50.0
    workloads = tuple(
        replace(
            _workload(rng, f"w{number}"),
            percent=rng.choice((50, 70, 100)),
            floor=rng.randint(0, 2),
            patience=rng.choice((5, 10)),
        )
        for number in range(rng.choice((1, 1, 2)))
    )
    steps = [Step(at=rng.choice((1.0, 4.0)), what="lose-spot")]
    if rng.random() < 0.7:
        steps.append(Step(at=rng.choice((14.0, 25.0)), what="add-node", value=1))
        if rng.random() < 0.4:
            steps.append(Step(at=rng.choice((30.0, 38.0)), what="lose-spot"))
    whats = rng.choices(("lag", "crash", "isolate", "silence", "cut"), k=rng.randint(0, 3))
    steps += [_step(rng, what, seconds) for what in whats]
    if rng.random() < 0.4:
        steps.append(_step(rng, rng.choice(WORLD), seconds))
    return Story(
        seed=seed,
        spot=rng.choice((1, 2)),
        on_demand=2,
        workloads=workloads,
        operators=operators,
        elect=operators == 1 or rng.random() < 0.6,
        clocks=((0.0, rng.choice((1.0, 0.85))), (0.0, rng.choice((1.0, 1.2)))),
        weather=Weather(
            latency=rng.choice((0.01, 0.2)),
            held=rng.choice((0.0, 0.2, 0.5)),
            late=rng.choice((0.0, 0.05)),
            lost=rng.choice((0.0, 0.05)),
            unanswered=rng.choice((0.0, 0.2)),
            slept=rng.choice((0.0, 0.05)),
            crash=rng.choice((0.0, 0.02, 0.05)),
            away=rng.choice((0.0, 0.0, 0.3)),
        ),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def everything(seed: int) -> Story:
    """A short history with everything in it."""
    rng = random.Random(seed)
    operators = rng.choice((1, 2, 2, 3))
    seconds = rng.choice((15.0, 25.0, 40.0))
    weather = Weather(
        latency=rng.choice((0.0, 0.01, 0.2)),
        held=rng.choice((0.0, 0.2, 0.5)),
        late=rng.choice((0.0, 0.05)),
        lost=rng.choice((0.0, 0.0, 0.05)),
        unanswered=rng.choice((0.0, 0.1, 0.3)),
        slept=rng.choice((0.0, 0.05)),
        refused=rng.choice((0.0, 0.05)),
        busy=rng.choice((0.0, 0.05)),
        broken=rng.choice((0.0, 0.05)),
        crash=rng.choice((0.0, 0.02, 0.05)),
        away=rng.choice((0.0, 0.0, 0.3)),
        slow=rng.choice((0.0, 0.0, 0.1)),
    )
    workloads = tuple(_workload(rng, f"w{n}") for n in range(rng.choice((1, 1, 2))))
    steps = [_step(rng, rng.choice(WORLD), seconds) for _ in range(rng.randint(0, 5))]
    steps += [_step(rng, rng.choice(FAULTS), seconds) for _ in range(rng.randint(0, 4))]
    # There must be something to do: most moves are away from on-demand, where the floor is.
    steps += [_step(rng, "percent", seconds / 2) for _ in range(2)]
    return Story(
        seed=seed,
        spot=rng.randint(1, 3),
        on_demand=rng.randint(1, 3),
        workloads=workloads,
        operators=operators,
        elect=operators == 1 or rng.random() < 0.7,
        clocks=tuple(
            (rng.choice((0.0, 0.0, -3.0, 5.0, 3600.0)), rng.choice((1.0, 1.0, 0.85, 1.2)))
            for _ in range(operators)
        ),
        in_flight=rng.choice((2, 20)),
        weather=weather,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def calm(seed: int) -> Story:
    """A history in which the operator is never disturbed; the world is."""
    rng = random.Random(seed)
    seconds = rng.choice((20.0, 40.0, 60.0))
    what = rng.choice((OWNERS_WISHES, WORLD))
    steps = [_step(rng, rng.choice(what), seconds) for _ in range(rng.randint(1, 5))]
    return Story(
        seed=seed,
        spot=rng.randint(1, 3),
        on_demand=rng.randint(1, 3),
        workloads=tuple(_workload(rng, f"w{n}") for n in range(rng.choice((1, 1, 2)))),
        weather=Weather(latency=rng.choice((0.0, 0.01))),
        in_flight=rng.choice((2, 20)),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
    )


def _workload(rng: random.Random, name: str) -> Owned:
    replicas = rng.randint(2, 7)
    return Owned(
        kind=rng.choice(("Deployment", "Deployment", "StatefulSet")),
        name=name,
        replicas=replicas,
        percent=rng.choice((0, 0, 30, 50, 70, 100)),
        floor=rng.randint(0, replicas),
        moves=rng.choice((1, 2, 4)),
        patience=rng.choice((5, 15)),
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
        "sick-pod": rng.choice((2, 10)),
        "pause": rng.choice((3, 8)),
    }.get(what, rng.randint(0, 1))
    at = round(rng.uniform(1.0, seconds), 1)
    return Step(at=at, what=what, who=rng.randint(0, 9), value=value)


def smaller(story: Story) -> Iterator[Story]:
    """Stories with less in them, the boldest first."""
    yield from _with_fewer_steps(story)
    yield from _with_fewer_faults(story)
    yield from _with_less_of_the_cluster(story)


def _with_fewer_steps(story: Story) -> Iterator[Story]:
    steps = story.steps
    size = len(steps)
    while size:
        for start in range(0, len(steps), size):
            yield replace(story, steps=steps[:start] + steps[start + size :])
        size //= 2


def _with_fewer_faults(story: Story) -> Iterator[Story]:
    for one in fields(Weather):
        if getattr(story.weather, one.name):
            yield replace(story, weather=replace(story.weather, **{one.name: 0.0}))
    if story.operators > 1:
        yield replace(story, operators=story.operators - 1)
    if any(clock != (0.0, 1.0) for clock in story.clocks):
        yield replace(story, clocks=((0.0, 1.0),) * len(story.clocks))


def _with_less_of_the_cluster(story: Story) -> Iterator[Story]:
    if len(story.workloads) > 1:
        for number in range(len(story.workloads)):
            rest = story.workloads[:number] + story.workloads[number + 1 :]
            yield replace(story, workloads=rest)
    for number, owned in enumerate(story.workloads):
        for less in _simpler(owned):
            workloads = (*story.workloads[:number], less, *story.workloads[number + 1 :])
            yield replace(story, workloads=workloads)
    if story.spot > 1:
        yield replace(story, spot=story.spot - 1)
    if story.on_demand > 1:
        yield replace(story, on_demand=story.on_demand - 1)


def _simpler(owned: Owned) -> Iterator[Owned]:
    if owned.budget is not None:
        yield replace(owned, budget=None)
    if owned.min_ready:
        yield replace(owned, min_ready=0)
    if owned.kind != "Deployment":
        yield replace(owned, kind="Deployment")
    if owned.replicas > 2:
        less = owned.replicas - 1
        yield replace(owned, replicas=less, floor=min(owned.floor, less))
