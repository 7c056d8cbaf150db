"""Designs of leader election and the expected result of the search for each."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.elector_world import Bounds, Design

IMPLEMENTED = Design()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design, the bounds of the search, and its expected result."""

    name: str
    about: str
    bounds: Bounds
    design: Design = IMPLEMENTED
    states: int = 0
    """Number of states, none of which is a violation; 0: a violation is expected."""
    steps: int = 0
    """Number of steps of the shortest path to a violation."""


CASES = (  # about 7 s CPU; lease duration 3 ticks, renewal deadline 2

    Case(
        name="even", about="three instances, equal clocks, one crash",
        bounds=Bounds(clocks=(1, 1, 1), restarts=1), states=17_625,
    ),
    Case(
        name="released", about="two instances, equal clocks, one crash, any release",
        bounds=Bounds(clocks=(1, 1), restarts=1, releases=True), states=6_191,
    ),
    Case(
        name="apart", about="clock rates 2:3:3",
        bounds=Bounds(clocks=(2, 3, 3), tick=2), states=9_840,
    ),
    Case(
        name="apart-fine", about="clock rates 2:3, six units per tick",
        bounds=Bounds(clocks=(2, 3), tick=6), states=6_959,
    ),
    Case(
        name="slow", about="clock rates 2:3, one crash, delayed responses",
        bounds=Bounds(clocks=(2, 3), tick=2, restarts=1, slow_answers=True), states=5_175,
    ),
    Case(
        name="1:2", about="clock rates 1:2, a larger ratio than lease duration to deadline",
        bounds=Bounds(clocks=(1, 2), tick=3), steps=10,
    ),
    Case(
        name="answer", about="leads from the response on, not from the start of the renewal",
        design=Design(counts_from_answer=True),
        bounds=Bounds(clocks=(1, 1), slow_answers=True), steps=11,
    ),
    Case(
        name="lease-even", about="leads for the whole lease duration, equal clocks",
        design=Design(leads_for_lease=True), bounds=Bounds(clocks=(1, 1), tick=3), states=7_264,
    ),
    Case(
        name="lease", about="leads for the whole lease duration, clock rates 2:3",
        design=Design(leads_for_lease=True), bounds=Bounds(clocks=(2, 3), tick=6), steps=12,
    ),
    Case(
        name="release", about="releases the Lease before it stops leading",
        design=Design(releases_first=True),
        bounds=Bounds(clocks=(1, 1), releases=True), steps=6,
    ),
    Case(
        name="twins", about="two instances with the same identity",
        design=Design(twins=2), bounds=Bounds(clocks=(1, 1)), steps=4,
    ),
)  # fmt: skip

LONG = (  # python -m tests.model --long

    Case(
        name="even-long", about="three instances, equal clocks, one crash, any release",
        bounds=Bounds(clocks=(1, 1, 1), restarts=1, releases=True), states=63_522,
    ),
    Case(
        name="even-fine", about="three instances, equal clocks, three units per tick",
        bounds=Bounds(clocks=(1, 1, 1), tick=3), states=70_474,
    ),
    Case(
        name="233-fine", about="clock rates 2:3:3, six units per tick",
        bounds=Bounds(clocks=(2, 3, 3), tick=6), states=103_131,
    ),
    Case(
        name="233", about="clock rates 2:3:3, one crash, any release",
        bounds=Bounds(clocks=(2, 3, 3), tick=2, restarts=1, releases=True), states=124_729,
    ),
    Case(
        name="223", about="clock rates 2:2:3, one crash, any release",
        bounds=Bounds(clocks=(2, 2, 3), tick=2, restarts=1, releases=True), states=150_470,
    ),
)  # fmt: skip
