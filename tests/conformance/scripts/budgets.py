"""Evictions, and the disruption controller's numbers that they are judged by."""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import (
    a_budget,
    a_counted_budget,
    a_pod,
    a_running_pod,
    a_workload,
    counted,
    struck,
)
from tests.conformance.session import Session

WRONG_UID = "00000000-0000-4000-8000-000000000000"


async def eviction_without_a_budget(s: Session) -> None:
    await a_running_pod(s, "pod")
    await s.evict("nothing")
    await s.evict("pod", preconditions={"uid": WRONG_UID})
    await s.evict("pod", preconditions={"resourceVersion": "7"})
    body: Json = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}}
    await s.post("pods/pod/eviction", body)
    await s.get("pods/pod")
    pod = (await s.quiet.get("pods/pod")).body
    await s.evict("pod", preconditions={"uid": pod["metadata"]["uid"]})
    await s.get("pods/pod")
    await s.evict("pod")
    await s.get("pods/pod")
    await s.evict("pod", gracePeriodSeconds=0)
    await s.get("pods/pod")


async def eviction_with_the_version(s: Session) -> None:
    pod = await a_running_pod(s, "pod")
    await s.quiet.patch("pods/pod", {"metadata": {"labels": {"new": "yes"}}})
    known = {"uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"]}
    await s.evict("pod", preconditions=known)
    now = (await s.quiet.get("pods/pod")).body["metadata"]["resourceVersion"]
    await s.evict("pod", preconditions={**known, "resourceVersion": now})


async def a_budget_at_zero(s: Session) -> None:
    for name in ("a", "b"):
        await a_running_pod(s, name)
    await a_counted_budget(s, a_budget("all", minAvailable=2), 2, 2)
    await s.evict("a")
    await s.get("poddisruptionbudgets/all")
    pod = (await s.quiet.get("pods/a")).body
    s.note("pod", pod["status"])
    await s.quiet.patch("poddisruptionbudgets/all", {"spec": {"minAvailable": 3}})
    await s.until("poddisruptionbudgets/all", lambda b: b["status"]["desiredHealthy"] == 3, "3")
    await s.evict("a")
    await s.delete("pods/a", dryRun="All")


async def a_budget_that_is_spent(s: Session) -> None:
    for name in ("a", "b", "c"):
        await a_running_pod(s, name)
    await a_counted_budget(s, a_budget("one", minAvailable=2), 3, 3)
    await s.get("poddisruptionbudgets/one")
    await s.evict("a", dryRun=["All"])
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("after a dry run", budget["status"])
    await s.evict("a")
    await counted(s, "one", 3, 2)
    await struck(s, "one")
    await s.evict("b")
    await s.evict("a")
    await s.get("poddisruptionbudgets/one")
    await s.quiet.delete("pods/a", {"gracePeriodSeconds": 0})
    await counted(s, "one", 2, 2)
    await s.get("poddisruptionbudgets/one")
    await a_running_pod(s, "a")
    await counted(s, "one", 3, 3)
    await s.evict("b")


async def a_precondition_that_fails_spends_the_budget(s: Session) -> None:
    for name in ("a", "b"):
        await a_running_pod(s, name)
    await a_counted_budget(s, a_budget("one", minAvailable=1), 2, 2)
    await s.evict("a", preconditions={"uid": WRONG_UID})
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("left", budget["status"]["disruptionsAllowed"])
    s.note("disrupted", sorted(budget["status"].get("disruptedPods") or {}))
    await counted(s, "one", 2, 1)
    await s.evict("b")


async def two_budgets(s: Session) -> None:
    await a_running_pod(s, "a")
    await a_counted_budget(s, a_budget("first", minAvailable=0), 1, 1)
    await a_counted_budget(s, a_budget("second", minAvailable=0), 1, 1)
    await s.evict("a")
    pod = (await s.quiet.get("pods/a")).body
    s.note("pod", pod["metadata"].get("deletionTimestamp"))
    await s.delete("poddisruptionbudgets/second")
    await s.evict("a")


