"""What the Eviction API is asked, and what its answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from spotalis.kube.errors import DISRUPTION_BUDGET, ApiError, error_from
from spotalis.model.objects import Pod
from spotalis.model.transport import Response


class EvictionOutcome(StrEnum):
    """What became of one request for an eviction."""

    EVICTED = "evicted"
    BLOCKED = "blocked"
    """A PodDisruptionBudget does not allow it now."""
    THROTTLED = "throttled"
    """The server is too busy; it has not looked at the request."""
    GONE = "gone"
    """The pod is no more; another may have its name."""
    CONFLICT = "conflict"
    """The pod has changed since it was read."""
    MISCONFIGURED = "misconfigured"
    """More than one PodDisruptionBudget selects the pod: never allowed until that is mended."""
    FORBIDDEN = "forbidden"
    """Refused for good: by RBAC, by admission, or as a request that makes no sense."""
    NOT_SENT = "not-sent"
    """It certainly never left: no connection, or no longer authorised when its turn came."""
    UNKNOWN = "unknown"
    """No answer, or a failure inside the server: it may have been carried out, or still be."""

    @property
    def ends_pod(self) -> bool:
        """It says that the pod ends, or has ended."""
        return self in (EvictionOutcome.EVICTED, EvictionOutcome.GONE)

    @property
    def is_blocked_by_budget(self) -> bool:
        """A PodDisruptionBudget stands against it."""
        return self in (EvictionOutcome.BLOCKED, EvictionOutcome.MISCONFIGURED)

    @property
    def is_refusal(self) -> bool:
        """The pod stays, and for a reason that lasts longer than a moment."""
        return not self.ends_pod and self not in (EvictionOutcome.UNKNOWN, EvictionOutcome.CONFLICT)


@dataclass(frozen=True, slots=True)
class EvictionResult:
    """An outcome, with what the server said."""

    outcome: EvictionOutcome
    message: str = ""


def eviction_body(pod: Pod, *, with_resource_version: bool) -> dict[str, object]:
    """The request's body; grace is the pod's own."""
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
    """Read the server's answer to an eviction."""
    if response.status < 300:
        return EvictionResult(EvictionOutcome.EVICTED)
    error = error_from(response, now)
    return EvictionResult(_outcome(error), error.message)


def _outcome(error: ApiError) -> EvictionOutcome:
    match error.status:
        case 404:
            return EvictionOutcome.GONE
        case 409:
            changed = "ResourceVersion in precondition" in error.message
            another = "UID in precondition" in error.message
            return EvictionOutcome.CONFLICT if changed or not another else EvictionOutcome.GONE
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
