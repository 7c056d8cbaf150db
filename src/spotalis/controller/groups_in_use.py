"""Provider groups that are in use although no node shows it: by a served API, or by memory.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spotalis import logs
from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import Ledgers
from spotalis.kube.client import Client
from spotalis.kube.errors import ApiError
from spotalis.model.transport import TransportError

log = logs.get(__name__)

DISCOVERY_SECONDS = 5.0
"""Timeout of one question to the API server. The watches start after the first answers."""
RETRY_SECONDS = 5.0
"""Until the next try while the API server has not answered."""


class GroupsInUse:
    """Asks which APIs are served, on every instance; writes the memory on the leader."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        ledgers: Ledgers,
        client: Client,
        can_write: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        """Prepare the requests.

        Args:
            cluster, ledgers, client: where the answers and the memory go.
            can_write: whether this instance may write the memory at this moment.
            on_change: called when the API server serves other APIs than before.
        """
        self._cluster = cluster
        self._ledgers = ledgers
        self._client = client
        self._can_write = can_write
        self._on_change = on_change

    async def run(self) -> None:
        """Ask and write at each resync, until cancelled; call ``discover`` before."""
        resync = self._cluster.settings.resync.total_seconds()
        while True:
            nodes = self._cluster.nodes
            answered = nodes.api_groups <= nodes.served.keys()
            await asyncio.sleep(resync if answered else min(resync, RETRY_SECONDS))
            await self.discover()
            if self._can_write() and not self._cluster.settings.read_only:
                try:
                    await self._ledgers.write_group_memory(nodes.renew_memory())
                except (ApiError, TransportError) as error:
                    log.warning("Failed to write the provider groups; retrying", error=str(error))

    async def discover(self) -> None:
        """Ask which API groups are served. Without an answer, the last one remains."""
        nodes = self._cluster.nodes
        before = dict(nodes.served)
        for api_group in sorted(nodes.api_groups):
            served = await self._is_served(api_group)
            if served is not None:
                nodes.served[api_group] = served
        if nodes.served != before:
            log.info("Discovered APIs of autoscalers", served=str(nodes.served))
            self._on_change()

    async def _is_served(self, api_group: str) -> bool | None:
        """Whether an API group is served; None without an answer.

        The path of one group is served in the same way with and without aggregated discovery, and
        the ClusterRole ``system:discovery`` of Kubernetes allows every account to read it.
        """
        try:
            async with asyncio.timeout(DISCOVERY_SECONDS):
                response = await self._client.raw("GET", f"/apis/{api_group}")
        except (TransportError, TimeoutError) as error:
            log.debug("No answer about an API", group=api_group, error=repr(error))
            return None
        if response.status in (200, 404):
            return response.status == 200
        log.debug("No answer about an API", group=api_group, status=response.status)
        return None
