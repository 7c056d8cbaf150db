"""When certificates are made and authorities go: a table over the state of the Secret and now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.webhook.pem import BACKDATED, CertificateInfo
from spotalis.webhook.rotation_plan import (
    Held,
    Lifetimes,
    RotationStep,
    held,
    next_check,
    next_step,
)
from tests.support.tls_pairs import a_pair

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LIVES = Lifetimes(
    certificate=timedelta(days=90),
    authority=timedelta(days=360),
    settling=timedelta(seconds=60),
)
NAMES = "spotalis-webhook.spotalis-system.svc"
DAY = timedelta(days=1)
OLD, NEW, OLDER = b"old", b"new", b"older"


def authority(
    name: bytes, *, made: timedelta, life: timedelta = LIVES.authority
) -> CertificateInfo:
    """Made so long ago."""
    since = NOW - made
    return CertificateInfo(name, name, since - BACKDATED, since + life)


def certificate(
    by: bytes, *, made: timedelta, life: timedelta = LIVES.certificate
) -> CertificateInfo:
    since = NOW - made
    return CertificateInfo(by, b"us", since - BACKDATED, since + life)


def a_secret(
    *authorities: CertificateInfo,
    shows: CertificateInfo | None,
    signs: bool = True,
    names: str = NAMES,
) -> Held:
    return Held(
        authorities=tuple((b"pem", one) for one in authorities),
        authority_key=b"key" if signs else b"",
        certificate=shows,
        names=names,
    )


@dataclass(frozen=True)
class Case:
    """What is held, and what is to be done."""

    has: Held
    change: RotationStep
    published: bool = True


FRESH = authority(OLD, made=DAY)
SIGNED = certificate(OLD, made=DAY)
NOTHING = RotationStep()
BEGIN = RotationStep(authority=True, certificate=True)
MINUTE = timedelta(minutes=1)
CASES = {
    "an empty secret gets both": Case(a_secret(shows=None, signs=False), BEGIN),
    "a fresh pair is left alone": Case(a_secret(FRESH, shows=SIGNED), NOTHING),
    "a certificate just before two thirds is left alone": Case(
        a_secret(authority(OLD, made=60 * DAY), shows=certificate(OLD, made=60 * DAY - MINUTE)),
        NOTHING,
    ),
    "a certificate at two thirds is renewed by the same authority": Case(
        a_secret(authority(OLD, made=60 * DAY), shows=certificate(OLD, made=60 * DAY)),
        RotationStep(certificate=True),
    ),
    "an expired certificate is renewed by the same authority": Case(
        a_secret(authority(OLD, made=91 * DAY), shows=certificate(OLD, made=90 * DAY)),
        RotationStep(certificate=True),
    ),
    "a certificate without its key is made again": Case(
        a_secret(FRESH, shows=None), RotationStep(certificate=True)
    ),
    "a certificate for other names is made again": Case(
        a_secret(FRESH, shows=SIGNED, names="elsewhere"), RotationStep(certificate=True)
    ),
    "a certificate of an authority that nobody trusts is made again": Case(
        a_secret(FRESH, shows=certificate(OLDER, made=DAY)), RotationStep(certificate=True)
    ),
    "an authority at two thirds is joined by another, which does not sign yet": Case(
        a_secret(authority(OLD, made=240 * DAY), shows=certificate(OLD, made=DAY)),
        RotationStep(authority=True),
    ),
    "an authority without its key is joined by another": Case(
        a_secret(FRESH, shows=SIGNED, signs=False), RotationStep(authority=True)
    ),
    "a new authority that has not been published does not sign": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=DAY),
            shows=certificate(OLD, made=DAY),
        ),
        NOTHING,
        published=False,
    ),
    "a new authority that has not settled does not sign": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=MINUTE - timedelta(seconds=1)),
            shows=certificate(OLD, made=DAY),
        ),
        NOTHING,
    ),
    "a new authority that has settled signs, however young the old certificate": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=MINUTE),
            shows=certificate(OLD, made=DAY),
        ),
        RotationStep(certificate=True),
    ),
    "an expired certificate does not wait for the new authority to settle": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=timedelta(0)),
            shows=certificate(OLD, made=91 * DAY),
        ),
        RotationStep(certificate=True),
        published=False,
    ),
    "an old authority stays until the new certificate has settled": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=2 * MINUTE),
            shows=certificate(NEW, made=MINUTE - timedelta(seconds=1)),
        ),
        NOTHING,
    ),
    "an old authority stays until the bundle has been published": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=DAY),
            shows=certificate(NEW, made=DAY),
        ),
        NOTHING,
        published=False,
    ),
    "an old authority goes when the new certificate has settled": Case(
        a_secret(
            authority(OLD, made=241 * DAY),
            authority(NEW, made=2 * MINUTE),
            shows=certificate(NEW, made=MINUTE),
        ),
        RotationStep(drop=(OLD,)),
    ),
    "an expired authority goes whatever has been published": Case(
        a_secret(
            authority(OLD, made=361 * DAY),
            authority(NEW, made=DAY),
            shows=certificate(NEW, made=DAY),
        ),
        RotationStep(drop=(OLD,)),
        published=False,
    ),
    "a secret that slept for years is begun anew": Case(
        a_secret(authority(OLD, made=900 * DAY), shows=certificate(OLD, made=900 * DAY)),
        replace(BEGIN, drop=(OLD,)),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_to_be_done(case: Case) -> None:
    change = next_step(case.has, NOW, published=case.published, names=NAMES, lifetimes=LIVES)
    assert change == case.change
    assert bool(change) is (case.change != NOTHING)


def test_what_is_renewed_at_a_tenth_of_its_life_is_renewed_then() -> None:
    has = a_secret(authority(OLD, made=DAY), shows=certificate(OLD, made=8 * DAY))
    early = replace(LIVES, renewal=0.1)
    assert not next_step(has, NOW, published=True, names=NAMES, lifetimes=early)
    assert next_check(has, NOW, lifetimes=early) <= DAY
    later = next_step(has, NOW + DAY, published=True, names=NAMES, lifetimes=early)
    assert later == RotationStep(certificate=True)


def test_two_years_of_renewals_never_leave_a_certificate_without_its_authority() -> None:
    """Day by day as a replica would do it; each authority is trusted before it signs."""
    now, serial = NOW, 0
    has = a_secret(shows=None, signs=False)
    trusted_since: dict[bytes, datetime] = {}
    done = {"authority": 0, "certificate": 0, "drop": 0}
    while now < NOW + 730 * DAY:
        change = next_step(has, now, published=True, names=NAMES, lifetimes=LIVES)
        kept = tuple(one for one in has.authorities if one[1].subject not in change.drop)
        shows = has.certificate
        if change.authority:
            serial += 1
            made = CertificateInfo(
                b"%d" % serial, b"%d" % serial, now - BACKDATED, now + LIVES.authority
            )
            kept += ((b"pem", made),)
            trusted_since[made.subject] = now
        if change.certificate:
            by = kept[-1][1]
            shows = CertificateInfo(by.subject, b"us", now - BACKDATED, now + LIVES.certificate)
            first = done["certificate"] == 0
            assert first or now - trusted_since[by.subject] >= LIVES.settling
        done["authority"] += change.authority
        done["certificate"] += change.certificate
        done["drop"] += len(change.drop)
        has = Held(authorities=kept, authority_key=b"key", certificate=shows, names=NAMES)
        assert shows is not None
        assert shows.issuer in {one.subject for _, one in has.authorities}
        assert shows.until - now > LIVES.certificate / 4
        assert len(has.authorities) <= 2
        if not change:
            now += next_check(has, now, lifetimes=LIVES)
    # A certificate every 60 days, each fourth of them by a new authority.
    assert done == {"authority": 4, "certificate": 13, "drop": 3}


def test_what_a_secret_holds_is_read_and_what_is_no_use_is_absent() -> None:
    pair, other = a_pair(), a_pair()
    ca = pair.authority.cert_pem.bytes()
    data = {"ca.crt": ca, "tls.crt": pair.cert_pem, "tls.key": pair.key_pem, "names": b"a,b"}
    has = held(data)
    assert [pem for pem, _ in has.authorities] == [ca]
    assert has.certificate is not None
    assert has.certificate.issuer == has.authorities[0][1].subject
    assert (has.authority_key, has.names) == (b"", "a,b")
    assert held({**data, "tls.key": other.key_pem}).certificate is None
    assert held({**data, "ca.key": other.key_pem}).authority_key == b""
    assert held({}) == Held()
    assert held({"ca.crt": b"junk", "tls.crt": b"junk", "names": b"\xff"}).authorities == ()
