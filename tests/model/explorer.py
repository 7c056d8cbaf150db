"""Breadth first through everything that can happen in a small world."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)


class Step(NamedTuple, Generic[State]):
    """One thing that can happen next."""

    says: str
    """In plain words, for the trace."""
    after: State
    broken: str = ""
    """What must never be and now is; empty: all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What a search has seen."""

    states: int
    steps: int
    depth: int
    """Of the state that is farthest from the beginning, in steps."""
    trace: tuple[str, ...] = ()
    """The shortest way into what must never be; empty: there is none, all was seen."""

    @property
    def clean(self) -> bool:
        """Every reachable state was seen, and nothing was broken."""
        return not self.trace


class TooManyStatesError(AssertionError):
    """The world is larger than was allowed for: nothing is shown."""


def explore(
    start: State,
    steps: Callable[[State], Iterable[Step[State]]],
    *,
    canonical: Callable[[State], State] = lambda state: state,
    limit: int = 20_000_000,
) -> Explored:
    """See every state that can be reached from ``start``, or the shortest way to a broken one.

    Args:
        start: where all begins.
        steps: what can happen next.
        canonical: one representative of all states that differ by names only.
        limit: of states; more is an error, never a result.
    """
    first = canonical(start)
    came_from: dict[State, State | None] = {first: None}
    level = [first]
    depth = taken = 0
    while level:
        following: list[State] = []
        for state in level:
            for step in steps(state):
                taken += 1
                if step.broken:
                    way = _way(state, came_from)
                    trace = tuple(_told(start, way, steps, canonical))
                    return Explored(
                        states=len(came_from), steps=taken, depth=depth + 1, trace=trace
                    )
                if step.after in came_from:
                    continue
                after = canonical(step.after)
                if after not in came_from:
                    came_from[after] = state
                    following.append(after)
        if len(came_from) > limit:
            raise TooManyStatesError(f"more than {limit:,} states at depth {depth}")
        level = following
        depth += bool(level)
    return Explored(states=len(came_from), steps=taken, depth=depth)


def _way(state: State, came_from: dict[State, State | None]) -> list[State]:
    way = [state]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    return way[::-1]


def _told(
    start: State,
    way: list[State],
    steps: Callable[[State], Iterable[Step[State]]],
    canonical: Callable[[State], State],
) -> Iterable[str]:
    """Walk the way once more with names that stay what they are, and say what happens."""
    state = start
    for wanted in way[1:]:
        step = next(s for s in steps(state) if not s.broken and canonical(s.after) == wanted)
        state = step.after
        yield step.says
    last = next(s for s in steps(state) if s.broken)
    yield f"{last.says}: {last.broken}"
