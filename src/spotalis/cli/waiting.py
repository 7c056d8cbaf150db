"""What a workload waits for, in a word that fits into a column."""

from __future__ import annotations

from datetime import datetime

from spotalis.cli.output import duration
from spotalis.model.decision import Decision, Defer, Reason
from spotalis.planner.observed import Observed

_WORDS = {
    Reason.CACHE_NOT_READY: "lists",
    Reason.COOLDOWN: "cooldown",
    Reason.FLOOR_UNMET: "min-on-demand",
    Reason.FUTILE: "backoff",
    Reason.IMPLAUSIBLE_VIEW: "lists",
    Reason.INVALID_POLICY: "policy",
    Reason.LEDGER_UNREADABLE: "ledger",
    Reason.MOVES_IN_FLIGHT: "moves",
    Reason.NO_CANDIDATE: "pods",
    Reason.NO_CLASSIFIER: "node-labels",
    Reason.NO_ON_DEMAND_CAPACITY: "on-demand",
    Reason.NO_POLICY: "policy",
    Reason.NO_SPOT_CAPACITY: "spot",
    Reason.OUTSIDE_WINDOW: "window",
    Reason.PAUSED: "pause",
    Reason.PINNED: "template",
    Reason.READ_ONLY: "read-only",
    Reason.REBALANCING: "moves",
    Reason.ROLLOUT_IN_PROGRESS: "rollout",
    Reason.SCALING: "scaling",
    Reason.SPOT_UNSTABLE: "spot",
    Reason.STORM_FROZEN: "storm",
    Reason.WAITING_FOR_PODS: "pods",
    Reason.WEBHOOK_NEVER_CALLED: "backoff",
}


def waiting_for(decision: Decision) -> str:
    """The object or the condition that prevents moves, with the time left: ``pdb/strict``,
    ``window-2h``; empty if nothing does."""
    if not isinstance(decision, Defer):
        return ""
    word = decision.gate or _WORDS.get(decision.reason, "")
    wait = decision.requeue_after
    if not word or decision.gate or wait is None:
        return word
    return f"{word}-{duration(wait.total_seconds())}"


def last_move_at(observed: Observed) -> datetime | None:
    """When the last move started of which the replacement is still there, or to come.

    A replacement names its move; nothing else remembers a move that is over.
    """
    replacements = (r.pod.created_at for r in observed.replicas if r.pod.move)
    started = (intent.created_at for intent in observed.ledger.intents)
    return max((at for at in (*replacements, *started) if at is not None), default=None)
