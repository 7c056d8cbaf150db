"""The production functions on the compact values of the model. Results are cached."""

from __future__ import annotations

from functools import cache

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.planner import ledger as production
from tests.model.ledger_state import (
    Authorize,
    PackedIntent,
    PackedLedger,
    Pods,
    Prepare,
    Status,
    Withdraw,
)

MAX_ATTEMPTS = 2
"""Attempts are counted up to this: the rules distinguish only one and more."""


@cache
def to_intent(intent: PackedIntent) -> Intent:
    return Intent(
        pod=str(intent.pod),
        name=f"p{intent.pod}",
        target=NodeType.SPOT,
        instance=str(intent.instance),
        attempts=intent.attempts,
        taken_over=intent.taken_over,
    )


def to_ledger(intents: PackedLedger) -> Ledger:
    return Ledger(intents=tuple(map(to_intent, intents)))


def to_packed(ledger: Ledger) -> PackedLedger:
    return tuple(
        PackedIntent(int(i.pod), int(i.instance), min(i.attempts, MAX_ATTEMPTS), i.taken_over)
        for i in ledger.intents
    )


@cache
def prepared(prepare: Prepare, intents: PackedLedger, instance: int, wanted: Pods) -> PackedLedger:
    return to_packed(
        prepare(
            to_ledger(intents),
            instance=str(instance),
            wanted=[to_intent(PackedIntent(pod, instance)) for pod in wanted],
        )
    )


@cache
def without_unsent(intents: PackedLedger, instance: int, sent: Pods) -> PackedLedger:
    return to_packed(
        production.drop_unsent(to_ledger(intents), instance=str(instance), sent=set(map(str, sent)))
    )


@cache
def authorized(authorize: Authorize, intents: PackedLedger, pods: Pods, floor: int) -> Pods:
    allowed = authorize(
        to_ledger(intents),
        living={str(pod) for pod in live_pods(pods)},
        floor_pods={str(pod) for pod, status in enumerate(pods) if status is Status.READY},
        floor=floor,
    )
    return tuple(int(intent.pod) for intent in allowed)


@cache
def withdrawn(
    withdraw: Withdraw, intents: PackedLedger, instance: int, rejected: Pods
) -> PackedLedger:
    return to_packed(
        withdraw(to_ledger(intents), instance=str(instance), refused=map(str, rejected))
    )


@cache
def live_pods(pods: Pods) -> Pods:
    return tuple(pod for pod, status in enumerate(pods) if status in (Status.READY, Status.UNREADY))