async def pods_that_no_budget_protects(s: Session) -> None:
    await s.quiet.post("pods", a_pod("pending", node="nowhere"))
    await s.quiet.post("pods", a_pod("unbound"))
    await a_running_pod(s, "failed", phase="Failed", ready=False)
    await a_running_pod(s, "succeeded", phase="Succeeded", ready=False)
    await a_running_pod(s, "leaving")
    await s.quiet.delete("pods/leaving")
    await s.quiet.post("poddisruptionbudgets", a_budget("all", minAvailable=9))
    found = await s.until(
        "poddisruptionbudgets/all", lambda b: b["status"]["desiredHealthy"] == 9, "counted"
    )
    s.note("budget", found["status"])
    for name in ("pending", "unbound", "failed", "succeeded", "leaving"):
        await s.evict(name)


async def pods_that_are_not_ready(s: Session) -> None:
    await a_running_pod(s, "well")
    await a_running_pod(s, "ill", ready=False)
    await a_counted_budget(s, a_budget("one", minAvailable=1), 2, 1)
    await s.evict("well")
    await s.evict("ill")
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("unspent", budget["status"].get("disruptedPods"))


async def a_version_that_is_not_heeded(s: Session) -> None:
    """For a pod that goes because it is not ready, the server asks for the version it has read."""
    await a_running_pod(s, "well")
    old = await a_running_pod(s, "ill", ready=False)
    await s.quiet.patch("pods/ill", {"metadata": {"labels": {"new": "yes"}}})
    await a_counted_budget(s, a_budget("one", minAvailable=1), 2, 1)
    known = {"resourceVersion": old["metadata"]["resourceVersion"]}
    await s.evict("ill", preconditions={**known, "uid": WRONG_UID})
    await s.evict("ill", preconditions=known)


async def not_ready_below_the_budget(s: Session) -> None:
    await a_running_pod(s, "well")
    await a_running_pod(s, "ill", ready=False)
    await a_counted_budget(s, a_budget("two", minAvailable=2), 2, 1)
    await s.evict("ill")
    policy = {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}
    await s.patch("poddisruptionbudgets/two", policy)
    await counted(s, "two", 2, 1)
    await s.evict("ill")
    await s.evict("well")
    policy = {"spec": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}
    await s.patch("poddisruptionbudgets/two", policy)
    await a_running_pod(s, "ill-too", ready=False)
    await counted(s, "two", 3, 1)
    await s.evict("ill-too")


async def _replica_set(s: Session, name: str, replicas: int) -> str:
    """A ReplicaSet whose pods the script makes itself: they are bound nowhere and run."""
    pod = {"nodeName": "nowhere", "schedulerName": "nobody"}
    await s.quiet.post("replicasets", a_workload("ReplicaSet", name, replicas, pod=pod))
    pods = await s.until(
        "pods", lambda found: len(found["items"]) >= replicas, f"{replicas} pods",
        labelSelector=f"app={name}",
    )  # fmt: skip
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    for one in pods["items"]:
        await s.quiet.patch(f"pods/{one['metadata']['name']}/status", {"status": ready})
    return name


async def numbers_of_a_scaled_budget(s: Session) -> None:
    await _replica_set(s, "web", 7)
    cases: list[dict[str, Any]] = [
        {"maxUnavailable": 1}, {"maxUnavailable": 0}, {"maxUnavailable": "30%"},
        {"maxUnavailable": "10%"}, {"maxUnavailable": "100%"}, {"minAvailable": "50%"},
        {"minAvailable": "100%"}, {"minAvailable": "1%"}, {"minAvailable": 9},
        {"minAvailable": "0%"},
    ]  # fmt: skip
    for number, case in enumerate(cases):
        name = f"budget-{number}"
        await s.quiet.post("poddisruptionbudgets", a_budget(name, {"app": "web"}, **case))
        found = await counted(s, name, 7, 7)
        s.note(str(case), found["status"])


