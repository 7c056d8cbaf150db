"""Search many histories for violations, and simplify the first that is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.simulation.history import History, simplifications
from tests.simulation.runner import Outcome, run_history
from tests.simulation.world import ModifyOperator

MAX_SHRINK_RUNS = 150
"""Maximum number of runs for simplifying one failure."""


@dataclass
class Statistics:
    """Figures of many histories."""

    histories: int = 0
    evicted: Counter[str] = field(default_factory=Counter)
    useless: Counter[int] = field(default_factory=Counter)
    """Number of histories by their number of evictions that did not improve the split."""
    floor_reached: int = 0
    crashes: int = 0
    needed_rollout: int = 0
    settled: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add the figures of one history."""
        self.histories += 1
        self.evicted += outcome.evicted
        self.useless[outcome.evicted["useless"]] += 1
        self.floor_reached += outcome.floor_reached
        self.crashes += outcome.crashes
        self.needed_rollout += outcome.needed_rollout
        self.settled.append(outcome.seconds_to_split)

    def __str__(self) -> str:
        times = sorted(self.settled) or [0.0]
        median, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        return (
            f"{self.histories} histories, {self.crashes} crashes; evictions: "
            f"{self.evicted['move']} moves, {self.evicted['fallback']} fallbacks, "
            f"{self.evicted['useless']} useless (histories by their number: "
            f"{dict(sorted(self.useless.items()))}); {self.floor_reached} left exactly the floor "
            f"ready; {self.needed_rollout} needed a rollout; exact split after "
            f"{median:.0f} s (median), {p99:.0f} s (99 %), {times[-1]:.0f} s (longest)"
        )


def search(
    generate: Callable[[int], History],
    seeds: Iterable[int],
    modify: ModifyOperator = lambda operator: None,
) -> tuple[Statistics, Outcome | None]:
    """Run histories until one has a violation. Returns it, or None."""
    statistics = Statistics()
    for seed in seeds:
        outcome = run_history(generate(seed), modify)
        if outcome.violations:
            return statistics, outcome
        statistics.add(outcome)
    return statistics, None


def check_histories(generate: Callable[[int], History], seeds: Iterable[int]) -> Statistics:
    """Run histories and assert that none has a violation.

    The AssertionError contains the simplified history and its trace.
    """
    statistics, failed = search(generate, seeds)
    assert failed is None, report(shrink(failed))
    print(statistics)
    return statistics


def shrink(failed: Outcome, modify: ModifyOperator = lambda operator: None) -> Outcome:
    """Find a simpler history with the same kind of violation."""
    kind, runs = _kind(failed), 0
    best = failed
    progress = True
    while progress and runs < MAX_SHRINK_RUNS:
        progress = False
        for history in simplifications(best.history):
            runs += 1
            outcome = run_history(history, modify)
            if outcome.violations and _kind(outcome) == kind:
                best, progress = outcome, True
                break
            if runs >= MAX_SHRINK_RUNS:
                break
    return best


def report(failed: Outcome) -> str:
    """The history, its trace and its violations."""
    return "\n".join([str(failed.history), *failed.trace, *failed.violations])


def _kind(outcome: Outcome) -> str:
    return outcome.violations[0].split(":")[0]
