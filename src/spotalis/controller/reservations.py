"""Pods admitted and not yet seen: what keeps a burst exact (behaviour.md 2)."""

from __future__ import annotations

from spotalis.model.environment import Clock
from spotalis.planner.observed import Reservation

LIFETIME_SECONDS = 30.0
"""A pod that was not seen by then was refused after us (quota, another webhook)."""


class Reservations:
    """One book for all workloads, by the owner that makes the pods, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_owner: dict[str, dict[str, tuple[float, Reservation]]] = {}

    def of(self, owner: str) -> tuple[Reservation, ...]:
        """The open reservations of an owner; those past their time are dropped on the way."""
        book = self._by_owner.get(owner)
        if not book:
            return ()
        oldest_valid = self._clock.monotonic() - LIFETIME_SECONDS
        for request_uid in [r for r, (made, _) in book.items() if made < oldest_valid]:
            self._drop(owner, request_uid)
        return tuple(reservation for _, reservation in self._by_owner.get(owner, {}).values())

    def add(self, reservation: Reservation) -> None:
        """Count this pod from now on; it takes the place of an earlier one of the same name."""
        book = self._by_owner.setdefault(reservation.owner, {})
        for request_uid in [
            r for r, (_, other) in book.items() if other.name == reservation.name != ""
        ]:
            del book[request_uid]
        book[reservation.request_uid] = (self._clock.monotonic(), reservation)

    def find(self, owner: str, request_uid: str) -> Reservation | None:
        """The open reservation that an admission request made, if it is still open."""
        entry = self._by_owner.get(owner, {}).get(request_uid)
        return entry[1] if entry else None

    def remove(self, owner: str, request_uid: str) -> None:
        """The pod of this admission request exists; from now on its own event counts it."""
        self._drop(owner, request_uid)

    def trim(self, owner: str, at_most: int) -> None:
        """Give back the oldest until at most so many are left.

        A pod that is refused after our answer (quota, a validating webhook) never comes; the
        owner never makes more pods than it is to have, so what exceeds that were such pods.
        """
        for request_uid in list(self._by_owner.get(owner, ())):
            if len(self._by_owner[owner]) <= max(0, at_most):
                return
            self._drop(owner, request_uid)
            if owner not in self._by_owner:
                return

    def _drop(self, owner: str, request_uid: str) -> None:
        book = self._by_owner.get(owner)
        if book is not None:
            book.pop(request_uid, None)
            if not book:
                del self._by_owner[owner]
