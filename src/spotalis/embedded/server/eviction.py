"""The eviction subresource: whether a PodDisruptionBudget lets a pod go.

The rules of kube-apiserver's ``pods/eviction`` handler (v1.36).
"""

from __future__ import annotations

from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import BY_PLURAL, Object
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import ApiError, Cause
from spotalis.embedded.server.query_selectors import from_object
from spotalis.embedded.store import ObjectStore

CAUSE = "DisruptionBudget"
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_TWO_BUDGETS = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
    "support."
)
_MOST_DISRUPTED = 2000


def needs_no_budget(pod: Object) -> bool:
    """Not running yet or any more, or on its way out: its eviction disrupts nothing."""
    phase = (pod.get("status") or {}).get("phase", "")
    gone = phase in ("Pending", "Succeeded", "Failed")
    return gone or bool(pod["metadata"].get("deletionTimestamp"))


def budgets_of(store: ObjectStore, pod: Object) -> list[Object]:
    """The budgets that select a pod."""
    labels = pod["metadata"].get("labels") or {}
    found = []
    for pdb in store.list("poddisruptionbudgets", pod["metadata"]["namespace"]):
        selector = from_object((pdb.get("spec") or {}).get("selector"))
        if selector is not None and selector.matches(labels):
            found.append(pdb)
    return found


def spend(store: ObjectStore, pod: Object, now: str, *, dry_run: bool) -> bool:
    """Take one disruption from the budget of a pod that runs, if there is one.

    A pod that is not ready costs nothing where its budget is met, or with ``AlwaysAllow``. That is
    what is returned: whether it goes because it is not ready, at exactly this version of it.

    Args:
        store: where the budgets are.
        pod: as it is now.
        now: the time, as the API writes it.
        dry_run: ask, and take nothing.

    Raises:
        ApiError: 429 the budget says no, or has not been looked at yet; 500 there are two.
    """
    found = budgets_of(store, pod)
    if not found:
        return False
    if len(found) > 1:
        raise ApiError(500, "", _TWO_BUDGETS)
    (pdb,) = found
    if not _is_ready(pod) and _lets_unhealthy_go(pdb):
        return True
    _check(pdb)
    if dry_run:
        return False
    status = deep_copy(pdb.get("status") or {})
    status["disruptionsAllowed"] -= 1
    if status["disruptionsAllowed"] == 0:
        _say_insufficient(pdb, status, now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: now}
    store.put("poddisruptionbudgets", {**pdb, "status": status})
    return False


def _lets_unhealthy_go(pdb: Object) -> bool:
    if (pdb.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = pdb.get("status") or {}
    desired: int = status.get("desiredHealthy", 0)
    return 0 < desired <= int(status.get("currentHealthy", 0))


def _check(pdb: Object) -> None:
    """Whether the budget allows a disruption now."""
    name, status = pdb["metadata"]["name"], pdb.get("status") or {}
    if status.get("observedGeneration", 0) < pdb["metadata"].get("generation", 0):
        message = f"The disruption budget {name} is still being processed by the server."
        raise errors.too_many_requests(_REFUSED, Cause(CAUSE, message), 10)
    allowed = status.get("disruptionsAllowed", 0)
    budgets = BY_PLURAL["poddisruptionbudgets"]
    if allowed < 0:
        raise errors.forbidden(budgets, name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or ()) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden(budgets, name, why)
    if allowed == 0:
        raise errors.too_many_requests(_REFUSED, Cause(CAUSE, _why(name, status)))


def _why(name: str, status: Object) -> str:
    condition = _condition(status) or {}
    says_no = condition.get("status") == "False" and condition.get("message")
    if says_no and condition.get("reason") == "SyncFailed":
        return (
            f"The disruption budget {name} does not allow evicting pods currently because it "
            f"failed sync: {condition['message']}"
        )
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if healthy <= desired:
        return (
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
    refused = f"The disruption budget {name} does not allow evicting pods currently"
    if says_no:
        return f"{refused} ({condition['reason']}): {condition['message']}"
    return refused


def _condition(status: Object) -> Object | None:
    for one in status.get("conditions") or ():
        if one.get("type") == "DisruptionAllowed":
            found: Object = one
            return found
    return None


def _say_insufficient(pdb: Object, status: Object, now: str) -> None:
    said: Object = {"type": "DisruptionAllowed", "status": "False", "lastTransitionTime": now}
    said |= {"reason": "InsufficientPods", "message": ""}
    said["observedGeneration"] = status.get("observedGeneration", 0)
    old = _condition(status)
    if old is not None and old.get("status") == "False":
        said["lastTransitionTime"] = old.get("lastTransitionTime", now)
    others = [one for one in status.get("conditions") or () if one is not old]
    status["conditions"] = [*others, said]


def disrupted(pod: Object, now: str) -> Object:
    """The pod with the condition that says why it goes."""
    said = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    status = pod.get("status") or {}
    conditions = list(status.get("conditions") or ())
    for place, one in enumerate(conditions):
        if one.get("type") == "DisruptionTarget":
            if one.get("status") == "True":
                said["lastTransitionTime"] = one.get("lastTransitionTime", now)
            conditions[place] = said
            break
    else:
        conditions.append(said)
    return {**pod, "status": {**status, "conditions": conditions}}


def _is_ready(pod: Object) -> bool:
    return any(
        one.get("type") == "Ready" and one.get("status") == "True"
        for one in (pod.get("status") or {}).get("conditions") or ()
    )
