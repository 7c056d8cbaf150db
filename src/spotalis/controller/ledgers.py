"""Reads and writes the ledgers of all workloads, and the memory of provider groups.

A ledger is a ConfigMap in the operator's own namespace, named after the workload's UID. A workload
with nothing to remember has none. It has no owner reference: the owner is in another namespace,
and the garbage collector would delete the ConfigMap. One more ConfigMap holds the provider groups
that were in use.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec

from spotalis.controller.config_maps import config_map
from spotalis.controller.spot_memory import SpotMemory
from spotalis.kube.client import Client, Conflict, NotFound
from spotalis.kube.resources import LEDGERS
from spotalis.kube.store import Event, EventType, Store, StoreWriter
from spotalis.model.group_memory import GroupMemory
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.objects import Workload

LEDGER_PREFIX = "spotalis-ledger-"
GROUP_MEMORY = "spotalis-provider-groups"
"""The name of the ConfigMap with the memory of provider groups."""


class Ledgers:
    """Reads ledgers from the watch or the API server. Writes them by compare-and-swap.

    This instance's own writes are visible immediately, before the watch delivers them.
    """

    def __init__(self, client: Client, store: Store[LedgerObject], namespace: str) -> None:
        self.store = store
        self.writer = StoreWriter(store)
        self.spot = SpotMemory(client, store, self.writer, namespace)
        self._client = client
        self._namespace = namespace
        self._doubtful: set[str] = set()
        """Names whose last write failed, conflicted, or had no response."""
        self._being_written: dict[str, Ledger] = {}
        self._open: list[Ledger] = []
        """The ledgers in the store that have open moves: few of all ledgers."""
        self._open_as_of = -1
        """The version of the store that they are from."""

    def cached(self, workload_uid: str) -> LedgerObject | None:
        """The ledger from the watch. It may be behind, which is sufficient for placement."""
        return self.store.get(self._namespace, LEDGER_PREFIX + workload_uid)

    def intents(self) -> dict[str, list[Intent]]:
        """The intents of all workloads by namespace, including those that are being written.

        Without the latter, limits for the whole cluster would not hold, because several workers
        reconcile at the same time.
        """
        if self._open_as_of != self.store.changes:
            self._open_as_of = self.store.changes
            held = (one.ledger for one in self.store if one.ledger is not None)
            self._open = [ledger for ledger in held if ledger.intents]
        found: dict[str, dict[str, Intent]] = {}
        for ledger in (*self._open, *self._being_written.values()):
            if ledger.intents:
                namespace = ledger.workload.split("/", 2)[1]
                found.setdefault(namespace, {}).update((i.pod, i) for i in ledger.intents)
        return {namespace: list(intents.values()) for namespace, intents in found.items()}

    async def read(self, workload_uid: str) -> LedgerObject | None:
        """The ledger to base a write on; None if there is none.

        Raises:
            ApiError, TransportError: the result of the last write was unknown, and the ledger
                could not be read.
        """
        name = LEDGER_PREFIX + workload_uid
        if name in self._doubtful:
            before = self.cached(workload_uid)
            found = await self._client.get(LEDGERS, self._namespace, name)
            self._doubtful.discard(name)
            if found is None:
                # The response may be older than what the watch has delivered in the meantime.
                if before is not None and self.cached(workload_uid) is before:
                    self.writer.drop(before)
            else:
                self.writer.apply(Event(EventType.MODIFIED, found))
        return self.cached(workload_uid)

    async def write(
        self, workload: Workload, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        """Replace ``before`` with ``ledger``. Returns the stored object; None if it is deleted.

        Raises:
            Conflict: another instance wrote it first, and nothing was written. The next ``read``
                asks the API server.
            ApiError, TransportError: it may have been written. The next ``read`` asks the API
                server.
        """
        name = LEDGER_PREFIX + workload.uid
        label = f"{workload.kind}/{workload.namespace}/{workload.name}"
        ledger = msgspec.structs.replace(ledger, workload=label)
        self._being_written[name] = ledger
        try:
            return await self._put(name, before, ledger)
        finally:
            del self._being_written[name]

    async def _put(
        self, name: str, before: LedgerObject | None, ledger: Ledger
    ) -> LedgerObject | None:
        self._doubtful.add(name)
        if ledger.is_empty:
            if before is not None:
                await self._delete(before)
            self._doubtful.discard(name)
            return None
        body = config_map(self._namespace, name, before, {"ledger": ledger})
        if before is None:
            written = await self._client.create(LEDGERS, self._namespace, body)
        else:
            try:
                written = await self._client.replace(LEDGERS, self._namespace, name, body)
            except NotFound as gone:  # Deleted by another instance: a conflict like any other.
                raise Conflict(409, "Conflict", gone.message) from gone
        self.writer.apply(Event(EventType.MODIFIED, written))
        self._doubtful.discard(name)
        return written

    async def write_group_memory(self, memory: GroupMemory) -> None:
        """Store the memory of provider groups, if it differs from the stored one.

        Raises:
            ApiError, TransportError: it may have been written; the watch will show it.
        """
        held = self.store.get(self._namespace, GROUP_MEMORY)
        if memory == (held.group_memory if held is not None else {}):
            return
        body = config_map(self._namespace, GROUP_MEMORY, held, {"groups": memory})
        if held is None:
            written = await self._client.create(LEDGERS, self._namespace, body)
        else:
            written = await self._client.replace(LEDGERS, self._namespace, GROUP_MEMORY, body)
        self.writer.apply(Event(EventType.MODIFIED, written))

    def retain(self, workload_uids: Set[str]) -> None:
        """Forget failed writes of workloads other than these, unless their ledger exists."""
        self._doubtful = {
            name
            for name in self._doubtful
            if name.removeprefix(LEDGER_PREFIX) in workload_uids
            or self.store.get(self._namespace, name) is not None
        }

    async def remove(self, found: LedgerObject) -> None:
        """Delete the ledger of a workload that is gone. A conflict is ignored."""
        self._doubtful.add(found.name)
        try:
            await self._delete(found)
        except Conflict:
            return
        self._doubtful.discard(found.name)

    async def _delete(self, found: LedgerObject) -> None:
        """Delete this object, but not another one that has its name by now."""
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
