"""Designs of the eviction protocol and the expected result of the search for each.

Each differs from the implemented design by a switch, or by a wrong variant of one function.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.planner import ledger as production
from tests.model.ledger_state import Bounds, Design


def _withdraw_all_own(ledger: Ledger, *, instance: str, refused: Iterable[str]) -> Ledger:
    """Ignores that another instance may have sent the eviction before."""
    gone = set(refused)
    kept = (i for i in ledger.intents if i.pod not in gone or i.instance != instance)
    return msgspec.structs.replace(ledger, intents=tuple(kept))


def _authorize_unready_unchecked(
    ledger: Ledger, *, live: Set[str], floor_pods: Set[str], floor: int
) -> tuple[Intent, ...]:
    """Assumes that an unready pod is still unready when its eviction arrives."""
    weighed = production.authorize(ledger, live=live, floor_pods=floor_pods, floor=floor)
    unready = live - floor_pods
    return tuple(i for i in ledger.intents if i in weighed or i.pod in unready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design, the bounds of the search, and its expected result."""

    name: str
    about: str
    design: Design
    bounds: Bounds
    states: int = 0
    """Number of states, none of which is a violation; 0: a violation is expected."""
    steps: int = 0
    """Number of steps of the shortest path to a violation."""


ONE_BATCH = Bounds(replacements=0, events=0)
ALONE = Bounds(instances=1, crashes=0, events=0)

CASES = (  # about 60 s CPU

    Case(
        name="A", about="counts from a cache, no memory",
        design=Design(ledger=False, cached=True), bounds=ALONE, steps=8,
    ),
    Case(
        name="B", about="counts from a cache, remembers sent evictions, no crash",
        design=Design(ledger=False, cached=True, remembers=True), bounds=ALONE, states=1_807,
    ),
    Case(
        name="C", about="same as B, one crash",
        design=Design(ledger=False, cached=True, remembers=True),
        bounds=Bounds(instances=1, crashes=1, events=0), steps=9,
    ),
    Case(
        name="D", about="quorum list, remembers sent evictions, no crash",
        design=Design(ledger=False, remembers=True), bounds=ALONE, states=754,
    ),
    Case(
        name="E", about="same as D, one crash",
        design=Design(ledger=False, remembers=True),
        bounds=Bounds(instances=1, crashes=1, events=0), steps=9,
    ),
    Case(
        name="F", about="same as D, two leaders",
        design=Design(ledger=False, remembers=True),
        bounds=Bounds(crashes=0, events=0), steps=8,
    ),
    Case(
        name="I", about="same as J, but intents expire",
        design=Design(expires=True), bounds=ONE_BATCH, steps=11,
    ),
    Case(
        name="K", about="same as J, but orphaned intents are sent without a new list",
        design=Design(resends_unlisted=True), bounds=ONE_BATCH, steps=11,
    ),
    Case(
        name="L", about="same as J, but a rejection removes an intent that was taken over",
        design=Design(withdraw=_withdraw_all_own), bounds=ONE_BATCH, steps=16,
    ),
    Case(
        name="M", about="same as J, but lists before the write",
        design=Design(lists_first=True), bounds=ONE_BATCH, steps=12,
    ),
    Case(
        name="N", about="same as J, but evictions of unready pods are not checked",
        design=Design(authorize=_authorize_unready_unchecked),
        bounds=Bounds(instances=1, crashes=0, replacements=0), steps=13,
    ),
    Case(
        name="J", about="implemented: two leaders, any number of crashes",
        design=Design(), bounds=ONE_BATCH, states=21_702,
    ),
    Case(
        name="J-unsent", about="same as J, and removes unsent intents in the next reconcile",
        design=Design(drops_unsent=True),
        bounds=Bounds(crashes=0, replacements=0, events=0, batch=1),
        states=94_361,
    ),
    Case(
        name="J-unsent-1", about="same as J-unsent, one instance, any number of crashes",
        design=Design(drops_unsent=True), bounds=Bounds(instances=1, replacements=0, events=0),
        states=2_368,
    ),
    Case(
        name="J-open", about="implemented: two leaders, one loss caused by others",
        design=Design(), bounds=Bounds(crashes=0, replacements=0, batch=1), states=107_881,
    ),
    Case(
        name="J-open-1", about="same as J-open, one instance, any number of crashes",
        design=Design(), bounds=Bounds(instances=1, replacements=0, batch=1), states=8_413,
    ),
    Case(
        name="J-open-2", about="same as J-open, two pods",
        design=Design(), bounds=Bounds(pods=2, crashes=0, replacements=0, batch=1), states=6_663,
    ),
    Case(
        name="J-strict", about="as J-open, but excuses only losses since an eviction's own list",
        design=Design(), bounds=Bounds(crashes=0, replacements=0, batch=2, strict=True), steps=12,
    ),
    Case(
        name="J-again", about="same as J-strict, and the ledger is read again after the list",
        design=Design(reads_again=True),
        bounds=Bounds(crashes=0, replacements=0, batch=1, strict=True), states=55_358,
    ),
    Case(
        name="J-replaced", about="implemented: any crashes, a replacement, one loss by others",
        design=Design(), bounds=Bounds(instances=1, batch=1), states=105_682,
    ),
    Case(
        name="J-replaced-0", about="same as J-replaced, no crash",
        design=Design(), bounds=Bounds(instances=1, crashes=0, batch=1), states=30_066,
    ),
    Case(
        name="J-4", about="implemented: four pods, floor 2, two leaders",
        design=Design(),
        bounds=Bounds(pods=4, floor=2, crashes=0, replacements=0, events=0, batch=1),
        states=15_181,
    ),
)  # fmt: skip

LONG = (  # python -m tests.model --long

    Case(
        name="J-long-1", about="two leaders, a replacement, any crashes",
        design=Design(), bounds=Bounds(events=0), states=633_636,
    ),
    Case(
        name="J-long-unsent", about="same as J-unsent, two intents per reconcile, one crash",
        design=Design(drops_unsent=True), bounds=Bounds(replacements=0, events=0, crashes=1),
        states=461_445,
    ),
    Case(
        name="J-long-2", about="two leaders, one loss caused by others, any crashes",
        design=Design(), bounds=Bounds(replacements=0), states=238_322,
    ),
    Case(
        name="J-long-3", about="four pods, floor 2, two leaders, any crashes",
        design=Design(), bounds=Bounds(pods=4, floor=2, replacements=0, events=0),
        states=53_901,
    ),
)  # fmt: skip
