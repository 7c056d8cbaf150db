"""Ledgers and intents for the tests of the planner."""

from __future__ import annotations

from typing import Any

import msgspec

from spotalis.model.ledger import Intent, Ledger, SpotAvailability
from tests.support.builders import LONG_AGO, SPOT


def an_exhausted_ledger(**changes: Any) -> Ledger:
    """The ledger of a workload for which spot is exhausted."""
    ledger = Ledger(spot_availability=SpotAvailability.EXHAUSTED)
    return msgspec.structs.replace(ledger, **changes)


def an_intent(pod: str = "api-3-uid", **changes: Any) -> Intent:
    """The intent to move the pod ``api-3`` to spot."""
    intent = Intent(pod=pod, name="api-3", target=SPOT, instance="me", created_at=LONG_AGO)
    return msgspec.structs.replace(intent, **changes)
