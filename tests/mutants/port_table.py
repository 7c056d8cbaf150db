"""Mutants of the ports and the certificates that unit tests and contract tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant

ROTATION = "tests/unit/webhook/test_rotation_plan.py"
CERTIFICATES = "tests/contract/test_certificate_rotation.py"

PORT_MUTANTS = (
    mutant(
        "a renewal of the certificate comes before the end of a change of authority",
        "webhook/rotation_plan.py",
        "(1 + lifetimes.renewal) / 2",
        "lifetimes.renewal",
        ROTATION,
    ),
    mutant(
        "a third authority joins before the first one is removed",
        "webhook/rotation_plan.py",
        "    elif now >= _renewal_time(signing",
        "    if now >= _renewal_time(signing",
        ROTATION,
    ),
    mutant(
        "a certificate from the future is used",
        "webhook/rotation_plan.py",
        "    return info.issued_at - BACKDATED <= now < info.expires_at\n",
        "    return now < info.expires_at\n",
        ROTATION,
    ),
    mutant(
        "the clock of the node decides about certificates",
        "webhook/certificate_rotation.py",
        "        return self._clock.now() + self._client.clock_skew()\n",
        "        return self._clock.now()\n",
        CERTIFICATES,
    ),
)
