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
from spotalis.webhook.issuer_messages import BACKDATED, CertificateInfo


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
    or up to 30 s while it reconnects. Counted from when this instance observed the change, so that
    neither slow steps nor differing clocks shorten it."""


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
    secret: CertificateSecret, now: datetime, *, settled: bool, names: str, lifetimes: Lifetimes
) -> RotationStep:
    """Return the changes to make now.

    Args:
        secret: the content of the Secret.
        now: the wall clock of the API server, which judges the certificates.
        settled: whether the API server is configured to trust the whole bundle, and it and all
            instances have had the time to observe the last change.
        names: those that the certificate must have, in the form in which the Secret stores them.
        lifetimes: of certificates.
    """
    usable = {info.subject for _, info in secret.authorities if _is_usable(info, now)}
    unusable = tuple(info.subject for _, info in secret.authorities if info.subject not in usable)
    signing = secret.authorities[-1][1] if secret.authorities and secret.authority_key else None
    if signing is not None and signing.subject not in usable:
        signing = None
    certificate = secret.certificate[1] if secret.certificate else None
    if certificate is not None and not (
        _is_usable(certificate, now) and certificate.issuer in usable and secret.names == names
    ):
        certificate = None
    if signing is None or certificate is None:
        return RotationStep(
            authority=signing is None, certificate=certificate is None, drop=unusable
        )
    if certificate.issuer != signing.subject:  # the new authority has not signed yet
        return RotationStep(certificate=settled)
    if len(secret.authorities) > 1:
        # The change of authority ends before the next renewal. Otherwise, where a step takes longer
        # than the time from a certificate to its renewal, the old authority is never removed.
        if settled:
            return RotationStep(drop=tuple(info.subject for _, info in secret.authorities[:-1]))
        if now >= _renewal_time(certificate, (1 + lifetimes.renewal) / 2):
            return RotationStep(certificate=True)
    elif now >= _renewal_time(signing, lifetimes.renewal):
        return RotationStep(authority=True)
    elif now >= _renewal_time(certificate, lifetimes.renewal):
        return RotationStep(certificate=True)
    return RotationStep(drop=unusable)


def next_check(secret: CertificateSecret, now: datetime, *, lifetimes: Lifetimes) -> timedelta:
    """Return the time until a renewal can become due: from one second to one hour."""
    certificates = [*secret.authorities[-1:], *([secret.certificate] if secret.certificate else [])]
    times = [_renewal_time(info, lifetimes.renewal) for _, info in certificates]
    waits = [time - now for time in times if time > now]
    return max(timedelta(seconds=1), min([*waits, timedelta(hours=1)]))


def _is_usable(info: CertificateInfo, now: datetime) -> bool:
    """Whether a certificate is valid; one from the future comes from a wrong clock."""
    return info.issued_at - BACKDATED <= now < info.expires_at


def _renewal_time(info: CertificateInfo, fraction: float) -> datetime:
    return info.issued_at + (info.expires_at - info.issued_at) * fraction
