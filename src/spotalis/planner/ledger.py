"""Which evictions may be sent: the write-ahead protocol that keeps the minimum through crashes.

A reconcile that evicts pods for moves does this, without depending on any clock:

1. ``drop_unsent`` removes from the ledger as read what this instance never sent, ``resolve_moves``
   removes what has finished, and ``prepare`` adds new intents and takes over those of other
   instances.
2. The ledger is written by compare-and-swap. If another instance wrote it first, nothing has been
   sent, and the next reconcile starts again.
3. Only then are the pods listed with quorum, and ``authorize`` decides on the basis of both.
4. What is authorized is sent, with the pod's UID as a precondition.
5. ``withdraw`` removes the instance's own intents that were certainly not carried out.

This keeps the minimum whatever is delayed, lost or sent twice. Order any two evictions by the
ledger writes before them. The ledger of the later write names the pod of the earlier one, unless
that pod was already seen ending, in which case the later list shows it. So the later eviction
never counts on the earlier pod. Exhaustive checks (tests/model) show that these variants break the
minimum: no ledger; a list before the write; intents that expire; intents of other instances that
are sent again without a new list; refusals that remove what another instance has taken over; and
evictions of unready pods that are not checked.

See docs/concepts/safety.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType


def drop_unsent(ledger: Ledger, *, instance: str, sent: Set[str]) -> Ledger:
    """Remove the intents that this instance has written and never sent.

    They remain when the response to a write was late or lost, or when the reconcile stopped
    between write and send. No other instance can have sent them: it must take them over first,
    and then this instance's write fails.

    Args:
        ledger: as read.
        instance: this instance.
        sent: UIDs of the pods whose evictions this instance may have sent.
    """
    kept = tuple(
        intent
        for intent in ledger.intents
        if intent.instance != instance or intent.taken_over or intent.pod in sent
    )
    return msgspec.structs.replace(ledger, intents=kept)


def prepare(
    ledger: Ledger,
    *,
    instance: str,
    wanted: Sequence[Intent] = (),
    terminated: Set[str] = frozenset(),
) -> Ledger:
    """The ledger that must be written before anything is sent.

    Args:
        ledger: as read, however old: the write of an outdated ledger fails.
        instance: this instance.
        wanted: new intents of this instance.
        terminated: UIDs of the pods that terminate or are gone. Their evictions are not sent
            again.
    """
    old = ledger.intents
    known = {intent.pod for intent in old}
    again = [i if i.pod in terminated else _send_again(i, instance) for i in old]
    new = [intent for intent in wanted if intent.pod not in known]
    return msgspec.structs.replace(ledger, intents=(*again, *new))


def _send_again(intent: Intent, instance: str) -> Intent:
    """The intent as this instance may send it, perhaps not for the first time."""
    return msgspec.structs.replace(
        intent,
        instance=instance,
        attempts=intent.attempts + 1,
        taken_over=intent.taken_over or intent.instance != instance,
    )


def authorize(
    ledger: Ledger, *, live: Set[str], floor_pods: Set[str], floor: int
) -> tuple[Intent, ...]:
    """The intents whose evictions may be sent now, oldest first.

    The pod of every intent counts as gone, whichever instance sends it. The evictions to be sent
    now are checked one after the other. A pod on on-demand is checked even if it is not ready: it
    may be ready, and count for another instance, when the eviction arrives. A pod on spot never
    counts.

    Args:
        ledger: as this instance has just written it.
        live: UIDs of the workload's pods in the quorum list that do not terminate.
        floor_pods: those of them that count toward the minimum.
        floor: the minimum on on-demand.
    """
    to_send = [intent for intent in ledger.intents if intent.pod in live]
    intended = {intent.pod for intent in to_send}
    certain = len(floor_pods - intended)
    allowed: list[Intent] = []
    # The others may have been sent earlier or by another instance, so they count as gone.
    unsent = [
        i.pod for i in to_send if i.attempts == 1 and not i.taken_over and i.pod in floor_pods
    ]
    for intent in to_send:
        is_unsent = intent.pod in unsent
        left = certain + len(unsent) - is_unsent
        if intent.target is NodeType.ON_DEMAND or left >= floor:
            allowed.append(intent)
            if is_unsent:
                unsent.remove(intent.pod)
    return tuple(allowed)


def withdraw(ledger: Ledger, *, instance: str, refused: Iterable[str]) -> Ledger:
    """Remove the intents whose evictions were certainly not carried out.

    Only an intent that this instance has added in this reconcile is removed. An older one, or one
    that was taken over, may have been sent before, and stays until its pod is seen ending.
    """
    gone = set(refused)
    kept = tuple(
        intent
        for intent in ledger.intents
        if intent.pod not in gone
        or intent.instance != instance
        or intent.taken_over
        or intent.attempts > 1
    )
    return msgspec.structs.replace(ledger, intents=kept)
