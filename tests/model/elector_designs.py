"""The elector in small worlds: what is built within what is promised, and what lies outside."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.elector_world import Bounds, Design

BUILT = Design()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design, the world that it is put into, and what comes of it."""

    name: str
    says: str
    bounds: Bounds
    design: Design = BUILT
    states: int = 0
    """That can be reached, in none of which two lead at once; 0: in one they do."""
    steps: int = 0
    """Of the shortest way to two that lead at once."""


CASES = (  # some 7 s of one core; lease 3 ticks, renewal deadline 2

    Case(
        name="even", says="three replicas, clocks alike, one crash",
        bounds=Bounds(clocks=(1, 1, 1), restarts=1), states=17_625,
    ),
    Case(
        name="released", says="two replicas, clocks alike, one crash, any release",
        bounds=Bounds(clocks=(1, 1), restarts=1, releases=True), states=6_191,
    ),
    Case(
        name="apart", says="one clock is slower by 2:3, two fast ones wait for it",
        bounds=Bounds(clocks=(2, 3, 3), tick=2), states=9_840,
    ),
    Case(
        name="apart-fine", says="two clocks at 2:3, six units a tick",
        bounds=Bounds(clocks=(2, 3), tick=6), states=6_959,
    ),
    Case(
        name="slow", says="answers travel too",
        bounds=Bounds(clocks=(2, 3), tick=2, restarts=1, slow_answers=True), states=5_175,
    ),
    Case(
        name="1:2", says="clocks further apart than lease and deadline are",
        bounds=Bounds(clocks=(1, 2), tick=3), steps=10,
    ),
    Case(
        name="answer", says="leads from the answer on, not from the start of the renewal",
        design=Design(counts_from_answer=True),
        bounds=Bounds(clocks=(1, 1), slow_answers=True), steps=11,
    ),
    Case(
        name="lease-even", says="leads for the whole lease: enough where clocks are alike",
        design=Design(leads_for_lease=True), bounds=Bounds(clocks=(1, 1), tick=3), states=7_264,
    ),
    Case(
        name="lease", says="leads for the whole lease, clocks at 2:3",
        design=Design(leads_for_lease=True), bounds=Bounds(clocks=(2, 3), tick=6), steps=12,
    ),
    Case(
        name="release", says="gives the Lease back before it ceases to lead",
        design=Design(releases_first=True),
        bounds=Bounds(clocks=(1, 1), releases=True), steps=6,
    ),
    Case(
        name="twins", says="two processes of one name",
        design=Design(twins=2), bounds=Bounds(clocks=(1, 1)), steps=4,
    ),
)  # fmt: skip

LONG = (  # on demand: python -m tests.model --long

    Case(
        name="even-long", says="three replicas, clocks alike, one crash, any release",
        bounds=Bounds(clocks=(1, 1, 1), restarts=1, releases=True), states=63_522,
    ),
    Case(
        name="even-fine", says="three replicas, clocks alike, three units a tick",
        bounds=Bounds(clocks=(1, 1, 1), tick=3), states=70_474,
    ),
    Case(
        name="233-fine", says="one slow clock, two fast ones, six units a tick",
        bounds=Bounds(clocks=(2, 3, 3), tick=6), states=103_131,
    ),
    Case(
        name="233", says="one slow clock, two fast ones, one crash, any release",
        bounds=Bounds(clocks=(2, 3, 3), tick=2, restarts=1, releases=True), states=124_729,
    ),
    Case(
        name="223", says="two slow clocks, a fast one, one crash, any release",
        bounds=Bounds(clocks=(2, 2, 3), tick=2, restarts=1, releases=True), states=150_470,
    ),
)  # fmt: skip
