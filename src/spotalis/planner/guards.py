"""The conditions that stop all moves of a workload, in the order in which they are checked.

See docs/reference/behaviour.md, "Repair".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeAlias

from spotalis.model.decision import Defer, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.policy_values import FOREVER
from spotalis.model.rollouts import RolloutProgress, RolloutState
from spotalis.planner.candidates import slot_of
from spotalis.planner.observed import Observed

Guard: TypeAlias = Callable[[Observed, datetime], Defer | None]
"""Returns why no replica may move now, or None if this condition is met."""


SHORT_PAUSE = timedelta(seconds=30)
"""In a pause of a Rollout with less time left no replica moves: as long as the default resync."""


def first_objection(guards: Iterable[Guard], observed: Observed, now: datetime) -> Defer | None:
    """The answer of the first guard that objects; None if none does."""
    for guard in guards:
        if (objection := guard(observed, now)) is not None:
            return objection
    return None


def to_move(observed: Observed) -> str:
    """A phrase such as ``1 replica to move from spot to on-demand``; empty if none is to move."""
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        return ""
    count = observed.state.surplus(surplus_type)
    noun = "replica" if count == 1 else "replicas"
    return f"{count} {noun} to move from {surplus_type} to {surplus_type.other}"


def managed(observed: Observed, now: datetime) -> Defer | None:
    """The workload is enabled. An invalid ``enabled`` is a problem of :func:`valid`."""
    if not observed.configuration.enabled and not observed.configuration.problems:
        return Defer(Reason.NOT_MANAGED, "not enabled")
    return None


def valid(observed: Observed, now: datetime) -> Defer | None:
    """The policy has no invalid value."""
    problems = observed.configuration.problems
    if not problems:
        return None
    text = "; ".join(str(problem) for problem in problems)
    return Defer(Reason.INVALID_POLICY, f"{text}; the workload is left unchanged")


def has_policy(observed: Observed, now: datetime) -> Defer | None:
    """A percentage is set somewhere."""
    if observed.configuration.has_policy:
        return None
    return Defer(Reason.NO_POLICY, "spot-percentage is not set; no replica is placed or moved")


def writable(observed: Observed, now: datetime) -> Defer | None:
    """The operator is not read-only. The answer says what the operator would do."""
    if observed.cluster.read_only and (surplus := to_move(observed)):
        return Defer(Reason.READ_ONLY, f"{surplus}; the operator is read-only")
    return None


def not_paused(observed: Observed, now: datetime) -> Defer | None:
    """The workload is not paused."""
    policy = observed.configuration.disruption
    until = policy.paused_until
    if until is None or not policy.is_paused(now):
        return None
    source = observed.configuration.sources.get("paused-until")
    where = f" ({source})" if source else ""
    where += f": {policy.paused_reason}" if policy.paused_reason else ""
    if until == FOREVER:
        return Defer(Reason.PAUSED, f"paused until paused-until is removed{where}")
    return Defer(Reason.PAUSED, f"paused until {until.isoformat()}{where}", until - now)


def synced(observed: Observed, now: datetime) -> Defer | None:
    """The first list of every kind has arrived, and no watch has been silent for too long."""
    if not observed.cluster.synced:
        return Defer(Reason.CACHE_NOT_READY, "the first lists have not arrived yet")
    if observed.cluster.stale_watch:
        return Defer(Reason.CACHE_NOT_READY, observed.cluster.stale_watch)
    return None


def plausible(observed: Observed, now: datetime) -> Defer | None:
    """No list lacks many objects whose deletion was never announced."""
    if observed.cluster.suspect_list:
        return Defer(Reason.IMPLAUSIBLE_VIEW, observed.cluster.suspect_list)
    return None


def no_rollout(observed: Observed, now: datetime) -> Defer | None:
    """All pods have the latest template: an eviction would interfere with a rollout."""
    workload = observed.workload
    if workload.observed_generation < workload.generation:
        message = "the workload's controller has not observed the last change"
        return Defer(Reason.ROLLOUT_IN_PROGRESS, message)
    if workload.kind == "StatefulSet":
        rolling = _old_revision_left(observed) or (
            workload.current_revision != workload.update_revision
            # With OnDelete, currentRevision stays old even if the owner has renewed every pod.
            and not workload.on_delete
            and workload.updated_replicas < workload.replicas - workload.partition
        )
    elif workload.rollout is not None:
        return _no_step(observed, workload.rollout, now)
    else:
        owners = {r.pod.owner.uid for r in observed.active if r.pod.owner is not None}
        rolling = workload.status_replicas > workload.updated_replicas or len(owners) > 1
    if rolling:
        return Defer(Reason.ROLLOUT_IN_PROGRESS, "a rollout is in progress")
    return None


def _no_step(observed: Observed, rollout: RolloutState, now: datetime) -> Defer | None:
    """A Rollout is at rest, or in a pause that leaves time for moves.

    Only during a pause may several ReplicaSets have pods; each is split by itself then.
    """
    if rollout.progress is RolloutProgress.IN_PROGRESS:
        return Defer(Reason.ROLLOUT_IN_PROGRESS, "a step of the Rollout is in progress")
    ends_at = rollout.pause_ends_at
    if rollout.progress is RolloutProgress.PAUSED:
        if ends_at is None or ends_at - now > SHORT_PAUSE:
            return None
        message = "the Rollout is paused for less than 30 s"
        return Defer(Reason.ROLLOUT_IN_PROGRESS, message)
    if len({replica.owner_uid for replica in observed.active}) > 1:
        return Defer(Reason.ROLLOUT_IN_PROGRESS, "pods of an earlier ReplicaSet are left")
    return None


def _old_revision_left(observed: Observed) -> bool:
    """Whether a StatefulSet pod outside the partition is not of the update revision.

    The status alone is not enough: after a rollback its two revisions are the same. Evicting an
    old pod of an OnDelete set would renew it, which is its owner's decision.
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
    """As many replicas exist as are desired, ready or not."""
    workload = observed.workload
    if workload.status_replicas == workload.replicas:
        return None
    return Defer(
        Reason.SCALING, f"{workload.status_replicas} of {workload.replicas} replicas exist"
    )


