"""Properties of pods (upstream: ``pkg/api/v1/pod`` and ``IsPodActive``)."""

from __future__ import annotations

from datetime import datetime, timedelta

from spotalis.embedded.objects.conditions import condition, is_true
from spotalis.embedded.objects.owners import deleting
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import instant


def phase_of(pod: Object) -> str:
    """``status.phase``, or ``""``."""
    phase: str = (pod.get("status") or {}).get("phase", "")
    return phase


def node_of(pod: Object) -> str:
    """The node that the pod is bound to, or ``""``."""
    node: str = pod["spec"].get("nodeName") or ""
    return node


def is_finished(pod: Object) -> bool:
    """Whether the pod has succeeded or failed, so that it never runs again."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Whether the pod is neither finished nor terminating, so that it counts for its ReplicaSet."""
    return not deleting(pod) and not is_finished(pod)


def is_ready(pod: Object) -> bool:
    """Whether condition Ready is True."""
    return is_true(pod, "Ready")


def ready_since(pod: Object) -> datetime | None:
    """When Ready last became True; None if it is not True."""
    found = condition(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    return instant(found.get("lastTransitionTime"))


def is_available(pod: Object, min_ready_seconds: int, now: datetime) -> bool:
    """Whether the pod has been Ready for at least ``min_ready_seconds``."""
    if not is_ready(pod):
        return False
    if min_ready_seconds == 0:
        return True
    since = ready_since(pod)
    return since is not None and since + timedelta(seconds=min_ready_seconds) <= now


def seconds_to_available(pods: list[Object], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available; None if every ready pod is."""
    waits = [
        (since + timedelta(seconds=min_ready_seconds) - now).total_seconds()
        for pod in pods
        if (since := ready_since(pod)) is not None
    ]
    return min((wait for wait in waits if wait > 0), default=None)


def restarts(pod: Object) -> int:
    """The highest restart count of the containers."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount", 0)) for status in statuses), default=0)


def deletion_cost(pod: Object) -> int:
    """``controller.kubernetes.io/pod-deletion-cost``; 0 if it is absent or not a whole number."""
    text = (pod["metadata"].get("annotations") or {}).get(
        "controller.kubernetes.io/pod-deletion-cost", "0"
    )
    try:
        return int(text)
    except ValueError:
        return 0
