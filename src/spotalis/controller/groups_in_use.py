"""Provider groups that are in use although no node shows it: by a served API, or by memory.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spotalis import logs
from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import Ledgers
from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.errors import ApiError, Forbidden, NotFound, error_from
from spotalis.kube.resources import NODE_POOLS
from spotalis.model.possible_types import NodePool
from spotalis.model.provider_groups import KARPENTER_API
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
        before = (dict(nodes.served), nodes.node_pools)
        for api_group in sorted(nodes.api_groups):
            try:
                async with asyncio.timeout(DISCOVERY_SECONDS):
                    served, pools = await self._ask_about(api_group)
            except (ApiError, TransportError, TimeoutError, *decode.DECODE_ERRORS) as error:
                log.debug("No answer about an API", group=api_group, error=repr(error))
                continue
            nodes.served[api_group] = served
            if api_group == KARPENTER_API:
                nodes.node_pools = pools
        if (nodes.served, nodes.node_pools) != before:
            log.info(
                "Discovered APIs of autoscalers",
                served=[group for group, is_served in nodes.served.items() if is_served],
                node_pools=[name for name, _ in nodes.node_pools],
            )
            self._on_change()

    async def _ask_about(self, api_group: str) -> tuple[bool, tuple[NodePool, ...]]:
        """Whether an autoscaler may add nodes, and the NodePools of Karpenter.

        The path of one group is served in the same way with and without aggregated discovery, and
        the ClusterRole ``system:discovery`` of Kubernetes allows every account to read it.

        Raises:
            ApiError, TransportError, DECODE_ERRORS: no usable answer.
        """
        response = await self._client.raw("GET", f"/apis/{api_group}")
        if response.status not in (200, 404):
            raise error_from(response, self._client.clock.now())
        if response.status == 404 or api_group != KARPENTER_API:
            return response.status == 200, ()
        version = decode.preferred_version(response.body)
        try:
            pools = await self._client.list_all(NODE_POOLS.with_version(version))
        except (Forbidden, NotFound):  # Not granted, or Karpenter is older than NodePools.
            return True, ()
        # Without a NodePool Karpenter adds no node. Its API remains after it is uninstalled.
        return bool(pools), tuple(pools)
