"""Requests to the Eviction API, and the meaning of its responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from spotalis.kube.errors import DISRUPTION_BUDGET, ApiError, error_from
from spotalis.model.objects import Pod
from spotalis.model.transport import Response


class EvictionOutcome(StrEnum):
    """The outcome of one eviction request."""

    EVICTED = "evicted"
    BLOCKED = "blocked"
    """A PodDisruptionBudget forbids the eviction for now."""
    THROTTLED = "throttled"
    """The server is busy and did not handle the request."""
    GONE = "gone"
    """The pod does not exist any more; another pod may have its name."""
    CONFLICT = "conflict"
    """The pod has changed since it was read."""
    MISCONFIGURED = "misconfigured"
    """More than one PodDisruptionBudget selects the pod: forbidden until that is fixed."""
    FORBIDDEN = "forbidden"
    """Rejected by RBAC, by admission control or as invalid; a retry will not help."""
    NOT_SENT = "not-sent"
    """The request was not sent: no connection, or its precondition did not hold any more."""
    UNKNOWN = "unknown"
    """No response, or an error inside the server: the eviction may have taken place."""

    @property
    def ends_pod(self) -> bool:
        """The pod terminates or has terminated."""
        return self in (EvictionOutcome.EVICTED, EvictionOutcome.GONE)

    @property
    def is_blocked_by_budget(self) -> bool:
        """A PodDisruptionBudget forbids the eviction."""
        return self in (EvictionOutcome.BLOCKED, EvictionOutcome.MISCONFIGURED)

    @property
    def is_refusal(self) -> bool:
        """The pod stays, and an immediate retry would be refused for the same reason."""
        return not self.ends_pod and self not in (EvictionOutcome.UNKNOWN, EvictionOutcome.CONFLICT)


@dataclass(frozen=True, slots=True)
class EvictionResult:
    """An outcome with the message of the server."""

    outcome: EvictionOutcome
    message: str = ""


def eviction_body(pod: Pod, *, with_resource_version: bool) -> dict[str, object]:
    """The body of an eviction request; the grace period is the pod's own."""
    preconditions = {"uid": pod.uid}
    if with_resource_version:
        preconditions["resourceVersion"] = pod.resource_version
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": preconditions},
    }


def outcome_of(response: Response, now: datetime) -> EvictionResult:
    """Interpret the response to an eviction request."""
    if response.status < 300:
        return EvictionResult(EvictionOutcome.EVICTED)
    error = error_from(response, now)
    return EvictionResult(_outcome(error), error.message)


_REFUSED_BY_ADMISSION = ("denied the request", "denied request", "failed calling webhook")
"""Admission comes before the eviction, so these answers are certain, whatever their status: a
webhook chooses it, and one that cannot be called causes 500 (kube-apiserver,
pkg/admission/plugin/webhook/errors and plugin/policy/validating)."""


def _outcome(error: ApiError) -> EvictionOutcome:
    if any(words in error.message for words in _REFUSED_BY_ADMISSION):
        return EvictionOutcome.FORBIDDEN
    match error.status:
        case 404:
            return EvictionOutcome.GONE
        case 409:
            is_changed = "ResourceVersion in precondition" in error.message
            is_other_pod = "UID in precondition" in error.message
            if is_other_pod and not is_changed:
                return EvictionOutcome.GONE
            return EvictionOutcome.CONFLICT
        case 429 if error.has_cause(DISRUPTION_BUDGET):
            return EvictionOutcome.BLOCKED
        case 429:
            return EvictionOutcome.THROTTLED
        case 500 if "more than one PodDisruptionBudget" in error.message:
            return EvictionOutcome.MISCONFIGURED
        case 408:
            return EvictionOutcome.UNKNOWN
        case status if status < 500:
            return EvictionOutcome.FORBIDDEN
    return EvictionOutcome.UNKNOWN
