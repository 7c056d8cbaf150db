"""The credentials of a client, kept fresh."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from spotalis.kube.config.errors import NO_CREDENTIALS, ConfigError
from spotalis.kube.config.exec_plugin import ExecPlugin, PluginCredential
from spotalis.model.environment import Clock
from spotalis.model.timestamps import format_time

PemSource = bytes | Path
"""PEM text, or the file that holds it and may be replaced at any time."""

REFRESH_SECONDS = 60.0
_EXPIRY_MARGIN = timedelta(seconds=10)


def read_pem(source: PemSource | None) -> bytes:
    """The PEM text. Raises OSError if the file cannot be read."""
    if isinstance(source, Path):
        return source.read_bytes()
    return source or b""


@dataclass(frozen=True, slots=True)
class Credential:
    """The headers and the client certificate of a request."""

    headers: tuple[tuple[str, str], ...] = ()
    certificate: bytes = b""
    key: bytes = b""


class Credentials:
    """The user of a kubeconfig, or the service account of a pod.

    Files are read again every minute, a plugin runs again when its credential has expired; both
    also after the server has rejected the current credential.
    """

    def __init__(
        self,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        token: str = "",
        token_file: Path | None = None,
        certificate: PemSource | None = None,
        key: PemSource | None = None,
        plugin: ExecPlugin | None = None,
    ) -> None:
        """``token`` is used if there is no ``token_file``, or it was never readable."""
        self._headers = headers
        self._token = token
        self._token_file = token_file
        self._certificate = certificate
        self._key = key
        self._plugin = plugin
        self._fetching = asyncio.Lock()
        self._held: Credential | None = None
        self._from_plugin: PluginCredential | None = None
        self._read_at = float("-inf")

    async def get(self, clock: Clock, *, rejected: Credential | None = None) -> Credential:
        """The current credential; a new one if ``rejected`` is the current one.

        Raises:
            ConfigError: no credential can be obtained.
        """
        async with self._fetching:  # one caller fetches, the others share the result
            if self._held is None or self._held is rejected or self._is_stale(clock):
                self._held = await self._fetch(clock, renew=self._held is rejected)
            return self._held

    def explain_rejection(self, now: datetime) -> tuple[str, str]:
        """What is known about credentials that the server has rejected, and how to renew them."""
        if self._plugin is None:
            expired_at = _expiry_of(self._held)
            what = "the token is wrong or has expired, or the certificate is not accepted"
            if expired_at is not None and expired_at <= now:
                what = f"the token expired at {format_time(expired_at)}"
            return what, "renew the credentials of this user, or choose another --context or --user"
        command = " ".join((self._plugin.command, *self._plugin.args))
        expires_at = self._from_plugin.expires_at if self._from_plugin else None
        what = (
            f"new credentials of the credential plugin `{self._plugin.command}` were rejected too"
        )
        if expires_at is not None and expires_at <= now:
            what += f"; they expired at {format_time(expires_at)}"
        return what, f"log in again, until `{command}` prints new credentials"

    def _is_stale(self, clock: Clock) -> bool:
        in_files = self._token_file or self._certificate or self._key
        if in_files and clock.monotonic() - self._read_at >= REFRESH_SECONDS:
            return True
        return self._has_expired(clock)

    def _has_expired(self, clock: Clock) -> bool:
        if self._from_plugin is None or self._from_plugin.expires_at is None:
            return False
        return clock.now() >= self._from_plugin.expires_at - _EXPIRY_MARGIN

    async def _fetch(self, clock: Clock, *, renew: bool) -> Credential:
        if self._plugin and (self._from_plugin is None or renew or self._has_expired(clock)):
            self._from_plugin = await self._plugin.run()
        self._read_at = clock.monotonic()
        try:
            return self._assembled(self._from_plugin or PluginCredential())
        except (OSError, UnicodeDecodeError) as error:
            if self._held is not None:
                return self._held  # a file is being replaced
            raise _unreadable(error) from None

    def _assembled(self, given: PluginCredential) -> Credential:
        headers = list(self._headers)
        token = self._read_token() or given.token
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        return Credential(
            headers=tuple(headers),
            certificate=given.certificate or read_pem(self._certificate),
            key=given.key or read_pem(self._key),
        )

    def _read_token(self) -> str:
        if self._token_file is None:
            return self._token
        try:
            return self._token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            if self._token and self._held is None:
                return self._token
            raise


def _expiry_of(credential: Credential | None) -> datetime | None:
    """When a bearer token expires, if it is a JWT that says so (RFC 7519, `exp`).

    The signature does not matter: this is for a message.
    """
    headers = dict(credential.headers) if credential is not None else {}
    parts = headers.get("Authorization", "").split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return datetime.fromtimestamp(msgspec.json.decode(payload, type=_Claims).exp, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class _Claims(msgspec.Struct):
    exp: int


def _unreadable(error: OSError | UnicodeDecodeError) -> ConfigError:
    what = "the token file is not text"
    if isinstance(error, OSError):
        what = f"{error.filename} cannot be read: {error.strerror}"
    return ConfigError(NO_CREDENTIALS, what, fix="correct the user in the kubeconfig")
