"""Sends admission requests to another instance over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import aiohttp

from spotalis.webhook.forward import FORWARD_PATH, PeerRejected, PeerUnreachable

_MAX_CONNECTIONS = 4
"""To the leader, which answers in about 1 ms; more would only cost more handshakes of 4 ms at the
beginning of a burst."""


class HttpsPeerClient:
    """Sends admission requests over TLS; both sides authenticate as instances."""

    def __init__(self, context: Callable[[], ssl.SSLContext | None], peer_name: str) -> None:
        """Prepare; ``peer_name`` is the DNS name in the certificate of every instance."""
        self._context = context
        self._peer_name = peer_name
        self._session: aiohttp.ClientSession | None = None

    async def send(self, address: str, body: bytes) -> bytes:
        """See :class:`PeerClient`; keeps connections open for later requests."""
        context = self._context()
        if context is None:
            raise PeerUnreachable("no authority for the certificates of instances")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.post(
                f"https://{address}{FORWARD_PATH}",
                data=body,
                headers={"Content-Type": "application/json"},
                ssl=context,
                server_hostname=self._peer_name,
                allow_redirects=False,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise PeerUnreachable(str(error)) from None
        if response.status != 200:
            raise PeerRejected(f"HTTP {response.status}")
        return content

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
