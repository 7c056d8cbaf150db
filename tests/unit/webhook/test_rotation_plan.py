"""When certificates are issued and authorities are removed, by the content of the Secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.webhook.certificate_secret import CertificateSecret
from spotalis.webhook.issuer_messages import CertificateInfo
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
    settled: bool = True


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
    "a new authority does not sign before it has settled, whatever its age": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=DAY),
            serving=certificate(OLD, age=DAY),
        ),
        NOTHING,
        settled=False,
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
        settled=False,
    ),
    "an old authority is kept until the new certificate has settled, whatever its age": Case(
        a_secret(
            authority(OLD, age=241 * DAY),
            authority(NEW, age=DAY),
            serving=certificate(NEW, age=DAY),
        ),
        NOTHING,
        settled=False,
    ),
    "an old authority is removed before the next renewal of the certificate": Case(
        a_secret(
            authority(OLD, age=301 * DAY),
            authority(NEW, age=61 * DAY),
            serving=certificate(NEW, age=60 * DAY),
        ),
        RotationStep(drop=(OLD,)),
    ),
    "an old authority is removed before a third authority joins": Case(
        a_secret(
            authority(OLD, age=300 * DAY),
            authority(NEW, age=240 * DAY),
            serving=certificate(NEW, age=DAY),
        ),
        RotationStep(drop=(OLD,)),
    ),
    "no third authority joins while two have not settled": Case(
        a_secret(
            authority(OLD, age=300 * DAY),
            authority(NEW, age=240 * DAY),
            serving=certificate(NEW, age=DAY),
        ),
        NOTHING,
        settled=False,
    ),
    "the renewal of a certificate waits for the end of a change of authority": Case(
        a_secret(
            authority(OLD, age=315 * DAY),
            authority(NEW, age=76 * DAY),
            serving=certificate(NEW, age=75 * DAY - MINUTE),
        ),
        NOTHING,
        settled=False,
    ),
    "a certificate is renewed in time even if the bundle is never published": Case(
        a_secret(
            authority(OLD, age=316 * DAY),
            authority(NEW, age=76 * DAY),
            serving=certificate(NEW, age=75 * DAY),
        ),
        RotationStep(certificate=True),
        settled=False,
    ),
    "an authority and a certificate from the future are replaced": Case(
        a_secret(authority(OLD, age=-400 * DAY), serving=certificate(OLD, age=-400 * DAY)),
        replace(BEGIN, drop=(OLD,)),
    ),
    "a certificate from the future is replaced by the same authority": Case(
        a_secret(FRESH, serving=certificate(OLD, age=-6 * MINUTE)), RotationStep(certificate=True)
    ),
    "a certificate of a clock that is five minutes ahead is valid already": Case(
        a_secret(FRESH, serving=certificate(OLD, age=-5 * MINUTE)), NOTHING
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
        settled=False,
    ),
    "an expired Secret gets a new authority and a new certificate": Case(
        a_secret(authority(OLD, age=900 * DAY), serving=certificate(OLD, age=900 * DAY)),
        replace(BEGIN, drop=(OLD,)),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_next_step(case: Case) -> None:
    step = next_step(case.secret, NOW, settled=case.settled, names=NAMES, lifetimes=LIFETIMES)
    assert step == case.step
    assert bool(step) is (case.step != NOTHING)


def test_the_renewal_time_follows_the_configured_fraction_of_the_lifetime() -> None:
    secret = a_secret(authority(OLD, age=DAY), serving=certificate(OLD, age=8 * DAY))
    early = replace(LIFETIMES, renewal=0.1)
    assert not next_step(secret, NOW, settled=True, names=NAMES, lifetimes=early)
    assert next_check(secret, NOW, lifetimes=early) <= DAY
    later = next_step(secret, NOW + DAY, settled=True, names=NAMES, lifetimes=early)
    assert later == RotationStep(certificate=True)


OFTEN = Lifetimes(
    certificate=75 * DAY, authority=180 * DAY, settling=timedelta(seconds=60), renewal=2 / 45
)
"""Certificates are renewed after 3.3 days and authorities after 8."""


@pytest.mark.parametrize(
    ("lifetimes", "step_takes", "steps"),
    [
        # A certificate every 60 days, every fourth of them by a new authority.
        pytest.param(
            LIFETIMES,
            timedelta(0),
            {"authority": 4, "certificate": 13, "drop": 3},
            id="steps at once",
        ),
        pytest.param(
            OFTEN,
            4 * DAY,
            {"authority": 92, "certificate": 92, "drop": 90},
            id="steps of 4 days, certificates of 3",
        ),
    ],
)
def test_at_most_two_authorities_are_trusted_during_two_years_of_renewals(
    lifetimes: Lifetimes, step_takes: timedelta, steps: dict[str, int]
) -> None:
    """Even where issuing a certificate takes longer than the time until its renewal."""
    now, serial, settled_at = NOW, 0, NOW
    secret = a_secret(serving=None, has_key=False)
    done = dict.fromkeys(steps, 0)
    while now < NOW + 730 * DAY:
        settled = now >= settled_at
        step = next_step(secret, now, settled=settled, names=NAMES, lifetimes=lifetimes)
        authorities = tuple(pair for pair in secret.authorities if pair[1].subject not in step.drop)
        current = secret.certificate
        if step.authority:
            serial += 1
            name = str(serial)
            info = CertificateInfo(name, name, now, now + lifetimes.authority)
            authorities += ((b"pem", info),)
        if step.certificate:
            signer = authorities[-1][1].subject
            assert current is None or current[1].issuer == signer or settled
            info = CertificateInfo(signer, "leaf", now, now + lifetimes.certificate)
            current = (b"pem", info)
        done["authority"] += step.authority
        done["certificate"] += step.certificate
        done["drop"] += len(step.drop)
        secret = CertificateSecret(
            authorities=authorities, authority_key=b"key", certificate=current, names=NAMES
        )
        if step.authority or step.certificate:
            now += step_takes
        assert current is not None
        assert current[1].issuer in {info.subject for _, info in authorities}
        assert len(authorities) <= 2
        assert current[1].expires_at - now > lifetimes.certificate / 4
        if step:
            settled_at = now + lifetimes.settling
        else:
            check = next_check(secret, now, lifetimes=lifetimes)
            now = min(now + check, settled_at) if settled_at > now else now + check
    assert done == steps