def classified(observed: Observed, now: datetime) -> Defer | None:
    """A provider group is in use."""
    if observed.cluster.classified:
        return None
    return Defer(Reason.NO_CLASSIFIER, "no node is recognized as spot or on-demand")


def within_budget(observed: Observed, now: datetime) -> Defer | None:
    """Few enough replicas are missing or moving. A replica that is not ready may always move."""
    if not observed.candidates:
        return None  # reported as Pinned or NoCandidate
    if observed.free_in_cluster <= 0:
        where = "by the namespace's share" if observed.moves.is_share else "in the cluster"
        return _in_flight(observed, f"maxMovesInFlight is reached {where}", observed.moves.next_in)
    if observed.moves_left(now) <= 0 and all(r.pod.ready for r in observed.candidates):
        return _in_flight(observed, "max-moves-in-flight is reached")
    return None


def _in_flight(observed: Observed, why: str, next_in: timedelta | None = None) -> Defer:
    return Defer(Reason.MOVES_IN_FLIGHT, f"{to_move(observed)}; {why}", next_in)


def no_storm(observed: Observed, now: datetime) -> Defer | None:
    """Few spot nodes are being lost. Moves to on-demand are never stopped by a storm."""
    until = observed.cluster.storm_until
    if until is None or now >= until or observed.state.surplus_type is not NodeType.ON_DEMAND:
        return None
    return Defer(
        Reason.STORM_FROZEN,
        f"{to_move(observed)}; many spot nodes are being lost, so no replica moves to spot until "
        f"{until.isoformat(timespec='seconds')} at the earliest",
        until - now,
    )


def spot_stable(observed: Observed, now: datetime) -> Defer | None:
    """Spot replicas were not lost again and again. Moves to on-demand are never stopped by that."""
    until = observed.ledger.unstable_until
    to_spot = observed.state.surplus_type is NodeType.ON_DEMAND
    if until is None or observed.spot_starts_left != 0 or not to_spot:
        return None
    lost = f"{to_move(observed)}; spot nodes of this workload were lost again and again"
    if now < until:
        words = f"{lost}; one replica tries spot at {until.isoformat(timespec='seconds')}"
        return Defer(Reason.SPOT_UNSTABLE, words, until - now)
    closes_at = until + observed.cluster.breaker.within
    words = f"{lost}; one replica tries spot until {closes_at.isoformat(timespec='seconds')}"
    return Defer(Reason.SPOT_UNSTABLE, words, closes_at - now)


def cooled_down(observed: Observed, now: datetime) -> Defer | None:
    """The last move ended long enough ago."""
    until = observed.moves.cooldown_until
    if until is None or now >= until or not to_move(observed):
        return None
    message = f"{to_move(observed)}; the last move ended less than cooldown ago"
    return Defer(Reason.COOLDOWN, message, until - now)


def not_futile(observed: Observed, now: datetime) -> Defer | None:
    """The replacements of the last moves did not all land on the type that was left."""
    ledger, surplus = observed.ledger, to_move(observed)
    until = ledger.futile_until
    if until is None or now >= until or not surplus:
        return None
    retry = f"next try at {until.isoformat(timespec='seconds')}"
    if observed.bypassed:
        return Defer(
            Reason.WEBHOOK_NEVER_CALLED,
            f"{surplus}, but {observed.bypassed} new replicas were created without an admission "
            f"request: the API server does not reach the webhook; {retry}",
            until - now,
        )
    return Defer(
        Reason.FUTILE,
        f"{surplus}; the last {ledger.futile_moves} replacements landed on the capacity type that "
        f"was left; {retry}",
        until - now,
    )


def window_open(observed: Observed, now: datetime) -> Defer | None:
    """The disruption window is open, if there is one."""
    policy = observed.configuration.disruption
    surplus = to_move(observed)
    if not surplus or policy.window is None or policy.allows_moves(now):
        return None
    opens = policy.window.opens_at(now)
    return Defer(
        Reason.OUTSIDE_WINDOW, f"{surplus}; the window opens at {opens.isoformat()}", opens - now
    )


def floor_met(observed: Observed, now: datetime) -> Defer | None:
    """More on-demand replicas are ready than the minimum, so that one of them may move to spot."""
    floor = observed.configuration.floor
    ready = observed.ready_on_demand
    if observed.state.surplus_type is not NodeType.ON_DEMAND or ready > floor:
        return None
    message = f"{ready} on-demand replicas are ready and min-on-demand is {floor}; none may move"
    return Defer(Reason.FLOOR_UNMET, message)


BASIC_GUARDS: tuple[Guard, ...] = (managed, valid, has_policy, not_paused, synced, plausible)
"""The only conditions for evictions that are not moves: fallback and early eviction. No ready
replica is lost that would be kept otherwise, and a rollout or a scale-up may be waiting for
exactly these pods."""

WORKLOAD_GUARDS: tuple[Guard, ...] = (
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
"""Checked whether or not a replica is to move."""

MOVE_GUARDS: tuple[Guard, ...] = (
    no_storm,
    spot_stable,
    within_budget,
    cooled_down,
    window_open,
    not_futile,
)
"""Checked once replicas are to move, before the candidates are looked at."""
