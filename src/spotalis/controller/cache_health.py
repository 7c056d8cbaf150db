"""When what the stores show is not to be acted on: long unheard of, or half of it gone at once.

A list from the wrong server, one that was cut off between pages, or one made with fewer rights
shows fewer objects than there are. Whoever acts on it moves replicas because of losses that never
happened (Mutiny, DSN 2024: a quarter of its faults ended in wrong numbers of replicas).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from spotalis.kube.store import Store
from spotalis.kube.watch import Relist

logger = logging.getLogger(__name__)

SILENCE = timedelta(seconds=70)
"""So long a kind may go unheard of (safety.md D.2, L4). In a quiet cluster the longest silence is
69 s: a stream's last bookmark comes up to 3.3 s before its end, the first of the next stream 61.3 s
after that, or, where there is none, a list after 64 s and a second (decision 0018)."""
MIN_LOST = 3
LOST_SHARE = 0.1
"""What a list no longer shows, and no event deleted, is in bulk beyond so many and such a share."""
SUSPECT_FOR = timedelta(minutes=5)
"""A loss that no later list has taken back by then is believed."""


def stale_watch(stores: Mapping[str, Store[Any]], at: float) -> str:
    """Which kind has not been heard of for too long, in words; empty if none.

    Args:
        stores: by plural name; those never listed are another question's.
        at: monotonic seconds.
    """
    ages = {plural: at - store.fresh_at for plural, store in stores.items() if store.synced}
    if not ages:
        return ""
    plural = max(ages, key=lambda kind: ages[kind])
    if ages[plural] <= SILENCE.total_seconds():
        return ""
    return f"nothing has been heard of {plural} for {ages[plural]:.0f} s"


class SuspectLists:
    """Lists that lost much at once, until a later one or time confirms them."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, str]] = {}

    def on_relist(self, what: str, relist: Relist[Any], at: float) -> None:
        """Take note of a list at monotonic second ``at``; it settles what was doubted before.

        Args:
            what: was listed, in words: a kind, or a kind in one namespace. Each settles its own.
        """
        lost = len(relist.vanished)
        before = relist.total - relist.added + lost
        if relist.is_first or lost <= max(MIN_LOST, LOST_SHARE * before):
            if self._until.pop(what, None) is not None:
                logger.info("a doubted list was confirmed", extra={"fields": {"resource": what}})
            return
        words = (
            f"a list of {what} shows {relist.total} of {before}, and no event has told that the "
            f"other {lost} were deleted; nothing is moved until a later list agrees"
        )
        logger.warning("implausible list", extra={"fields": {"resource": what, "why": words}})
        self._until[what] = (at + SUSPECT_FOR.total_seconds(), words)

    def message(self, at: float) -> str:
        """What is doubted now; empty if nothing is."""
        for what, (until, words) in tuple(self._until.items()):
            if at < until:
                return words
            del self._until[what]
        return ""
