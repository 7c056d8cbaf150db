"""Many histories, seed by seed; the first that breaks anything is made as small as it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.simulation.story import Story, smaller
from tests.simulation.world import Altered, Outcome, play

MOST_TRIES = 150
"""Histories that shrinking may take."""


@dataclass
class Tally:
    """What many histories came to."""

    histories: int = 0
    evicted: Counter[str] = field(default_factory=Counter)
    useless: Counter[int] = field(default_factory=Counter)
    """Histories by how many evictions brought their split no nearer."""
    pressed: int = 0
    crashes: int = 0
    held: int = 0
    settled: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.histories += 1
        self.evicted += outcome.evicted
        self.useless[outcome.evicted["useless"]] += 1
        self.pressed += outcome.pressed
        self.crashes += outcome.crashes
        self.held += outcome.held
        self.settled.append(outcome.settled_after)

    def __str__(self) -> str:
        after = sorted(self.settled) or [0.0]
        half, nearly = after[len(after) // 2], after[len(after) * 99 // 100]
        return (
            f"{self.histories} histories, {self.crashes} crashes; evictions: "
            f"{self.evicted['move']} moves, {self.evicted['fallback']} fallbacks, "
            f"{self.evicted['useless']} useless (histories by their number: "
            f"{dict(sorted(self.useless.items()))}); {self.pressed} left exactly the floor; "
            f"{self.held} needed a rollout to free an orphan; exact split after "
            f"{half:.0f} s (median), {nearly:.0f} s (99 %), {after[-1]:.0f} s (longest)"
        )


def search(
    tell: Callable[[int], Story], seeds: Iterable[int], altered: Altered = lambda operator: None
) -> tuple[Tally, Outcome | None]:
    """Play story after story until one breaks something; that one, or None."""
    tally = Tally()
    for seed in seeds:
        outcome = play(tell(seed), altered)
        if outcome.broken:
            return tally, outcome
        tally.add(outcome)
    return tally, None


def unbroken(tell: Callable[[int], Story], seeds: Iterable[int]) -> Tally:
    """What histories in which nothing may break came to.

    Raises:
        AssertionError: something did; with the story, made small, and its trace.
    """
    tally, failed = search(tell, seeds)
    assert failed is None, report(shrunk(failed))
    print(tally)
    return tally


def shrunk(failed: Outcome, altered: Altered = lambda operator: None) -> Outcome:
    """The same kind of failure in a smaller story."""
    kind, tries = _kind(failed), 0
    best = failed
    progress = True
    while progress and tries < MOST_TRIES:
        progress = False
        for story in smaller(best.story):
            tries += 1
            outcome = play(story, altered)
            if outcome.broken and _kind(outcome) == kind:
                best, progress = outcome, True
                break
            if tries >= MOST_TRIES:
                break
    return best


def report(failed: Outcome) -> str:
    """A failure in full: its story, its trace and what broke."""
    return "\n".join([str(failed.story), *failed.trace, *failed.broken])


def _kind(outcome: Outcome) -> str:
    return outcome.broken[0].split(":")[0]
