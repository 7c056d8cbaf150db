"""Decides when certificates are issued and when authorities are removed.

A pure function of the shared Secret and the current time. The order of a change of authority
keeps every admission request answered (decision 0013):

1. A new authority joins the bundle.
2. When the API server and all instances trust the bundle, it signs a new certificate.
3. When all instances present the new certificate, the old authority is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.webhook.certificate_secret import CertificateSecret
from spotalis.webhook.issuer import CertificateInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """The lifetimes of certificates, and when they are renewed."""

    certificate: timedelta = timedelta(days=90)
    authority: timedelta = timedelta(days=365)
    """Must be several times that of the certificate."""
    renewal: float = 2 / 3
    """Fraction of the lifetime after which certificates and authorities are renewed."""
    settling: timedelta = timedelta(seconds=60)
    """Time for the API server and all instances to observe a change: a watch takes milliseconds,
    or up to 30 s while it reconnects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStep:
    """The changes to make to the Secret now; false if there are none."""

    authority: bool = False
    """Issue a new authority and append it to the bundle, so that it signs from now on."""
    certificate: bool = False
    """Issue a new certificate."""
    drop: tuple[str, ...] = ()
    """Subjects of the authorities to remove from the bundle."""

    def __bool__(self) -> bool:
        return self.authority or self.certificate or bool(self.drop)


def next_step(
    secret: CertificateSecret, now: datetime, *, published: bool, names: str, lifetimes: Lifetimes
) -> RotationStep:
    """Return the changes to make now.

    ``published`` is whether the API server has been configured to trust the whole bundle, and
    ``names`` are those that the certificate must have, in the form in which the Secret stores them.
    """
    valid = {info.subject for _, info in secret.authorities if info.expires_at > now}
    signing = secret.authorities[-1][1] if secret.authorities and secret.authority_key else None
    if signing is not None and signing.expires_at <= now:
        signing = None
    certificate = secret.certificate[1] if secret.certificate else None
    if certificate is not None and not (
        certificate.expires_at > now and certificate.issuer in valid and secret.names == names
    ):
        certificate = None
    expired = tuple(info.subject for _, info in secret.authorities if info.expires_at <= now)
    if signing is None or certificate is None:
        return RotationStep(
            authority=signing is None, certificate=certificate is None, drop=expired
        )
    if certificate.issuer != signing.subject:  # the new authority has not signed yet
        return RotationStep(certificate=published and _has_settled(signing, now, lifetimes))
    if now >= _renewal_time(signing, lifetimes):
        return RotationStep(authority=True)
    if now >= _renewal_time(certificate, lifetimes):
        return RotationStep(certificate=True)
    if published and _has_settled(certificate, now, lifetimes):
        return RotationStep(drop=tuple(info.subject for _, info in secret.authorities[:-1]))
    return RotationStep(drop=expired)


def next_check(secret: CertificateSecret, now: datetime, *, lifetimes: Lifetimes) -> timedelta:
    """Return the time until :func:`next_step` can change: from one second to one hour."""
    certificates = [*secret.authorities[-1:], *([secret.certificate] if secret.certificate else [])]
    infos = [info for _, info in certificates]
    times = [_renewal_time(info, lifetimes) for info in infos]
    times += [info.issued_at + lifetimes.settling for info in infos]
    waits = [time - now for time in times if time > now]
    return max(timedelta(seconds=1), min([*waits, timedelta(hours=1)]))


def _has_settled(info: CertificateInfo, now: datetime, lifetimes: Lifetimes) -> bool:
    return now >= info.issued_at + lifetimes.settling


def _renewal_time(info: CertificateInfo, lifetimes: Lifetimes) -> datetime:
    return info.issued_at + (info.expires_at - info.issued_at) * lifetimes.renewal
