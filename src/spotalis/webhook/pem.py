"""What the standard library lacks for certificates: from memory, and what stands in them."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BACKDATED = timedelta(minutes=5)
"""What we issue is valid from so long before, for callers whose clocks are behind ours."""

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def load_pair(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Load certificate, chain and key into a context; ``ssl`` itself only takes files.

    Raises:
        ssl.SSLError: they do not belong together, or one cannot be read.
        ValueError: the key is encrypted.
    """
    with _file(key_pem.rstrip() + b"\n" + cert_pem) as path:
        context.load_cert_chain(path, password=_no_password)


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What is read of a certificate."""

    issuer: bytes
    """The DER form of a name: equal bytes are equal names for what we issue ourselves."""
    subject: bytes
    since: datetime
    until: datetime


def outline(cert_pem: bytes) -> CertificateInfo:
    """Who issued the first certificate to whom, and for how long.

    ``ssl`` tells it of a verified peer or of an authority only, so it is read from the DER form:
    Certificate > tbsCertificate > [version], serial, signature, issuer, validity, subject
    (RFC 5280 4.1).

    Raises:
        ValueError: that is no certificate.
    """
    first = next(iter(split(cert_pem)), None)
    if first is None:
        raise ValueError("no certificate in the PEM text")
    der = ssl.PEM_cert_to_DER_cert(first.decode("ascii"))
    tbs = _inside(_inside(der, _SEQUENCE), _SEQUENCE)
    fields = [element for element in _elements(tbs) if element[0] != _VERSION]
    if len(fields) < 5 or fields[3][0] != _SEQUENCE:
        raise ValueError("the certificate has no validity")
    times = list(_elements(fields[3][1]))
    if len(times) != 2:
        raise ValueError("the certificate's validity has no end")
    return CertificateInfo(fields[2][1], fields[4][1], _time(*times[0]), _time(*times[1]))


def expiry(cert_pem: bytes) -> datetime:
    """The ``notAfter`` of the first certificate.

    Raises:
        ValueError: that is no certificate.
    """
    return outline(cert_pem).until


def split(bundle_pem: bytes) -> list[bytes]:
    """The certificates of a bundle, each as a PEM text of its own."""
    return [match.group() + b"\n" for match in _CERTIFICATE.finditer(bundle_pem)]


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of a year: 50 to 99 are of the last century
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("the certificate's validity is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _inside(der: bytes, tag: int) -> bytes:
    first = next(_elements(der), None)
    if first is None or first[0] != tag:
        raise ValueError("that is no certificate")
    return first[1]


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of one DER element after the other."""
    at = 0
    while at + 2 <= len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:  # the length itself is so many bytes long
            digits = length & 0x7F
            length = int.from_bytes(der[at : at + digits], "big")
            at += digits
        if at + length > len(der):
            raise ValueError("the certificate is cut short")
        yield tag, der[at : at + length]
        at += length


def _no_password() -> bytes:
    # Without this, OpenSSL would ask for the password on the terminal.
    raise ValueError("the private key must not be encrypted")


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A path that leads to ``content``, in memory where the system can do that."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    memory = os.memfd_create("spotalis-pair", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)
