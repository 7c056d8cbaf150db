"""When which certificate is made and when an old authority goes: a pure function of the Secret.

All replicas share one Secret: the authorities (a bundle whose last one signs), that one's key,
and the certificate with its key. The order of a change of authority is what keeps every review
answered (safety.md row 49): the new authority joins the bundle; when the API server and every
replica have had time to take that in, it signs a new certificate; when every replica has had
time to show that, the old authority goes.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.webhook.pem import BACKDATED, CertificateInfo, load_pair, outline, split

BUNDLE, AUTHORITY_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""Keys of the Secret's data, those of a TLS Secret where it has them."""
NAMES = "names"
"""Comma-separated: for whom the certificate was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long things last."""

    certificate: timedelta = timedelta(days=90)
    authority: timedelta = timedelta(days=365)
    """Must be several times the certificate's."""
    renewal: float = 2 / 3
    """Both are renewed when this share of their life is over."""
    settling: timedelta = timedelta(seconds=60)
    """Until the API server and all replicas have surely taken in what was published: watches
    take milliseconds, a watch that is being re-established up to 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the Secret holds, as far as it is of use."""

    authorities: tuple[tuple[bytes, CertificateInfo], ...] = ()
    """Each with its PEM text; the last one signs."""
    authority_key: bytes = b""
    """Of the last authority; empty if there is none that fits."""
    certificate: CertificateInfo | None = None
    """None if there is none, or its key is another's."""
    cert_pem: bytes = b""
    key_pem: bytes = b""
    names: str = ""

    @property
    def bundle(self) -> bytes:
        """Whom callers are to trust."""
        return b"".join(pem for pem, _ in self.authorities)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStep:
    """What is to be done about the Secret now; nothing, if it is false."""

    authority: bool = False
    """Make a new authority and add it to the bundle; it signs from now on."""
    certificate: bool = False
    """Have a new certificate signed."""
    drop: tuple[bytes, ...] = ()
    """Subjects of authorities that leave the bundle."""

    def __bool__(self) -> bool:
        return self.authority or self.certificate or bool(self.drop)


def held(data: Mapping[str, bytes]) -> Held:
    """Read a Secret's data; what is no use is as good as absent."""
    authorities = tuple(
        (pem, found) for pem in split(data.get(BUNDLE, b"")) if (found := _readable(pem))
    )
    authority_key = data.get(AUTHORITY_KEY, b"")
    if not authorities or not _fits(authorities[-1][0], authority_key):
        authority_key = b""
    cert_pem, key_pem = data.get(CERTIFICATE, b""), data.get(KEY, b"")
    certificate = _readable(cert_pem) if _fits(cert_pem, key_pem) else None
    return Held(
        authorities=authorities,
        authority_key=authority_key,
        certificate=certificate,
        cert_pem=cert_pem if certificate else b"",
        key_pem=key_pem if certificate else b"",
        names=data.get(NAMES, b"").decode("utf-8", "replace"),
    )


def next_step(
    has: Held, now: datetime, *, published: bool, names: str, lifetimes: Lifetimes
) -> RotationStep:
    """What is to be done now.

    Args:
        has: what the Secret holds.
        now: wall clock.
        published: the API server has been told to trust the whole bundle.
        names: for whom a certificate must be made, as in :data:`NAMES`.
        lifetimes: of new ones, and how long to let a change settle.
    """
    valid = {found.subject for _, found in has.authorities if found.until > now}
    signing = has.authorities[-1][1] if has.authority_key and has.authorities else None
    if signing is not None and signing.until <= now:
        signing = None
    certificate = has.certificate
    if certificate is not None and not (
        certificate.until > now and certificate.issuer in valid and has.names == names
    ):
        certificate = None
    if signing is None or certificate is None:
        return RotationStep(
            authority=signing is None, certificate=certificate is None, drop=_expired(has, now)
        )
    if certificate.issuer != signing.subject:  # the new authority is yet to sign
        return RotationStep(certificate=published and _settled(signing, now, lifetimes))
    if now >= _due(signing, lifetimes):
        return RotationStep(authority=True)
    if now >= _due(certificate, lifetimes):
        return RotationStep(certificate=True)
    if published and _settled(certificate, now, lifetimes):
        return RotationStep(drop=tuple(found.subject for _, found in has.authorities[:-1]))
    return RotationStep(drop=_expired(has, now))


def next_check(has: Held, now: datetime, *, lifetimes: Lifetimes) -> timedelta:
    """How long nothing can come due; at least a second, at most an hour."""
    instants = [_due(found, lifetimes) for _, found in has.authorities[-1:]]
    if has.certificate is not None:
        instants.append(_due(has.certificate, lifetimes))
        instants.append(_since(has.certificate) + lifetimes.settling)
    instants += [_since(found) + lifetimes.settling for _, found in has.authorities[-1:]]
    ahead = [instant - now for instant in instants if instant > now]
    return max(timedelta(seconds=1), min([*ahead, timedelta(hours=1)]))


def _expired(has: Held, now: datetime) -> tuple[bytes, ...]:
    return tuple(found.subject for _, found in has.authorities if found.until <= now)


def _settled(made: CertificateInfo, now: datetime, lifetimes: Lifetimes) -> bool:
    return now >= _since(made) + lifetimes.settling


def _due(made: CertificateInfo, lifetimes: Lifetimes) -> datetime:
    """When it is to be renewed."""
    return _since(made) + (made.until - _since(made)) * lifetimes.renewal


def _since(made: CertificateInfo) -> datetime:
    """When it was made."""
    return made.since + BACKDATED


def _readable(cert_pem: bytes) -> CertificateInfo | None:
    try:
        return outline(cert_pem)
    except ValueError:
        return None


def _fits(cert_pem: bytes, key_pem: bytes) -> bool:
    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_pem, key_pem)
    except (ssl.SSLError, ValueError):
        return False
    return True
