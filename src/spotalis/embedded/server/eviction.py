"""The eviction subresource: checks and updates the PodDisruptionBudget of a pod.

The rules are those of kube-apiserver v1.36 (pkg/registry/core/pod/storage/eviction.go).
"""

from __future__ import annotations

from spotalis.embedded.objects.conditions import condition, put
from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.owners import deleting
from spotalis.embedded.objects.pods import is_ready, phase_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import label_selector
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import ApiError, Cause
from spotalis.embedded.store import ObjectStore

CAUSE = "DisruptionBudget"
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_TWO_BUDGETS = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
    "support."
)


def needs_no_budget(pod: Object) -> bool:
    """Whether the pod is not running or is terminating, so that its eviction disrupts nothing."""
    return phase_of(pod) in ("Pending", "Succeeded", "Failed") or deleting(pod)


def budgets_of(store: ObjectStore, pod: Object) -> list[Object]:
    """The budgets that select the pod."""
    labels = pod["metadata"].get("labels") or {}
    found = []
    for pdb in store.list("poddisruptionbudgets", pod["metadata"]["namespace"]):
        selector = label_selector((pdb.get("spec") or {}).get("selector"))
        if selector is not None and selector.matches(labels):
            found.append(pdb)
    return found


def decrement_budget(store: ObjectStore, pod: Object, now: str, *, dry_run: bool) -> bool:
    """Take one disruption from the budget of a running pod, if there is a budget.

    A pod that is not ready needs no disruption if its budget is met or its policy is
    ``AlwaysAllow``.

    Args:
        store: holds the budgets.
        pod: the current pod.
        now: the time, as the API writes it.
        dry_run: check the budget without changing it.

    Returns:
        Whether the pod may be evicted because it is not ready; its version must then not change.

    Raises:
        ApiError: 429, the budget does not allow it or is not up to date; 500, there are several.
    """
    found = budgets_of(store, pod)
    if not found:
        return False
    if len(found) > 1:
        raise ApiError(500, "", _TWO_BUDGETS)
    (pdb,) = found
    if not is_ready(pod) and _allows_unhealthy(pdb):
        return True
    _check(pdb)
    if dry_run:
        return False
    status = deep_copy(pdb.get("status") or {})
    status["disruptionsAllowed"] -= 1
    if status["disruptionsAllowed"] == 0:
        _set_insufficient(status, now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: now}
    store.put("poddisruptionbudgets", {**pdb, "status": status})
    return False


def _allows_unhealthy(pdb: Object) -> bool:
    if (pdb.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = pdb.get("status") or {}
    desired: int = status.get("desiredHealthy", 0)
    return 0 < desired <= int(status.get("currentHealthy", 0))


def _check(pdb: Object) -> None:
    """Raise ApiError unless the budget allows a disruption now."""
    name, status = pdb["metadata"]["name"], pdb.get("status") or {}
    if status.get("observedGeneration", 0) < pdb["metadata"].get("generation", 0):
        message = f"The disruption budget {name} is still being processed by the server."
        raise errors.too_many_requests(_REFUSED, Cause(CAUSE, message), 10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed == 0:
        raise errors.too_many_requests(_REFUSED, Cause(CAUSE, _why(name, status)))


def _why(name: str, status: Object) -> str:
    disallowed = condition({"status": status}, "DisruptionAllowed") or {}
    is_false = disallowed.get("status") == "False" and disallowed.get("message")
    if is_false and disallowed.get("reason") == "SyncFailed":
        return (
            f"The disruption budget {name} does not allow evicting pods currently because it "
            f"failed sync: {disallowed['message']}"
        )
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if healthy <= desired:
        return (
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
    refused = f"The disruption budget {name} does not allow evicting pods currently"
    if is_false:
        return f"{refused} ({disallowed['reason']}): {disallowed['message']}"
    return refused


def _set_insufficient(status: Object, now: str) -> None:
    holder: Object = {"status": status}
    put(holder, "DisruptionAllowed", "False", now, reason="InsufficientPods")
    written = condition(holder, "DisruptionAllowed") or {}
    written["message"] = ""
    written["observedGeneration"] = status.get("observedGeneration", 0)


def with_disruption_target(pod: Object, now: str) -> Object:
    """The pod with condition DisruptionTarget, which records the eviction."""
    marked: Object = {**pod, "status": dict(pod.get("status") or {})}
    put(
        marked,
        "DisruptionTarget",
        "True",
        now,
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
    )
    written = condition(marked, "DisruptionTarget") or {}
    written["lastProbeTime"] = None
    return marked
