"""The designs of the ledger that were thought of, built on the production functions.

Each differs from what is built by one switch, or by one wrong twin of a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.planner import ledger as production
from tests.model.ledger_world import Bounds, Design


def _withdraw_whatever_is_ours(ledger: Ledger, *, instance: str, refused: Iterable[str]) -> Ledger:
    """A refusal that forgets that another may have sent it before."""
    gone = set(refused)
    kept = (i for i in ledger.intents if i.pod not in gone or i.instance != instance)
    return msgspec.structs.replace(ledger, intents=tuple(kept))


def _authorise_unready_unweighed(
    ledger: Ledger, *, living: Set[str], floor_pods: Set[str], floor: int
) -> tuple[Intent, ...]:
    """As if a pod that is not ready now could not be ready when its eviction arrives."""
    weighed = production.authorize(ledger, living=living, floor_pods=floor_pods, floor=floor)
    unready = living - floor_pods
    return tuple(i for i in ledger.intents if i in weighed or i.pod in unready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design, the world that it is put into, and what comes of it."""

    name: str
    says: str
    design: Design
    bounds: Bounds
    states: int = 0
    """That can be reached, in none of which the floor is broken; 0: it is broken."""
    steps: int = 0
    """Of the shortest way to a broken floor."""


ONE_BATCH = Bounds(births=0, events=0)
ALONE = Bounds(processes=1, crashes=0, events=0)

CASES = (  # some 60 s of one core

    Case(
        name="A", says="counts from a cache, remembers nothing",
        design=Design(ledger=False, cached=True), bounds=ALONE, steps=8,
    ),
    Case(
        name="B", says="counts from a cache, remembers in memory what it sent; never crashes",
        design=Design(ledger=False, cached=True, remembers=True), bounds=ALONE, states=1_807,
    ),
    Case(
        name="C", says="B with one crash",
        design=Design(ledger=False, cached=True, remembers=True),
        bounds=Bounds(processes=1, crashes=1, events=0), steps=9,
    ),
    Case(
        name="D", says="counts from a quorum list, remembers in memory what it sent; never crashes",
        design=Design(ledger=False, remembers=True), bounds=ALONE, states=754,
    ),
    Case(
        name="E", says="D with one crash",
        design=Design(ledger=False, remembers=True),
        bounds=Bounds(processes=1, crashes=1, events=0), steps=9,
    ),
    Case(
        name="F", says="D with two leaders",
        design=Design(ledger=False, remembers=True),
        bounds=Bounds(crashes=0, events=0), steps=8,
    ),
    Case(
        name="I", says="J, but intents may expire by time",
        design=Design(expires=True), bounds=ONE_BATCH, steps=11,
    ),
    Case(
        name="K", says="J, but orphans are sent again without a new list",
        design=Design(resends_unlisted=True), bounds=ONE_BATCH, steps=11,
    ),
    Case(
        name="L", says="J, but a refusal may strike out what was taken over",
        design=Design(withdraw=_withdraw_whatever_is_ours), bounds=ONE_BATCH, steps=16,
    ),
    Case(
        name="M", says="J, but lists before it writes",
        design=Design(lists_first=True), bounds=ONE_BATCH, steps=12,
    ),
    Case(
        name="N", says="J, but what is not ready is sent unweighed",
        design=Design(authorize=_authorise_unready_unweighed),
        bounds=Bounds(processes=1, crashes=0, births=0), steps=13,
    ),
    Case(
        name="J", says="what is built: two leaders, any number of crashes",
        design=Design(), bounds=ONE_BATCH, states=21_702,
    ),
    Case(
        name="J-unsent", says="J, and what was written and never sent is struck at the next look",
        design=Design(drops_unsent=True), bounds=Bounds(crashes=0, births=0, events=0, batch=1),
        states=94_361,
    ),
    Case(
        name="J-unsent-1", says="the same, alone, any number of crashes",
        design=Design(drops_unsent=True), bounds=Bounds(processes=1, births=0, events=0),
        states=2_368,
    ),
    Case(
        name="J-open", says="what is built: two leaders, one pod lost to others",
        design=Design(), bounds=Bounds(crashes=0, births=0, batch=1), states=107_881,
    ),
    Case(
        name="J-strict", says="J-open, and only losses since an eviction's own list excuse it",
        design=Design(), bounds=Bounds(crashes=0, births=0, batch=2, strict=True), steps=12,
    ),
    Case(
        name="J-again", says="J-strict, with the ledger read once more after the list",
        design=Design(reads_again=True),
        bounds=Bounds(crashes=0, births=0, batch=1, strict=True), states=55_358,
    ),
    Case(
        name="J-replaced", says="what is built: any crashes, a replacement, one pod lost to others",
        design=Design(), bounds=Bounds(processes=1, batch=1), states=105_682,
    ),
    Case(
        name="J-4", says="what is built: four pods, floor two, two leaders",
        design=Design(), bounds=Bounds(pods=4, floor=2, crashes=0, births=0, events=0, batch=1),
        states=15_181,
    ),
)  # fmt: skip

LONG = (  # on demand: python -m tests.model --long

    Case(
        name="J-long-1", says="two leaders, a replacement, any crashes",
        design=Design(), bounds=Bounds(events=0), states=633_636,
    ),
    Case(
        name="J-long-unsent", says="J-unsent, two intents a turn, one crash",
        design=Design(drops_unsent=True), bounds=Bounds(births=0, events=0, crashes=1),
        states=461_445,
    ),
    Case(
        name="J-long-2", says="two leaders, one pod lost to others, any crashes",
        design=Design(), bounds=Bounds(births=0), states=238_322,
    ),
    Case(
        name="J-long-3", says="four pods, floor two, two leaders, any crashes",
        design=Design(), bounds=Bounds(pods=4, floor=2, births=0, events=0),
        states=53_901,
    ),
)  # fmt: skip
