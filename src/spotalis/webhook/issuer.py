"""Issues certificates in a child process (decision 0008)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.webhook.pem import expiry

_ISSUE_SECONDS = 60.0
"""Making a pair takes 0.2 s; a machine under load may take far longer to start a process."""


class IssueFailed(Exception):
    """The process that makes certificates made none; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A new certificate, its key, and the authority that vouches for it."""

    ca_pem: bytes
    ca_key_pem: bytes
    cert_pem: bytes
    key_pem: bytes
    expires_at: datetime


async def issue_certificate(
    dns_names: Sequence[str],
    ip_addresses: Sequence[str] = (),
    *,
    valid_for: timedelta,
    ca_valid_for: timedelta,
    now: datetime,
    authority: tuple[bytes, bytes] | None = None,
) -> IssuedCertificate:
    """Make a certificate for these names, and an authority, in a process of their own.

    Args:
        dns_names: of the webhook's Service.
        ip_addresses: for callers that use an address.
        valid_for: of the certificate, from ``now``; never beyond ``ca_valid_for``.
        ca_valid_for: of the authority, from ``now``.
        now: an aware datetime.
        authority: certificate and key of the one that is to sign; None makes a new one.

    Raises:
        IssueFailed: no process could be started, or it refused (bad names), or took too long.
    """
    wanted = {
        "dns_names": list(dns_names),
        "ip_addresses": list(ip_addresses),
        "now": now,
        "valid_for_seconds": valid_for.total_seconds(),
        "ca_valid_for_seconds": ca_valid_for.total_seconds(),
    }
    if authority is not None:
        wanted |= {"ca_pem": authority[0].decode(), "ca_key_pem": authority[1].decode()}
    said = await _child(msgspec.json.encode(wanted))
    try:
        made = msgspec.json.decode(said, type=dict[str, str])
        cert_pem = made["cert_pem"].encode()
        return IssuedCertificate(
            ca_pem=made["ca_pem"].encode(),
            ca_key_pem=made["ca_key_pem"].encode(),
            cert_pem=cert_pem,
            key_pem=made["key_pem"].encode(),
            expires_at=expiry(cert_pem),
        )
    except (ValueError, KeyError) as error:
        raise IssueFailed(f"the certificate process answered nonsense: {error!r}") from None


async def _child(request: bytes) -> bytes:
    command = (sys.executable, "-P", "-m", "spotalis.webhook.issuer_process")
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise IssueFailed(f"the certificate process does not start: {error}") from error
    try:
        async with asyncio.timeout(_ISSUE_SECONDS):
            said, complaint = await child.communicate(request)
    except TimeoutError:
        raise IssueFailed(f"no certificate within {_ISSUE_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no word of why"]
        raise IssueFailed(f"no certificate was made (exit {child.returncode}): {lines[-1]}")
    return said
