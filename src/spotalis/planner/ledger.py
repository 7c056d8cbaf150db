"""Which evictions may be sent: design J, the protocol that keeps the floor through crashes.

A turn that evicts goes like this, and no clock takes part in it:

1. ``prepare`` the ledger as read, without what was never sent (``drop_unsent``) and what is
   over (``resolve_moves``): new intents come, orphans are taken over.
2. Write it by compare and swap. Lost: nothing was sent, the next turn begins anew.
3. Only then read the pods with quorum, and ``authorize`` against what both say together.
4. Send what is authorised, by UID.
5. ``withdraw`` what was certainly not carried out: one's own, in the turn that wrote it.

Why the floor holds whatever is delayed, lost or doubled: order any two evictions by their writes.
The ledger that the later one wrote names the earlier pod, unless that was already seen ending, in
which case the later list shows it. So the later one never counts on it. Found broken by exhaustion
(tests/model): no ledger, a list before the write, intents that expire, orphans sent again without
a new list, refusals that remove what another has taken over, pods that are not ready and therefore
sent unweighed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType


def drop_unsent(ledger: Ledger, *, instance: str, sent: Set[str]) -> Ledger:
    """Strike what this process has written and never sent: it is as if it had not been meant.

    So it is when a write was answered late or never, or the turn was stopped between write and
    sending. Nobody else can have sent it: who wants to must first take it over, and then our
    write is lost.

    Args:
        ledger: as read.
        instance: this process.
        sent: UIDs of pods whose evictions this process may have sent.
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
    ended: Set[str] = frozenset(),
) -> Ledger:
    """The ledger to be written before anything is sent.

    Args:
        ledger: as read, however old: a stale one loses the compare and swap.
        instance: this process.
        wanted: new intents, of this instance.
        ended: UIDs of pods that were seen ending or gone, by whomever: for good, since a UID
            never comes back. Nothing of theirs is sent again.
    """
    old = ledger.intents
    known = {intent.pod for intent in old}
    again = [intent if intent.pod in ended else _again(intent, instance) for intent in old]
    new = [intent for intent in wanted if intent.pod not in known]
    return msgspec.structs.replace(ledger, intents=(*again, *new))


def _again(intent: Intent, instance: str) -> Intent:
    """One that may have to be sent (again) by us."""
    taken = intent.taken_over or intent.instance != instance
    return msgspec.structs.replace(
        intent, instance=instance, attempts=intent.attempts + 1, taken_over=taken
    )


def authorize(
    ledger: Ledger, *, living: Set[str], floor_pods: Set[str], floor: int
) -> tuple[Intent, ...]:
    """The intents that may be sent now, oldest first.

    Args:
        ledger: as just written, by us.
        living: UIDs of the workload's pods that the quorum list shows, not terminating.
        floor_pods: those among them that are ready on on-demand, and on no leaving node.
        floor: the owner's, as last seen.

    Every intent's pod counts as gone already, whoever sent it; of those to be sent now, each is
    weighed in turn. A pod on on-demand is weighed whether it is ready or not: it may be ready, and
    counted by another process, before the eviction arrives. A pod on spot never counts.
    """
    to_send = [intent for intent in ledger.intents if intent.pod in living]
    meant = {intent.pod for intent in to_send}
    sure = len(floor_pods - meant)
    allowed: list[Intent] = []
    # Sent by an earlier turn or another process, and perhaps on its way: spent, allowed or not.
    waiting = [
        i.pod for i in to_send if i.attempts == 1 and not i.taken_over and i.pod in floor_pods
    ]
    for intent in to_send:
        fresh = intent.pod in waiting
        left = sure + len(waiting) - fresh
        if intent.target is NodeType.ON_DEMAND or left >= floor:
            allowed.append(intent)
            if fresh:
                waiting.remove(intent.pod)
    return tuple(allowed)


def withdraw(ledger: Ledger, *, instance: str, refused: Iterable[str]) -> Ledger:
    """Strike out what was certainly not carried out, as far as that is ours to say.

    Only an intent of our own, in the turn that wrote it: an older one, or one taken over, may
    have been sent before by whoever had it, and stays until its pod is seen ending.
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
