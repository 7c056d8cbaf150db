"""Finds owners of new pods that are not in the cache.

Every tenant can create pods that name an owner which does not exist. Such requests take time, so
that their number is limited, with a share for each namespace.
"""

from __future__ import annotations

import asyncio

from spotalis import logs
from spotalis.controller.cluster import Cluster
from spotalis.controller.owners import NoWorkload, ResolvedOwner, resolve_owner
from spotalis.kube.client import ApiError, Client
from spotalis.kube.resources import REPLICASETS, STATEFULSETS, WORKLOADS
from spotalis.model.names import is_dns_subdomain
from spotalis.model.objects import Owner
from spotalis.model.transport import TransportError
from spotalis.webhook.places import Places

log = logs.get(__name__)

WAIT_SECONDS = 0.2
"""Time for an unknown owner to appear in the cache: the first pods of a new ReplicaSet can arrive
before the ReplicaSet, because resources are watched independently."""
FETCH_SECONDS = 0.5
"""Timeout for reading an unknown owner from the API server, which waits 2 s for the response."""
MAX_READS = 32
"""Half of them for one namespace."""
READ_HOLD_SECONDS = 4.0
"""From the read of an owner until another one may take its place. Reads are necessary only if the
watch is slow or the owner is invented. This limits them to eight owners per second, half of them of
one namespace, with two requests for each."""


class OwnerLookup:
    """Waits for owners, then reads them from the API server."""

    def __init__(self, cluster: Cluster, client: Client, waits: Places) -> None:
        """Prepare.

        Args:
            cluster: the cache.
            client: for these reads only, so that they do not use up the rate of other requests.
            waits: the places of requests that wait.
        """
        self._cluster = cluster
        self._client = client
        self._waits = waits
        self._reads = Places(MAX_READS)
        self._reading: dict[tuple[str, Owner], asyncio.Task[ResolvedOwner | NoWorkload | None]] = {}

    async def find(self, namespace: str, owner: Owner) -> ResolvedOwner | NoWorkload | None:
        """Find an owner in the cache, after a wait, or in the API server.

        Returns None if there is none, and at once if too many requests wait. A name that no owner
        can have is never part of a request to the API server.
        """
        if (resolved := self._cluster.find_owner(namespace, owner)) is not None:
            return resolved
        if not (is_dns_subdomain(owner.name) and is_dns_subdomain(namespace)):
            return None
        if not self._waits.take(namespace):
            return None
        try:
            if await self._cluster.wait_for_change(namespace, owner.uid, WAIT_SECONDS):
                resolved = self._cluster.find_owner(namespace, owner)
            return resolved or await self._read(namespace, owner)
        finally:
            self._waits.release(namespace)

    async def _read(self, namespace: str, owner: Owner) -> ResolvedOwner | NoWorkload | None:
        """Read an owner, once for all requests that wait for it; None if there are too many."""
        key = (namespace, owner)
        reading = self._reading.get(key)
        if reading is None:
            if not self._reads.take(namespace):
                return None
            loop = asyncio.get_running_loop()
            loop.call_later(READ_HOLD_SECONDS, self._reads.release, namespace)
            reading = self._reading[key] = loop.create_task(self._fetch_in_time(namespace, owner))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    async def _fetch_in_time(
        self, namespace: str, owner: Owner
    ) -> ResolvedOwner | NoWorkload | None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._fetch(namespace, owner)
        except (ApiError, TransportError, TimeoutError) as error:
            log.warning("Cannot read the owner of a pod", error=repr(error))
            return None

    async def _fetch(self, namespace: str, owner: Owner) -> ResolvedOwner | NoWorkload | None:
        get = self._client.get
        if owner.kind == "StatefulSet":
            return resolve_owner(owner, None, await get(STATEFULSETS, namespace, owner.name))
        replica_set = await get(REPLICASETS, namespace, owner.name)
        parent = self._cluster.parent_of(replica_set)
        workload = await get(WORKLOADS[parent.kind], namespace, parent.name) if parent else None
        return resolve_owner(owner, replica_set, workload, has_parent=parent is not None)
