"""Decide whether the caches may be acted on.

Two conditions forbid it: a watch that has been silent for too long, and a list that shows far
fewer objects than before. A list can be too short because it came from the wrong server, was cut
off between pages, or was made with fewer permissions; acting on it would move replicas because of
losses that never happened. (In Mutiny, DSN 2024, a quarter of the injected faults ended in wrong
numbers of replicas.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from spotalis import logs
from spotalis.kube.store import Store
from spotalis.kube.watch import Relist

log = logs.get(__name__)

STALE_AFTER = timedelta(seconds=70)
"""Longest time without a message from the watch of one kind.

In a quiet cluster the longest silence is 69 s: the last bookmark of a stream arrives up to 3.3 s
before its end, and the first bookmark of the next stream after 61.3 s or, if there is none, a list
after 64 s plus a second (decision 0018).
"""
MIN_LOST = 3
LOST_SHARE = 0.1
"""A list is suspect if more objects than both of these vanished without a delete event."""
SUSPECT_FOR = timedelta(minutes=5)
"""A suspect list that no later list contradicts is trusted after this time."""


def stale_watch(stores: Mapping[str, Store[Any]], at: float) -> str:
    """A message about the watch that has been silent for too long; empty if none has.

    Args:
        stores: by plural name; those without a first list are ignored.
        at: monotonic seconds.
    """
    ages = {plural: at - store.fresh_at for plural, store in stores.items() if store.synced}
    if not ages:
        return ""
    plural = max(ages, key=lambda kind: ages[kind])
    if ages[plural] <= STALE_AFTER.total_seconds():
        return ""
    return f"the watch of {plural} has been silent for {ages[plural]:.0f} s"


class SuspectLists:
    """Lists from which many objects vanished at once, until time or a later list confirms them."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, str]] = {}

    def on_relist(self, what: str, relist: Relist[Any], at: float) -> None:
        """Evaluate a list; a plausible one clears an earlier suspicion about the same scope.

        Args:
            what: the kind that was listed, or the kind and its namespace.
            relist: what the list changed.
            at: monotonic seconds.
        """
        lost = len(relist.vanished)
        before = relist.total - relist.added + lost
        if relist.is_first or lost <= max(MIN_LOST, LOST_SHARE * before):
            if self._until.pop(what, None) is not None:
                log.info("Suspect list was confirmed", resource=what)
            return
        message = (
            f"a list of {what} shows {relist.total} of {before} objects, and no delete event was "
            f"received for the other {lost}; no replica is moved until a later list agrees"
        )
        log.warning("Received suspect list", resource=what, reason=message)
        self._until[what] = (at + SUSPECT_FOR.total_seconds(), message)

    def message(self, at: float) -> str:
        """A message about a list that is suspect now; empty if none is."""
        for what, (until, message) in tuple(self._until.items()):
            if at < until:
                return message
            del self._until[what]
        return ""
