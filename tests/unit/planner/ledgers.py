"""Ledgers and intents for the tests of the planner."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.spot_knowledge import SpotView
from tests.support.builders import LONG_AGO, NOW, SPOT


def an_exhausted_ledger(**changes: Any) -> Ledger:
    """The ledger that an older version has written while spot was exhausted."""
    ledger = Ledger(spot_availability=SpotAvailability.EXHAUSTED)
    return msgspec.structs.replace(ledger, **changes)


EXHAUSTED = SpotView(
    availability=SpotAvailability.EXHAUSTED,
    since=NOW - timedelta(minutes=6),
    failed_probes=1,
    next_probe_at=NOW - timedelta(minutes=1),
    cause="7 replicas waited 120 s",
)
"""Spot has been exhausted for 6 minutes: a probe is due."""
AVAILABLE = SpotView(availability=SpotAvailability.AVAILABLE, since=NOW - timedelta(minutes=1))


def an_intent(pod: str = "api-3-uid", **changes: Any) -> Intent:
    """The intent to move the pod ``api-3`` to spot."""
    intent = Intent(pod=pod, name="api-3", target=SPOT, instance="me", created_at=LONG_AGO)
    return msgspec.structs.replace(intent, **changes)
