"""The ledgers of all workloads: read from the watch or, in doubt, from the API; written by CAS.

One ConfigMap per workload, named by the workload's UID, in the operator's own namespace; there is
none for a workload with nothing to remember. It has no owner reference: its owner would live in
another namespace, and the garbage collector would delete it.
"""

from __future__ import annotations

import msgspec

from spotalis.kube.client import Client, Conflict, NotFound
from spotalis.kube.resources import LEDGER_LABEL, LEDGERS
from spotalis.kube.store import Event, EventType, Store, StoreWriter
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Workload

LEDGER_PREFIX = "spotalis-ledger-"


class Ledgers:
    """All ledgers; this process's own writes are seen at once, not only when the watch tells."""

    def __init__(self, client: Client, store: Store[LedgerObject], namespace: str) -> None:
        self.store = store
        self.writer = StoreWriter(store)
        self._client = client
        self._namespace = namespace
        self._doubtful: set[str] = set()
        """Names whose last write may or may not have been carried out, or lost to another."""
        self._being_written: dict[str, Ledger] = {}

    def cached(self, workload_uid: str) -> LedgerObject | None:
        """The ledger as last heard; it may lag, which is enough for placement."""
        return self.store.get(self._namespace, LEDGER_PREFIX + workload_uid)

    def intents(self) -> list[Intent]:
        """Every workload's, those included that are on their way into a ledger.

        Limits over all workloads hold only with these: workers plan at the same time.
        """
        held = [one.ledger for one in self.store if one.ledger is not None]
        ledgers = (*held, *self._being_written.values())
        return list({i.pod: i for ledger in ledgers for i in ledger.intents}.values())

    async def read(self, workload_uid: str) -> LedgerObject | None:
        """The ledger to base a write on; None if there is none.

        Raises:
            ApiError, TransportError: it was in doubt, and could not be read.
        """
        name = LEDGER_PREFIX + workload_uid
        if name in self._doubtful:
            before = self.cached(workload_uid)
            found = await self._client.get(LEDGERS, self._namespace, name)
            self._doubtful.discard(name)
            if found is None:
                # The answer may be older than what the watch has shown: no tombstone, and nothing
                # that came while it was on its way is forgotten.
                if before is not None and self.cached(workload_uid) is before:
                    self.writer.drop(before)
            else:
                self.writer.apply(Event(EventType.MODIFIED, found))
        return self.cached(workload_uid)

    async def write(
        self, workload: Workload, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        """Put ``ledger`` in the place of ``before``; what stands there now, None if nothing.

        Raises:
            Conflict: somebody else wrote it; nothing of ours was. The next ``read`` looks anew.
            ApiError, TransportError: it may have been written; the next ``read`` finds out.
        """
        name = LEDGER_PREFIX + workload.uid
        self._being_written[name] = ledger
        try:
            return await self._put(name, workload, before, ledger)
        finally:
            del self._being_written[name]

    async def _put(
        self, name: str, workload: Workload, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        self._doubtful.add(name)
        if ledger.empty:
            if before is not None:
                await self._delete(before)
            self._doubtful.discard(name)
            return None
        label = f"{workload.kind}/{workload.namespace}/{workload.name}"
        body = self._body(name, before, msgspec.structs.replace(ledger, workload=label))
        if before is None:
            written = await self._client.create(LEDGERS, self._namespace, body)
        else:
            try:
                written = await self._client.replace(LEDGERS, self._namespace, name, body)
            except NotFound as gone:  # deleted under us: somebody else's write, all the same
                raise Conflict(409, "Conflict", gone.message) from gone
        self.writer.apply(Event(EventType.MODIFIED, written))
        self._doubtful.discard(name)
        return written

    async def remove(self, found: LedgerObject) -> None:
        """Delete a ledger whose workload is gone; harmless if somebody else was faster."""
        self._doubtful.add(found.name)
        try:
            await self._delete(found)
        except Conflict:
            return
        self._doubtful.discard(found.name)

    async def _delete(self, found: LedgerObject) -> None:
        """Delete this very object, and forget it; not one that has its name by now."""
        await self._client.delete(
            LEDGERS,
            self._namespace,
            found.name,
            uid=found.uid,
            resource_version=found.resource_version,
        )
        held = self.store.get(self._namespace, found.name)
        if held is not None and held.uid == found.uid:
            self.writer.apply(Event(EventType.DELETED, held))

    def _body(self, name: str, before: LedgerObject | None, ledger: Ledger) -> dict[str, object]:
        metadata: dict[str, object] = {
            "name": name,
            "namespace": self._namespace,
            "labels": {LEDGER_LABEL: "true"},
        }
        if before is not None:
            metadata["uid"] = before.uid
            metadata["resourceVersion"] = before.resource_version
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"ledger": msgspec.json.encode(ledger).decode()},
        }
