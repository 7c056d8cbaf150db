"""Decide whether the caches may be acted on, for each kind of workload and namespace.

Three conditions forbid it: a first list that is missing, a watch that has been silent for too long,
and a list that shows far fewer objects than before. A list can be too short because it came from
the wrong server, was cut off between pages, or was made with fewer permissions; acting on it would
move replicas because of losses that never happened. (In Mutiny, DSN 2024, a quarter of the injected
faults ended in wrong numbers of replicas.)

With ``watchNamespaces`` each namespace has watches of its own, and some of them may be denied. What
is not known about one namespace, or about one kind, does not concern the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from spotalis import logs
from spotalis.kube.store import Store, key
from spotalis.kube.watch import Relist
from spotalis.model.environment import Clock

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

_COMMON = frozenset({"namespaces", "nodes", "pods", "configmaps"})
_FOR_PLACEMENT: Mapping[str, frozenset[str]] = {
    "Deployment": _COMMON | {"deployments", "replicasets"},
    "StatefulSet": _COMMON | {"statefulsets"},
    "Rollout": _COMMON | {"rollouts", "replicasets"},
}
"""The caches that placing a pod of a workload of each kind needs, by plural name."""
_FOR_MOVES: Mapping[str, frozenset[str]] = {
    kind: plurals | {"poddisruptionbudgets"} for kind, plurals in _FOR_PLACEMENT.items()
}


class CacheHealth:
    """What is known about how complete and how current the caches are."""

    def __init__(self, stores: Mapping[str, Store[Any]], clock: Clock) -> None:
        """``stores``: the caches by the plural name of their kind. Kinds may come and go."""
        self._stores = stores
        self._clock = clock
        self._suspect_lists = SuspectLists()
        self._denied: set[tuple[str, str]] = set()
        """Plural name and scope of the first lists that the API server denies."""

    def on_denied(self, plural: str, scope: str) -> None:
        """Note that the API server denies the list of a kind in a namespace."""
        if scope in self._stores[plural].pending_scopes:
            self._denied.add((plural, scope))

    def on_relist(self, plural: str, scope: str, relist: Relist[Any]) -> None:
        """Evaluate a list."""
        self._denied.discard((plural, scope))
        self._suspect_lists.on_relist(plural, scope, relist, self._clock.monotonic())

    def can_place(self, kind: str, namespace: str) -> bool:
        """Whether the lists that placing pods of this kind of workload needs have arrived."""
        return self._are_synced(_FOR_PLACEMENT[kind], namespace)

    def can_move(self, kind: str, namespace: str) -> bool:
        """Whether the lists that moving pods of this kind of workload needs have arrived."""
        return self._are_synced(_FOR_MOVES[kind], namespace)

    def denied_list(self, kind: str, namespace: str) -> str:
        """A message about a first list that is denied; empty if none is that moves need."""
        for plural, scope in sorted(self._denied):
            if plural in _FOR_MOVES[kind] and scope in ("", namespace):
                return f"the API server denies the list of {_describe(plural, scope)}"
        return ""

    def stale_watch(self, kind: str, namespace: str) -> str:
        """A message about a watch that has been silent for too long; empty if none has."""
        now = self._clock.monotonic()
        fresh_after = now - STALE_AFTER.total_seconds()
        silent = {
            plural: fresh_at
            for plural in _FOR_MOVES[kind]
            if (store := self._stores.get(plural)) is not None
            and (fresh_at := store.fresh_in(namespace)) < fresh_after
            and store.is_synced_in(namespace)
        }
        if not silent:
            return ""
        plural = min(silent, key=lambda each: (silent[each], each))
        return f"the watch of {plural} has been silent for {now - silent[plural]:.0f} s"

    def suspect_list(self, kind: str, namespace: str) -> str:
        """A message about a list from which too many objects vanished; empty if none is suspect."""
        now = self._clock.monotonic()
        return self._suspect_lists.message(_FOR_MOVES[kind], namespace, now)

    def is_settled(self) -> bool:
        """Whether each first list has arrived or is denied, and some workloads can be handled."""
        return not self.missing_lists()

    def missing_lists(self) -> list[str]:
        """The first lists that are still to be waited for: ``pods``, or ``pods in shop``.

        A list that is denied is not waited for, unless no pod at all could be placed without it.
        """
        pending = sorted(self._pending())
        waits = [each for each in pending if each not in self._denied]
        if not waits and not self._can_place_any():
            waits = pending
        return [_describe(*each) for each in waits]

    def denied_lists(self) -> list[str]:
        """The first lists that the API server denies: ``pods``, or ``pods in shop``."""
        return [_describe(*each) for each in sorted(self._denied)]

    def is_cut_off(self) -> bool:
        """Whether every watch has been silent for too long. One that still delivers is enough."""
        heard = [at for store in self._stores.values() for at in store.fresh_at_by_scope.values()]
        latest = max(heard, default=float("-inf"))
        silent = self._clock.monotonic() - latest
        return latest > float("-inf") and silent > STALE_AFTER.total_seconds()

    def _are_synced(self, plurals: frozenset[str], namespace: str) -> bool:
        found = [self._stores.get(plural) for plural in plurals]
        return all(store is not None and store.is_synced_in(namespace) for store in found)

    def _pending(self) -> Iterator[tuple[str, str]]:
        for plural, store in self._stores.items():
            scopes = store.pending_scopes if store.fresh_at_by_scope else {""}
            yield from ((plural, scope) for scope in scopes)

    def _can_place_any(self) -> bool:
        namespaces = self._stores["pods"].fresh_at_by_scope
        return any(self.can_place(kind, each) for kind in _FOR_PLACEMENT for each in namespaces)


def _is_plausible(lost: int, before: int) -> bool:
    """Whether few enough of the objects that were known before are missing."""
    return lost <= max(MIN_LOST, LOST_SHARE * before)


def _describe(plural: str, scope: str) -> str:
    return f"{plural} in {scope}" if scope else plural


class SuspectLists:
    """Lists from which many objects vanished at once, until time or a later list confirms them."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], tuple[float, str, str]] = {}
        """By kind and listed namespace: until when, the affected namespace, and a message."""

    def on_relist(self, plural: str, scope: str, relist: Relist[Any], at: float) -> None:
        """Evaluate a list; a plausible one clears an earlier suspicion about the same scope.

        If the list is plausible without one namespace, only that namespace is affected: its owner
        may have deleted the objects.

        Args:
            plural: the kind that was listed.
            scope: the namespace that was listed; empty for all.
            relist: what the list changed.
            at: monotonic seconds.
        """
        what = _describe(plural, scope)
        lost = len(relist.vanished)
        before = relist.total - relist.added + lost
        if relist.is_first or _is_plausible(lost, before):
            if self._until.pop((plural, scope), None) is not None:
                log.info("Suspect list was confirmed", resource=what)
            return
        message = (
            f"a list of {what} shows {relist.total} of {before} objects, and no delete event was "
            f"received for the other {lost}; no replica is moved until a later list agrees"
        )
        log.warning("Received suspect list", resource=what, reason=message)
        namespaces = Counter(key(gone)[0] for gone in relist.vanished)
        namespace, most = namespaces.most_common(1)[0]
        affected = namespace if _is_plausible(lost - most, before - most) else scope
        self._until[plural, scope] = (at + SUSPECT_FOR.total_seconds(), affected, message)

    def message(self, plurals: frozenset[str], namespace: str, at: float) -> str:
        """A message about a list of these kinds that is suspect now; empty if none is."""
        for (plural, scope), (until, affected, message) in tuple(self._until.items()):
            if at >= until:
                del self._until[plural, scope]
            elif plural in plurals and affected in ("", namespace):
                return message
        return ""
