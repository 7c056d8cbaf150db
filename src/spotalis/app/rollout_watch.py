"""Watch the Rollouts of Argo Rollouts where their API is served and may be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from spotalis import logs
from spotalis.controller.cluster import Cluster
from spotalis.kube.client import Client
from spotalis.kube.resources import ROLLOUTS
from spotalis.model.transport import TransportError

log = logs.get(__name__)

REQUEST_SECONDS = 5.0
"""Timeout of one question. The watches start after the first answer, or without it."""
RETRY_SECONDS = 5.0
"""Until the next question while the API server has not answered."""
DISCOVERY_SECONDS = 60.0
"""Between two questions whether Rollouts can be watched now. Also how long their watches may fail
before they end."""


class RolloutWatch:
    """Starts the watches of Rollouts when they become possible, and ends them afterwards."""

    def __init__(
        self, client: Client, cluster: Cluster, start: Callable[[asyncio.TaskGroup], None]
    ):
        """Nothing is sent before ``discover``.

        Args:
            client, cluster: what it works with.
            start: runs the watches of Rollouts as tasks of a group.
        """
        self._client = client
        self._cluster = cluster
        self._start = start
        self._reason = ""

    async def discover(self) -> None:
        """Ask whether Rollouts can be watched. Without an answer, the last one remains."""
        readable = await self.is_readable()
        if readable is not None:
            self._cluster.on_rollouts_discovered(readable)

    async def run(self) -> None:
        """Watch while possible, and ask again, until cancelled; call ``discover`` before."""
        while True:
            if self._cluster.watches_rollouts:
                await self._watch()
            is_known = self._cluster.watches_rollouts is not None
            await asyncio.sleep(DISCOVERY_SECONDS if is_known else RETRY_SECONDS)
            await self.discover()

    async def _watch(self) -> None:
        """Watch until Rollouts cannot be read any more."""
        log.info("Watching Rollouts")
        try:
            async with asyncio.TaskGroup() as group:
                self._start(group)
                group.create_task(self._until_unreadable(), name="rollouts are readable")
        except* _Unreadable:
            self._cluster.on_rollouts_discovered(False)

    async def _until_unreadable(self) -> None:
        """Ask when a watch has been silent for a minute.

        Raises:
            _Unreadable: the API or the permission is gone.
        """
        heard_at = self._cluster.rollouts.fresh_at_by_scope
        while True:
            before = dict(heard_at)
            await asyncio.sleep(DISCOVERY_SECONDS)
            is_silent = any(heard_at.get(scope) == at for scope, at in before.items())
            if is_silent and await self.is_readable() is False:
                raise _Unreadable

    async def is_readable(self) -> bool | None:
        """Whether the API is served and a watched namespace may be listed.

        None without an answer. The API is asked for first, because a list that is not allowed is
        refused whether or not the API is served. A namespace that may not be listed does not
        concern the others (controller/cache_health.py).
        """
        served = await self._status(f"/apis/{ROLLOUTS.api_version}")
        if served != 200:
            return False if served in (403, 404) else None
        is_known = True
        for namespace in sorted(self._cluster.settings.namespaces.watched) or [""]:
            path = ROLLOUTS.path(namespace)
            status = await self._status(path, (("limit", "1"),))
            if status == 200:
                return True
            if status in (403, 404):
                self._say(f"{path} answered {status}")
            else:
                is_known = False
        return False if is_known else None

    async def _status(self, path: str, query: Sequence[tuple[str, str]] = ()) -> int:
        """The status of the answer to a request; 0 without an answer."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return (await self._client.raw("GET", path, query=query)).status
        except (TransportError, TimeoutError) as error:
            log.debug("No answer about Rollouts", error=repr(error))
            return 0

    def _say(self, reason: str) -> None:
        """Log once why Rollouts are not watched although their API is served."""
        if reason != self._reason:
            log.warning(
                "Rollouts are not managed; apply build/k8s/optional/rollouts.yaml to manage them",
                reason=reason,
            )
        self._reason = reason


class _Unreadable(Exception):
    """Rollouts are not served any more, or may not be read."""