async def a_scaled_budget_follows_the_scale(s: Session) -> None:
    await _replica_set(s, "web", 4)
    budget = a_budget("share", {"app": "web"}, maxUnavailable="30%")
    await a_counted_budget(s, budget, 4, 4)
    await s.quiet.patch("replicasets/web", {"spec": {"replicas": 9}})
    pods = await s.until("pods", lambda p: len(p["items"]) == 9, "nine", labelSelector="app=web")
    # The controller looks at the scale when a pod changes, and may not have seen the new one yet.
    for number, pod in enumerate(pods["items"]):
        poke = {"metadata": {"annotations": {"poke": str(number)}}}
        await s.quiet.patch(f"pods/{pod['metadata']['name']}", poke)
        await s.pause(0.1)
    s.note("scaled", (await counted(s, "share", 9, 4))["status"])


async def budgets_whose_pods_have_no_controller(s: Session) -> None:
    await a_running_pod(s, "a")
    rules: dict[str, Json] = {"share": {"maxUnavailable": "50%"}, "number": {"maxUnavailable": 1}}
    for name, rule in rules.items():
        await s.quiet.post("poddisruptionbudgets", a_budget(name, **rule))
        found = await s.until(
            f"poddisruptionbudgets/{name}", lambda b: b["status"].get("conditions"), "judged"
        )
        s.note(name, found["status"])


async def budgets_that_select_nothing(s: Session) -> None:
    await a_running_pod(s, "a")
    await a_counted_budget(s, a_budget("none", {"app": "other"}, minAvailable=1), 0, 0)
    await s.get("poddisruptionbudgets/none")
    everything = {**a_budget("every", minAvailable=1), "spec": {"minAvailable": 1, "selector": {}}}
    await s.quiet.post("poddisruptionbudgets", everything)
    await counted(s, "every", 1, 1)
    await s.get("poddisruptionbudgets/every")
    nothing = {**a_budget("nothing"), "spec": {"minAvailable": 1}}
    await s.quiet.post("poddisruptionbudgets", nothing)
    await counted(s, "nothing", 0, 0)
    await s.get("poddisruptionbudgets/nothing")
    await s.evict("a")


async def readiness_changes_the_numbers(s: Session) -> None:
    for name in ("a", "b", "c"):
        await a_running_pod(s, name)
    await a_counted_budget(s, a_budget("two", minAvailable=2), 3, 3)
    ill = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await s.quiet.patch("pods/c/status", ill)
    s.note("one is ill", (await counted(s, "two", 3, 2))["status"])
    await s.quiet.delete("pods/b")
    s.note("one leaves", (await counted(s, "two", 3, 1))["status"])
    await s.quiet.patch("pods/a", {"metadata": {"labels": {"app": "other"}}})
    await s.pause(0.3)
    # The controller asks whose budget the pod's new labels are, and theirs is none: so it waits.
    found = (await s.quiet.get("poddisruptionbudgets/two")).body
    s.note("one is no longer meant", found["status"])
    well = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await s.quiet.patch("pods/c/status", well)
    s.note("and now it knows", (await counted(s, "two", 2, 1))["status"])


SCRIPTS = (
    eviction_without_a_budget,
    eviction_with_the_version,
    a_budget_at_zero,
    a_budget_that_is_spent,
    a_precondition_that_fails_spends_the_budget,
    two_budgets,
    pods_that_no_budget_protects,
    pods_that_are_not_ready,
    a_version_that_is_not_heeded,
    not_ready_below_the_budget,
    numbers_of_a_scaled_budget,
    a_scaled_budget_follows_the_scale,
    budgets_whose_pods_have_no_controller,
    budgets_that_select_nothing,
    readiness_changes_the_numbers,
)
