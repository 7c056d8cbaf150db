"""When certificates are issued and authorities are removed, by the content of the Secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.webhook.certificate_secret import CertificateSecret
from spotalis.webhook.issuer import CertificateInfo
from spotalis.webhook.rotation_plan import Lifetimes, RotationStep, next_check, next_step

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LIFETIMES = Lifetimes(
    certificate=timedelta(days=90),
    authority=timedelta(days=360),
    settling=timedelta(seconds=60),
)
NAMES = "spotalis-webhook.spotalis-system.svc"
DAY = timedelta(days=1)
OLD, NEW, OLDER = "old", "new", "older"


def authority(
    name: str, *, age: timedelta, lifetime: timedelta = LIFETIMES.authority
) -> CertificateInfo:
    return CertificateInfo(name, name, NOW - age, NOW - age + lifetime)


def certificate(
    issuer: str, *, age: timedelta, lifetime: timedelta = LIFETIMES.certificate
) -> CertificateInfo:
    return CertificateInfo(issuer, "leaf", NOW - age, NOW - age + lifetime)


def a_secret(
    *authorities: CertificateInfo,
    serving: CertificateInfo | None,
    has_key: bool = True,
    names: str = NAMES,
) -> CertificateSecret:
    return CertificateSecret(
        authorities=tuple((b"pem", info) for info in authorities),
        authority_key=b"key" if has_key else b"",
        certificate=(b"pem", serving) if serving else None,
        names=names,
    )


@dataclass(frozen=True)
class Case:
    """The content of the Secret, and the step that follows."""

    secret: CertificateSecret
    step: RotationStep
    published: bool = True


FRESH = authority(OLD, age=DAY)
SIGNED = certificate(OLD, age=DAY)
NOTHING = RotationStep()
BEGIN = RotationStep(authority=True, certificate=True)
MINUTE = timedelta(minutes=1)
CASES = {
    "an empty Secret gets an authority and a certificate": Case(
        a_secret(serving=None, has_key=False), BEGIN
    ),
    "a new certificate is kept": Case(a_secret(FRESH, serving=SIGNED), NOTHING),
    "a certificate is kept until two thirds of its lifetime": Case(
        a_secret(authority(OLD, age=60 * DAY), serving=certificate(OLD, age=60 * DAY - MINUTE)),
        NOTHING,
    ),
    "a certificate is renewed after two thirds of its lifetime": Case(
        a_secret(authority(OLD, age=60 * DAY), serving=certificate(OLD, age=60 * DAY)),
        RotationStep(certificate=True),
    ),
    "an expired certificate is renewed by the same authority": Case(
        a_secret(authority(OLD, age=91 * DAY), serving=certificate(OLD, age=90 * DAY)),
        RotationStep(certificate=True),
    ),
    "a certificate without its key is replaced": Case(
        a_secret(FRESH, serving=None), RotationStep(certificate=True)
    ),
    "a certificate for other names is replaced": Case(
        a_secret(FRESH, serving=SIGNED, names="elsewhere"), RotationStep(certificate=True)
    ),
    "a certificate of an untrusted authority is replaced": Case(
        a_secret(FRESH, serving=certificate(OLDER, age=DAY)), RotationStep(certificate=True)
    ),
    "a second authority joins after two thirds of the lifetime and does not sign yet": Case(
        a_secret(authority(OLD, age=240 * DAY), serving=certificate(OLD, age=DAY)),
        RotationStep(authority=True),
    ),
    "a second authority joins if the key of the first is missing": Case(
        a_secret(FRESH, serving=SIGNED, has_key=False), RotationStep(authority=True)
    ),
    "a new authority does not sign before it is published": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=DAY),
            serving=certificate(OLD, age=DAY),
        ),
        NOTHING,
        published=False,
    ),
    "a new authority does not sign before it has settled": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=MINUTE - timedelta(seconds=1)),
            serving=certificate(OLD, age=DAY),
        ),
        NOTHING,
    ),
    "a settled authority signs, whatever the age of the certificate": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=MINUTE),
            serving=certificate(OLD, age=DAY),
        ),
        RotationStep(certificate=True),
    ),
    "an expired certificate is replaced before the authority has settled": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=timedelta(0)),
            serving=certificate(OLD, age=91 * DAY),
        ),
        RotationStep(certificate=True),
        published=False,
    ),
    "an old authority is kept until the new certificate has settled": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=2 * MINUTE),
            serving=certificate(NEW, age=MINUTE - timedelta(seconds=1)),
        ),
        NOTHING,
    ),
    "an old authority is kept until the bundle is published": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=DAY),
            serving=certificate(NEW, age=DAY),
        ),
        NOTHING,
        published=False,
    ),
    "an old authority is removed after the new certificate has settled": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=2 * MINUTE),
            serving=certificate(NEW, age=MINUTE),
        ),
        RotationStep(drop=(OLD,)),
    ),
    "an expired authority is removed even if the bundle is not published": Case(
        a_secret(
            authority(OLD, age=361 * DAY),
            authority(NEW, age=DAY),
            serving=certificate(NEW, age=DAY),
        ),
        RotationStep(drop=(OLD,)),
        published=False,
    ),
    "an expired Secret gets a new authority and a new certificate": Case(
        a_secret(authority(OLD, age=900 * DAY), serving=certificate(OLD, age=900 * DAY)),
        replace(BEGIN, drop=(OLD,)),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_next_step(case: Case) -> None:
    step = next_step(case.secret, NOW, published=case.published, names=NAMES, lifetimes=LIFETIMES)
    assert step == case.step
    assert bool(step) is (case.step != NOTHING)


def test_the_renewal_time_follows_the_configured_fraction_of_the_lifetime() -> None:
    secret = a_secret(authority(OLD, age=DAY), serving=certificate(OLD, age=8 * DAY))
    early = replace(LIFETIMES, renewal=0.1)
    assert not next_step(secret, NOW, published=True, names=NAMES, lifetimes=early)
    assert next_check(secret, NOW, lifetimes=early) <= DAY
    later = next_step(secret, NOW + DAY, published=True, names=NAMES, lifetimes=early)
    assert later == RotationStep(certificate=True)


def test_a_certificate_always_has_a_trusted_authority_during_two_years_of_renewals() -> None:
    now, serial = NOW, 0
    secret = a_secret(serving=None, has_key=False)
    trusted_since: dict[str, datetime] = {}
    steps = {"authority": 0, "certificate": 0, "drop": 0}
    while now < NOW + 730 * DAY:
        step = next_step(secret, now, published=True, names=NAMES, lifetimes=LIFETIMES)
        authorities = tuple(pair for pair in secret.authorities if pair[1].subject not in step.drop)
        current = secret.certificate
        if step.authority:
            serial += 1
            name = str(serial)
            info = CertificateInfo(name, name, now, now + LIFETIMES.authority)
            authorities += ((b"pem", info),)
            trusted_since[name] = now
        if step.certificate:
            signer = authorities[-1][1].subject
            info = CertificateInfo(signer, "leaf", now, now + LIFETIMES.certificate)
            current = (b"pem", info)
            is_first = steps["certificate"] == 0
            assert is_first or now - trusted_since[signer] >= LIFETIMES.settling
        steps["authority"] += step.authority
        steps["certificate"] += step.certificate
        steps["drop"] += len(step.drop)
        secret = CertificateSecret(
            authorities=authorities, authority_key=b"key", certificate=current, names=NAMES
        )
        assert current is not None
        assert current[1].issuer in {info.subject for _, info in authorities}
        assert current[1].expires_at - now > LIFETIMES.certificate / 4
        assert len(authorities) <= 2
        if not step:
            now += next_check(secret, now, lifetimes=LIFETIMES)
    # A certificate every 60 days, every fourth of them by a new authority.
    assert steps == {"authority": 4, "certificate": 13, "drop": 3}
