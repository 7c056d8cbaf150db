"""The questions that can stop every move of a workload, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from spotalis.model.configuration import FOREVER
from spotalis.model.decision import Defer, Reason
from spotalis.model.nodes import NodeType
from spotalis.planner.candidates import candidates, slot_of
from spotalis.planner.observed import Observed

Guard: TypeAlias = Callable[[Observed, datetime], Defer | None]


def to_move(observed: Observed) -> str:
    """What would be moved, in words; empty if nothing would."""
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        return ""
    count = observed.state.surplus(surplus_type)
    noun = "replica" if count == 1 else "replicas"
    return f"{count} {noun} to move from {surplus_type} to {surplus_type.other}"


def managed(observed: Observed, now: datetime) -> Defer | None:
    """Opted in; an unreadable ``enabled`` is a problem, and no answer."""
    if not observed.configuration.enabled and not observed.configuration.problems:
        return Defer(Reason.NOT_MANAGED, "not enabled")
    return None


def valid(observed: Observed, now: datetime) -> Defer | None:
    """Everything the owner wrote can be read."""
    problems = observed.configuration.problems
    if not problems:
        return None
    text = "; ".join(str(problem) for problem in problems)
    return Defer(Reason.INVALID_POLICY, f"{text}; workload left as it is")


def has_policy(observed: Observed, now: datetime) -> Defer | None:
    """A share or a floor is set somewhere."""
    if observed.configuration.has_policy:
        return None
    return Defer(Reason.NO_POLICY, "neither spot-percentage nor min-on-demand is set anywhere")


def writable(observed: Observed, now: datetime) -> Defer | None:
    """The operator may act; says what it would do."""
    words = to_move(observed)
    if observed.read_only and words:
        return Defer(Reason.READ_ONLY, f"{words}; the operator runs read-only")
    return None


def not_paused(observed: Observed, now: datetime) -> Defer | None:
    """The owner has not stopped moves."""
    policy = observed.configuration.disruption
    until = policy.paused_until
    if until is None or not policy.is_paused(now):
        return None
    if until == FOREVER:
        return Defer(Reason.PAUSED, "paused until somebody resumes it")
    return Defer(Reason.PAUSED, f"paused until {until.isoformat()}", until - now)


def synced(observed: Observed, now: datetime) -> Defer | None:
    """The first lists are in, and the watches have said something not long ago."""
    if not observed.synced:
        return Defer(Reason.CACHE_NOT_READY, "the first lists are not in")
    if observed.stale_watch:
        return Defer(Reason.CACHE_NOT_READY, observed.stale_watch)
    return None


def plausible(observed: Observed, now: datetime) -> Defer | None:
    """Nothing vanished in bulk that nobody deleted."""
    if observed.suspect_list:
        return Defer(Reason.IMPLAUSIBLE_VIEW, observed.suspect_list)
    return None


def no_rollout(observed: Observed, now: datetime) -> Defer | None:
    """One template, everywhere: an eviction during a rollout would fight it."""
    workload = observed.workload
    if workload.observed_generation < workload.generation:
        return Defer(Reason.ROLLOUT_IN_PROGRESS, "its controller has not seen the last change")
    if workload.kind == "StatefulSet":
        rolling = _old_revision_left(observed) or (
            workload.current_revision != workload.update_revision
            # Whoever evicts a pod of an OnDelete set updates it: not for us to do.
            and (
                workload.on_delete
                or workload.updated_replicas < workload.replicas - workload.partition
            )
        )
    else:
        owners = {r.pod.owner.uid for r in observed.active if r.pod.owner is not None}
        rolling = workload.status_replicas > workload.updated_replicas or len(owners) > 1
    if rolling:
        return Defer(Reason.ROLLOUT_IN_PROGRESS, "a new template is being rolled out")
    return None


def _old_revision_left(observed: Observed) -> bool:
    """A StatefulSet's pod is of another revision than it should be.

    After a rollback the status alone does not tell: current and update revision are the same.
    """
    workload = observed.workload
    for replica in observed.active:
        revision = replica.pod.labels.get("controller-revision-hash", "")
        slot = slot_of(replica, observed)
        if slot is not None and slot < workload.partition:
            continue
        if revision and workload.update_revision and revision != workload.update_revision:
            return True
    return False


def not_scaling(observed: Observed, now: datetime) -> Defer | None:
    """The replicas are as many as wanted (ready or not: that is the budget's question)."""
    workload = observed.workload
    if workload.status_replicas == workload.replicas:
        return None
    return Defer(
        Reason.SCALING, f"{workload.status_replicas} of {workload.replicas} replicas exist"
    )


def classified(observed: Observed, now: datetime) -> Defer | None:
    """Some node says which class it is."""
    if observed.classified:
        return None
    return Defer(Reason.NO_CLASSIFIER, "no node is recognised as spot or on-demand")


def within_budget(observed: Observed, now: datetime) -> Defer | None:
    """Few enough replicas are missing or on the move; one that is not ready may always go."""
    surplus_type = observed.state.surplus_type
    able = candidates(observed, surplus_type) if surplus_type else []
    if not able:
        return None  # that nobody may go is said in other words
    if observed.moves_free <= 0:
        return _in_flight(observed, "the whole cluster's moves are in flight")
    if observed.moves_left(now) <= 0 and all(replica.pod.ready for replica in able):
        return _in_flight(observed, "as many replicas are missing as may be")
    return None


def _in_flight(observed: Observed, why: str) -> Defer:
    return Defer(Reason.MOVES_IN_FLIGHT, f"{to_move(observed)}; {why}")


def no_storm(observed: Observed, now: datetime) -> Defer | None:
    """Spot nodes are not being lost in numbers; moves towards on-demand never wait for that."""
    until = observed.storm_until
    if until is None or now >= until or observed.state.surplus_type is not NodeType.ON_DEMAND:
        return None
    return Defer(
        Reason.STORM_FROZEN,
        f"{to_move(observed)}; spot nodes are being lost, moves to spot rest until "
        f"{until.isoformat(timespec='seconds')} or longer",
        until - now,
    )


def rested(observed: Observed, now: datetime) -> Defer | None:
    """The last move is long enough ago."""
    until = observed.cooldown_until
    if until is None or now >= until or not to_move(observed):
        return None
    return Defer(Reason.COOLDOWN, f"{to_move(observed)}; the last move is recent", until - now)


def useful(observed: Observed, now: datetime) -> Defer | None:
    """Replacements have not kept landing in the class that they left."""
    ledger, words = observed.ledger, to_move(observed)
    until = ledger.futile_until
    if until is None or now >= until or not words:
        return None
    again = f"next try at {until.isoformat(timespec='seconds')}"
    if observed.bypassed:
        return Defer(
            Reason.WEBHOOK_NEVER_CALLED,
            f"{words}, but {observed.bypassed} new replicas came and no review for any: the API "
            f"server does not reach the webhook; {again}",
            until - now,
        )
    return Defer(
        Reason.FUTILE,
        f"{words}; the last {ledger.futile_moves} replacements landed in the class just left, "
        f"{again}",
        until - now,
    )


def window_open(observed: Observed, now: datetime) -> Defer | None:
    """Moves may happen now."""
    policy = observed.configuration.disruption
    words = to_move(observed)
    if not words or policy.window is None or policy.allows_moves(now):
        return None
    opens = policy.window.opens_at(now)
    return Defer(
        Reason.OUTSIDE_WINDOW, f"{words}; window opens at {opens.isoformat()}", opens - now
    )


def floor_met(observed: Observed, now: datetime) -> Defer | None:
    """Enough ready on-demand replicas that one may leave; moves towards on-demand are the cure."""
    floor = observed.configuration.floor
    moving_away = observed.state.surplus_type is NodeType.ON_DEMAND
    if not moving_away or observed.ready_on_demand > floor:
        return None
    have = observed.ready_on_demand
    return Defer(
        Reason.FLOOR_UNMET,
        f"{have} on-demand replicas are ready, the floor is {floor}; none may be moved",
    )


STANDING: tuple[Guard, ...] = (
    managed,
    valid,
    has_policy,
    writable,
    not_paused,
    synced,
    plausible,
    no_rollout,
    not_scaling,
    classified,
)
"""Asked whatever the split is: they say whether the question makes sense at all."""

MOVING: tuple[Guard, ...] = (no_storm, within_budget, rested, window_open, useful)
"""Asked once something is to be moved, before looking at single replicas."""
