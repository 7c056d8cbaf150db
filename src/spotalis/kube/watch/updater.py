"""Apply the events of one kind to its store, and notify listeners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from spotalis.kube import decode
from spotalis.kube.resources import Resource
from spotalis.kube.store import Event, EventType, Record, StoreChange, StoreWriter

T = TypeVar("T", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relist(Generic[T]):
    """The changes of a list; ``on_change`` reports each of them too."""

    added: int
    changed: int
    vanished: tuple[T, ...]
    """Objects that the list did not show although no delete event was received."""
    total: int
    """The number of objects in the scope of the list now."""
    is_first: bool
    """This is the first list of its scope."""


class StoreUpdater(Generic[T]):
    """Decodes events, applies them to the store and calls the listeners."""

    def __init__(
        self,
        resource: Resource[T],
        writer: StoreWriter[T],
        *,
        on_change: Callable[[StoreChange[T]], None],
        on_relist: Callable[[Relist[T]], None] | None,
        on_skip: Callable[[str], None],
    ) -> None:
        self._resource = resource
        self._writer = writer
        self._on_change = on_change
        self._on_relist = on_relist
        self._on_skip = on_skip
        self.listing = False
        """A list is in progress."""
        self._added = self._changed = 0

    def begin_list(self, *, back_in_time: bool) -> None:
        """Begin a list; an unfinished earlier list is discarded."""
        self.listing = True
        self._added = self._changed = 0
        self._writer.begin_relist(back_in_time=back_in_time)

    def apply(self, event_type: EventType, raw: msgspec.Raw) -> str:
        """Apply an event, or skip an undecodable object; returns its resourceVersion."""
        try:
            record = self._resource.decode(raw)
        except decode.DECODE_ERRORS as error:
            return self._skip(raw, error)
        change = self._writer.apply(Event(event_type, record))
        if change is not None:
            if change.old is None:
                self._added += 1
            else:
                self._changed += 1
            self._on_change(change)
        return record.resource_version

    async def end_list(self, at: float, yield_to_loop: Callable[[], Awaitable[None]]) -> None:
        """Complete a list: drop the objects that it did not show, and notify.

        The store is consistent before any listener is called; ``on_relist`` is called first.
        """
        vanished: list[T] = []
        for unlisted in self._writer.unlisted():
            vanished += unlisted
            await yield_to_loop()
        changes = [change for gone in vanished if (change := self._writer.drop(gone))]
        is_first = not self._writer.synced
        self._writer.end_relist()
        self._writer.mark_fresh(at)
        self.listing = False
        if self._on_relist is not None:
            relist = Relist(
                added=self._added,
                changed=self._changed,
                vanished=tuple(vanished),
                total=self._writer.count,
                is_first=is_first,
            )
            self._on_relist(relist)
        for change in changes:
            self._on_change(change)
            await yield_to_loop()

    def _skip(self, raw: msgspec.Raw, error: Exception) -> str:
        """Count an undecodable object as listed: it exists, and its last version is kept."""
        try:
            found = decode.identity(raw)
        except decode.DECODE_ERRORS:
            self._on_skip(str(error))
            return ""
        self._writer.mark_listed(found.namespace, found.name)
        self._on_skip(f"{found.namespace}/{found.name}: {error}")
        return found.resource_version
