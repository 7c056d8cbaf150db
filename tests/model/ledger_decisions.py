"""The production functions on the compact values of the model. Results are cached."""

from __future__ import annotations

import dataclasses
from functools import cache

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.planner import ledger as production
from tests.model.ledger_state import (
    UNLIMITED,
    Authorize,
    PackedIntent,
    PackedLedger,
    Pods,
    Status,
    Withdraw,
)
from tests.support.builders import a_replica, a_workload, plan_of, with_workload

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
def decided(
    intents: PackedLedger, instance: int, sent: Pods, wanted: Pods, known: Pods
) -> PackedLedger:
    """The ledger that a reconcile writes, decided by ``spotalis.planner.decide``.

    The workload is such that exactly the pods ``wanted`` are to move to spot, and that every pod
    in ``known``, which is known to have ended, has been replaced. The floor is 0, because it may
    have been lower at the decision than it is when evictions are authorized.
    """
    ledger = production.drop_unsent(
        to_ledger(intents), instance=str(instance), sent=set(map(str, sent))
    )
    observed = a_workload(
        percent=100,
        floor=0,
        moves=UNLIMITED,
        spot=1,
        ledger=ledger,
        terminated=frozenset(map(str, known)),
    )
    moving = tuple(
        a_replica(name=f"p{pod}", uid=str(pod), node_type=NodeType.ON_DEMAND, other_pods=pod)
        for pod in wanted
    )
    count = 1 + len(moving)
    observed = with_workload(
        dataclasses.replace(observed, replicas=(*observed.replicas, *moving)),
        replicas=count,
        status_replicas=count,
        updated_replicas=count,
    )
    return to_packed(plan_of(observed, instance=str(instance)).ledger)


@cache
def authorized(authorize: Authorize, intents: PackedLedger, pods: Pods, floor: int) -> Pods:
    allowed = authorize(
        to_ledger(intents),
        live={str(pod) for pod in live_pods(pods)},
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
