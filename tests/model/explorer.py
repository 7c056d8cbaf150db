"""Breadth-first search through all states of a model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)


class Step(NamedTuple, Generic[State]):
    """A transition."""

    action: str
    """Description for traces."""
    after: State
    violation: str = ""
    """The property that ``after`` violates; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The result of a search."""

    states: int
    steps: int
    """Number of transitions."""
    depth: int
    """Number of steps to the state that is farthest from the initial state."""
    trace: tuple[str, ...] = ()
    """The shortest sequence of steps to a violation; empty: all states were seen without one."""

    @property
    def clean(self) -> bool:
        """Whether all reachable states were seen without a violation."""
        return not self.trace


class TooManyStatesError(AssertionError):
    """The model has more states than the limit, so the search proves nothing."""


def explore(
    start: State,
    steps: Callable[[State], Iterable[Step[State]]],
    *,
    canonical: Callable[[State], State] = lambda state: state,
    limit: int = 20_000_000,
) -> SearchResult:
    """Search all states that can be reached from ``start``, up to the first violation.

    Args:
        start: the initial state.
        steps: the transitions from a state.
        canonical: maps all states that differ only in names to the same state.
        limit: maximum number of states. The search raises TooManyStatesError beyond it.
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
                if step.violation:
                    path = _path(state, came_from)
                    trace = tuple(_actions(start, path, steps, canonical))
                    return SearchResult(
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
    return SearchResult(states=len(came_from), steps=taken, depth=depth)


def _path(state: State, came_from: dict[State, State | None]) -> list[State]:
    path = [state]
    while (before := came_from[path[-1]]) is not None:
        path.append(before)
    return path[::-1]


def _actions(
    start: State,
    path: list[State],
    steps: Callable[[State], Iterable[Step[State]]],
    canonical: Callable[[State], State],
) -> Iterable[str]:
    """Walk the path again with stable names, and describe each step."""
    state = start
    for wanted in path[1:]:
        step = next(s for s in steps(state) if not s.violation and canonical(s.after) == wanted)
        state = step.after
        yield step.action
    last = next(s for s in steps(state) if s.violation)
    yield f"{last.action}: {last.violation}"
