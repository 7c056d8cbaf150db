"""The status of a Deployment, computed from its ReplicaSets.

Pure functions. Upstream: ``progress.go``, and ``calculateStatus`` in ``sync.go``, of
``pkg/controller/deployment``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from spotalis.embedded.controllers.deployment_replicasets import limits_of
from spotalis.embedded.objects.conditions import condition, drop
from spotalis.embedded.objects.owners import replicas_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import instant, stamp

_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def status_counts(
    deployment: Object, new: Object | None, old: list[Object], now: datetime
) -> Object:
    """The status without progress: counts, and condition Available."""
    sets = [*old, new] if new is not None else old
    before = deployment.get("status") or {}
    available = _sum(sets, "availableReplicas")
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": _sum(sets, "replicas"),
        "updatedReplicas": _sum([new] if new is not None else [], "replicas"),
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(replicas_of(one) for one in sets) - available),
    }
    status = {field: value for field, value in status.items() if value}
    status["terminatingReplicas"] = _sum(sets, "terminatingReplicas")
    for field in ("collisionCount", "conditions"):
        if before.get(field):
            status[field] = before[field]
    if available >= limits_of(deployment).min_available:
        value, reason, has = "True", "MinimumReplicasAvailable", "has"
    else:
        value, reason, has = "False", "MinimumReplicasUnavailable", "does not have"
    message = f"Deployment {has} minimum availability."
    put_condition(status, "Available", value, reason, message, now=now)
    return status


def rollout_status(
    deployment: Object, new: Object | None, old: list[Object], now: datetime
) -> Object:
    """The status during a rollout: ``status_counts`` and condition Progressing."""
    status = status_counts(deployment, new, old, now)
    if deadline_of(deployment) is None:
        drop(status, "Progressing")
    else:
        _set_progressing(deployment, status, new, now)
    failure = _failure(new, old)
    if failure is None:
        drop(status, "ReplicaFailure")
    else:
        value, reason, message = (failure.get(k, "") for k in ("status", "reason", "message"))
        put_condition(status, "ReplicaFailure", value, reason, message, now=now)
    return status


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether every desired replica is updated and available, and no other is left."""
    wanted = replicas_of(deployment)
    observed = int(status.get("observedGeneration", 0))
    return observed >= deployment["metadata"].get("generation", 1) and all(
        status.get(field, 0) == wanted
        for field in ("replicas", "updatedReplicas", "availableReplicas")
    )


def seconds_to_deadline(deployment: Object, status: Object, now: datetime) -> float | None:
    """Seconds until the progress deadline, or None if there is none or it has passed."""
    deadline = deadline_of(deployment)
    current = condition({"status": status}, "Progressing")
    if deadline is None or current is None:
        return None
    if is_complete(deployment, status) or current.get("reason") == "ProgressDeadlineExceeded":
        return None
    since = instant(current.get("lastUpdateTime"))
    if since is None:
        return None
    left = (since + timedelta(seconds=deadline) - now).total_seconds()
    return max(left, 0.0) + 1.0


def deadline_of(deployment: Object) -> int | None:
    """``progressDeadlineSeconds``, or None for no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds >= 2**31 - 1 else int(seconds)


def put_condition(
    status: Object, kind: str, value: str, reason: str, message: str, *, now: datetime
) -> None:
    """Set a condition, unless status and reason are unchanged."""
    current = condition({"status": status}, kind)
    if current and current.get("status") == value and current.get("reason") == reason:
        return
    at = stamp(now)
    same = current is not None and current.get("status") == value
    drop(status, kind)
    status["conditions"] = [
        *status.get("conditions", ()),
        {
            "type": kind,
            "status": value,
            "lastUpdateTime": at,
            "lastTransitionTime": current["lastTransitionTime"] if same and current else at,
            "reason": reason,
            "message": message,
        },
    ]


def _set_progressing(deployment: Object, status: Object, new: Object | None, now: datetime) -> None:
    before = deployment.get("status") or {}
    current = condition(deployment, "Progressing")
    reason = (current or {}).get("reason", "")
    if status.get("replicas", 0) == status.get("updatedReplicas", 0) and (
        reason == "NewReplicaSetAvailable"
    ):
        return
    if new is None:
        subject = f'Deployment "{deployment["metadata"]["name"]}"'
    else:
        subject = f'ReplicaSet "{new["metadata"]["name"]}"'

    def put(value: str, reason: str, what: str) -> None:
        put_condition(status, "Progressing", value, reason, f"{subject} {what}.", now=now)

    if is_complete(deployment, status):
        put("True", "NewReplicaSetAvailable", "has successfully progressed")
    elif _progressing(before, status):
        drop(status, "Progressing")
        put("True", "ReplicaSetUpdated", "is progressing")
        if current is not None and current.get("status") == "True":
            status["conditions"][-1]["lastTransitionTime"] = current["lastTransitionTime"]
    elif _timed_out(deployment, current, now):
        put("False", "ProgressDeadlineExceeded", "has timed out progressing")


def _progressing(before: Object, after: Object) -> bool:
    was = {field: int(before.get(field, 0)) for field in _COUNTS}
    now = {field: int(after.get(field, 0)) for field in _COUNTS}
    return (
        now["updatedReplicas"] > was["updatedReplicas"]
        or now["replicas"] - now["updatedReplicas"] < was["replicas"] - was["updatedReplicas"]
        or now["readyReplicas"] > was["readyReplicas"]
        or now["availableReplicas"] > was["availableReplicas"]
    )


def _timed_out(deployment: Object, current: Object | None, now: datetime) -> bool:
    deadline = deadline_of(deployment)
    if deadline is None or current is None:
        return False
    if current.get("reason") == "NewReplicaSetAvailable":
        return False
    if current.get("reason") == "ProgressDeadlineExceeded":
        return True
    since = instant(current.get("lastUpdateTime"))
    return since is not None and since + timedelta(seconds=deadline) < now


def _failure(new: Object | None, old: list[Object]) -> Object | None:
    for one in ([new] if new is not None else []) + old:
        found = condition(one, "ReplicaFailure")
        if found is not None:
            return found
    return None


def _sum(sets: Iterable[Object], field: str) -> int:
    return sum(int((one.get("status") or {}).get(field, 0)) for one in sets)
