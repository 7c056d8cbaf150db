"""The version of the API server, and whether Spotalis supports it."""

from __future__ import annotations

import msgspec

from spotalis.cli.errors import CommandError
from spotalis.kube.client import Client

OLDEST_MINOR = 30
"""Kubernetes 1.30 is the first version whose admission webhooks have ``matchConditions`` without a
feature gate (KEP-3716)."""


class ServerVersion(msgspec.Struct, rename="camel"):
    """What ``/version`` answers, as far as it matters."""

    git_version: str = "unknown"
    minor: str = ""

    @property
    def is_too_old(self) -> bool:
        """Whether Spotalis needs a newer version; False if the version cannot be read."""
        digits = "".join(c for c in self.minor if c.isdigit())  # providers write 30+
        return bool(digits) and int(digits) < OLDEST_MINOR


async def read_server_version(client: Client) -> ServerVersion:
    """Ask the API server.

    Raises:
        TransportError: it did not answer.
    """
    response = await client.raw("GET", "/version")
    try:
        return msgspec.json.decode(response.body, type=ServerVersion)
    except msgspec.DecodeError:
        return ServerVersion()


async def check_server_version(client: Client) -> None:
    """Reject an API server that is too old.

    Raises:
        CommandError: it is.
        TransportError: it did not answer.
    """
    version = await read_server_version(client)
    if version.is_too_old:
        raise CommandError(
            code="SP012",
            what=f"Kubernetes {version.git_version} is older than 1.{OLDEST_MINOR}, which Spotalis "
            "needs",
            fix="upgrade the cluster, or choose another --context",
        )
