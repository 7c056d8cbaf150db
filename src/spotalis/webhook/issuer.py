"""Issues and inspects certificates in a child process (decision 0008).

Only the child process imports ``cryptography``, which costs 8.6 MB for the lifetime of a process.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TypeVar

import msgspec

from spotalis.webhook.issuer_messages import (
    CertificateInfo,
    InspectRequest,
    IssuedCertificate,
    IssueRequest,
)

_Result = TypeVar("_Result")

_TIMEOUT_SECONDS = 60.0
"""The child needs 0.2 s; starting a process can take far longer on a busy machine."""


class IssueFailed(Exception):
    """The child process failed; the message says why."""


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
