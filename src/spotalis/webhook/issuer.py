"""Issues and inspects certificates in a child process (decision 0008).

Only the child process imports ``cryptography``, which costs 8.6 MB for the lifetime of a process.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from spotalis.webhook.pem import KeyPair

_Result = TypeVar("_Result")

_TIMEOUT_SECONDS = 60.0
"""The child needs 0.2 s; starting a process can take far longer on a busy machine."""


class IssueFailed(Exception):
    """The child process failed; the message says why."""


class CertificateInfo(msgspec.Struct, frozen=True):
    """The fields of a certificate that decide when it is replaced."""

    issuer: str
    """The issuer's common name; the names of authorities that Spotalis issues are unique."""
    subject: str
    issued_at: datetime
    expires_at: datetime


class IssueRequest(msgspec.Struct, tag="issue", kw_only=True):
    """Request to issue a serving certificate, and an authority unless one is given."""

    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...] = ()
    now: datetime
    valid_for: timedelta
    """Lifetime of the certificate, limited to that of the authority."""
    ca_valid_for: timedelta
    """Lifetime of a new authority."""
    ca_pem: bytes = b""
    """The authority that signs; empty to issue a new one."""
    ca_key_pem: bytes = b""


class InspectRequest(msgspec.Struct, tag="inspect"):
    """Request to read the fields of a certificate."""

    cert_pem: bytes


class IssuedCertificate(msgspec.Struct, kw_only=True):
    """A serving certificate with its key, and the authority that signed it."""

    ca_pem: bytes
    ca_key_pem: bytes
    ca_info: CertificateInfo
    cert_pem: bytes
    key_pem: bytes
    info: CertificateInfo

    @property
    def key_pair(self) -> KeyPair:
        """The certificate and its key, without an authority for other instances."""
        return KeyPair(
            cert_pem=self.cert_pem, key_pem=self.key_pem, expires_at=self.info.expires_at
        )


async def issue_certificate(request: IssueRequest) -> IssuedCertificate:
    """Issue a certificate.

    Raises:
        IssueFailed: the child process did not start, rejected the request or took too long.
    """
    return await _run(request, IssuedCertificate)


async def inspect_certificate(cert_pem: bytes) -> CertificateInfo:
    """Read the fields of the first certificate of a PEM text.

    Raises:
        IssueFailed: the text is not a certificate, or the child process failed.
    """
    return await _run(InspectRequest(cert_pem), CertificateInfo)


async def _run(request: msgspec.Struct, result: type[_Result]) -> _Result:
    output = await _run_child(msgspec.json.encode(request))
    try:
        return msgspec.json.decode(output, type=result)
    except ValueError as error:
        raise IssueFailed(f"invalid output of the certificate process: {error}") from None


async def _run_child(stdin: bytes) -> bytes:
    command = (sys.executable, "-P", "-m", "spotalis.webhook.issuer_process")
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise IssueFailed(f"cannot start the certificate process: {error}") from error
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            stdout, stderr = await child.communicate(stdin)
    except TimeoutError:
        raise IssueFailed(f"no certificate within {_TIMEOUT_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = stderr.decode(errors="replace").strip().splitlines() or ["no error message"]
        raise IssueFailed(f"certificate process failed (exit {child.returncode}): {lines[-1]}")
    return stdout
