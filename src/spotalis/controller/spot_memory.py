"""Reads and writes what is known about spot capacity: one ConfigMap for the whole cluster.

It is in the operator's own namespace and has the label of the ledgers, so that the watch of the
ledgers delivers it to every instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from spotalis.controller.config_maps import config_map
from spotalis.kube.client import Client, Conflict, NotFound
from spotalis.kube.resources import LEDGERS
from spotalis.kube.store import Event, EventType, Store, StoreWriter
from spotalis.model.ledger import LedgerObject
from spotalis.model.spot_knowledge import SpotKnowledge, SpotRecord
from spotalis.planner.spot_knowledge import merge

NAME = "spotalis-spot"
ATTEMPTS = 3
"""Another instance writes it only around a change of leader."""


class SpotMemory:
    """What is known about spot capacity. News count at once, before they are written."""

    def __init__(
        self,
        client: Client,
        store: Store[LedgerObject],
        writer: StoreWriter[LedgerObject],
        namespace: str,
    ) -> None:
        """``store`` holds the ledgers; ``writer`` writes it."""
        self._client = client
        self._store = store
        self._writer = writer
        self._namespace = namespace
        self._unwritten: tuple[SpotRecord, ...] = ()
        self._writing = asyncio.Lock()

    @property
    def records(self) -> tuple[SpotRecord, ...]:
        """All records, those that are not written yet included."""
        stored = self._store.get(self._namespace, NAME)
        written = stored.spot if stored is not None else ()
        return merge(written, self._unwritten) if self._unwritten else written

    def learn(self, news: Iterable[SpotRecord]) -> None:
        """Add news; :meth:`write` must follow."""
        self._unwritten = merge(self._unwritten, news)

    async def write(self) -> None:
        """Write what is not written yet.

        Raises:
            ApiError, TransportError: it may not have been written. The next call tries again.
        """
        async with self._writing:
            if self._unwritten:
                await self._write()

    async def _write(self) -> None:
        for attempt in range(ATTEMPTS):
            stored = self._store.get(self._namespace, NAME)
            news = self._unwritten
            known = merge(stored.spot if stored is not None else (), news)
            data = {"spot": SpotKnowledge(records=known)}
            body = config_map(self._namespace, NAME, stored, data)
            try:
                if stored is None:
                    written = await self._client.create(LEDGERS, self._namespace, body)
                else:
                    written = await self._client.replace(LEDGERS, self._namespace, NAME, body)
            except (Conflict, NotFound):
                if attempt == ATTEMPTS - 1:
                    raise
                await self._read(stored)
                continue
            self._writer.apply(Event(EventType.MODIFIED, written))
            self._unwritten = tuple(one for one in self._unwritten if one not in news)
            return

    async def _read(self, before: LedgerObject | None) -> None:
        """Bring the store up to date after a conflict."""
        found = await self._client.get(LEDGERS, self._namespace, NAME)
        if found is not None:
            self._writer.apply(Event(EventType.MODIFIED, found))
        elif before is not None:
            self._writer.drop(before)
