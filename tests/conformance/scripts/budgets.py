"""Evictions, and the numbers in the status of budgets that they depend on."""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import (
    a_budget,
    a_pod,
    a_workload,
    create_budget,
    create_running_pod,
    until_counted,
    until_disruptions_handled,
)
from tests.conformance.session import Session

WRONG_UID = "00000000-0000-4000-8000-000000000000"


async def eviction_without_a_budget(s: Session) -> None:
    await create_running_pod(s, "pod")
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
    pod = await create_running_pod(s, "pod")
    await s.quiet.patch("pods/pod", {"metadata": {"labels": {"new": "yes"}}})
    known = {"uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"]}
    await s.evict("pod", preconditions=known)
    now = (await s.quiet.get("pods/pod")).body["metadata"]["resourceVersion"]
    await s.evict("pod", preconditions={**known, "resourceVersion": now})


async def a_budget_at_zero(s: Session) -> None:
    for name in ("a", "b"):
        await create_running_pod(s, name)
    await create_budget(s, a_budget("all", minAvailable=2), 2, 2)
    await s.evict("a")
    await s.get("poddisruptionbudgets/all")
    pod = (await s.quiet.get("pods/a")).body
    s.note("pod", pod["status"])
    await s.quiet.patch("poddisruptionbudgets/all", {"spec": {"minAvailable": 3}})
    await s.until("poddisruptionbudgets/all", lambda b: b["status"]["desiredHealthy"] == 3, "3")
    await s.evict("a")
    await s.delete("pods/a", dryRun="All")


async def a_budget_that_is_used_up(s: Session) -> None:
    for name in ("a", "b", "c"):
        await create_running_pod(s, name)
    await create_budget(s, a_budget("one", minAvailable=2), 3, 3)
    await s.get("poddisruptionbudgets/one")
    await s.evict("a", dryRun=["All"])
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("after a dry run", budget["status"])
    await s.evict("a")
    await until_counted(s, "one", 3, 2)
    await until_disruptions_handled(s, "one")
    await s.evict("b")
    await s.evict("a")
    await s.get("poddisruptionbudgets/one")
    await s.quiet.delete("pods/a", {"gracePeriodSeconds": 0})
    await until_counted(s, "one", 2, 2)
    await s.get("poddisruptionbudgets/one")
    await create_running_pod(s, "a")
    await until_counted(s, "one", 3, 3)
    await s.evict("b")


async def a_failed_precondition_uses_the_budget(s: Session) -> None:
    for name in ("a", "b"):
        await create_running_pod(s, name)
    await create_budget(s, a_budget("one", minAvailable=1), 2, 2)
    await s.evict("a", preconditions={"uid": WRONG_UID})
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("left", budget["status"]["disruptionsAllowed"])
    s.note("disrupted", sorted(budget["status"].get("disruptedPods") or {}))
    await until_counted(s, "one", 2, 1)
    await s.evict("b")


async def two_budgets(s: Session) -> None:
    await create_running_pod(s, "a")
    await create_budget(s, a_budget("first", minAvailable=0), 1, 1)
    await create_budget(s, a_budget("second", minAvailable=0), 1, 1)
    await s.evict("a")
    pod = (await s.quiet.get("pods/a")).body
    s.note("pod", pod["metadata"].get("deletionTimestamp"))
    await s.delete("poddisruptionbudgets/second")
    await s.evict("a")


async def pods_without_protection(s: Session) -> None:
    await s.quiet.post("pods", a_pod("pending", node="nowhere"))
    await s.quiet.post("pods", a_pod("unbound"))
    await create_running_pod(s, "failed", phase="Failed", ready=False)
    await create_running_pod(s, "succeeded", phase="Succeeded", ready=False)
    await create_running_pod(s, "terminating")
    await s.quiet.delete("pods/terminating")
    await s.quiet.post("poddisruptionbudgets", a_budget("all", minAvailable=9))
    found = await s.until(
        "poddisruptionbudgets/all", lambda b: b["status"]["desiredHealthy"] == 9, "counted"
    )
    s.note("budget", found["status"])
    for name in ("pending", "unbound", "failed", "succeeded", "terminating"):
        await s.evict(name)


async def pods_that_are_not_ready(s: Session) -> None:
    await create_running_pod(s, "ready")
    await create_running_pod(s, "unready", ready=False)
    await create_budget(s, a_budget("one", minAvailable=1), 2, 1)
    await s.evict("ready")
    await s.evict("unready")
    budget = (await s.quiet.get("poddisruptionbudgets/one")).body
    s.note("disrupted", budget["status"].get("disruptedPods"))


async def a_version_that_is_ignored(s: Session) -> None:
    """To evict a pod because it is not ready, the server requires the version that it has read."""
    await create_running_pod(s, "ready")
    old = await create_running_pod(s, "unready", ready=False)
    await s.quiet.patch("pods/unready", {"metadata": {"labels": {"new": "yes"}}})
    await create_budget(s, a_budget("one", minAvailable=1), 2, 1)
    known = {"resourceVersion": old["metadata"]["resourceVersion"]}
    await s.evict("unready", preconditions={**known, "uid": WRONG_UID})
    await s.evict("unready", preconditions=known)


async def not_ready_below_the_budget(s: Session) -> None:
    await create_running_pod(s, "ready")
    await create_running_pod(s, "unready", ready=False)
    await create_budget(s, a_budget("two", minAvailable=2), 2, 1)
    await s.evict("unready")
    policy = {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}
    await s.patch("poddisruptionbudgets/two", policy)
    await until_counted(s, "two", 2, 1)
    await s.evict("unready")
    await s.evict("ready")
    policy = {"spec": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}
    await s.patch("poddisruptionbudgets/two", policy)
    await create_running_pod(s, "unready-2", ready=False)
    await until_counted(s, "two", 3, 1)
    await s.evict("unready-2")


async def _replica_set(s: Session, name: str, replicas: int) -> str:
    """Create a ReplicaSet whose pods are on a node that does not exist, and mark them ready."""
    pod = {"nodeName": "nowhere", "schedulerName": "none"}
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
        found = await until_counted(s, name, 7, 7)
        s.note(str(case), found["status"])


async def a_scaled_budget_follows_the_scale(s: Session) -> None:
    await _replica_set(s, "web", 4)
    budget = a_budget("share", {"app": "web"}, maxUnavailable="30%")
    await create_budget(s, budget, 4, 4)
    await s.quiet.patch("replicasets/web", {"spec": {"replicas": 9}})
    pods = await s.until("pods", lambda p: len(p["items"]) == 9, "nine", labelSelector="app=web")
    # The controller reads the scale when a pod changes, and may have read the old one.
    for number, pod in enumerate(pods["items"]):
        change = {"metadata": {"annotations": {"changed": str(number)}}}
        await s.quiet.patch(f"pods/{pod['metadata']['name']}", change)
        await s.pause(0.1)
    s.note("scaled", (await until_counted(s, "share", 9, 4))["status"])


async def budgets_whose_pods_have_no_controller(s: Session) -> None:
    await create_running_pod(s, "a")
    rules: dict[str, Json] = {"share": {"maxUnavailable": "50%"}, "number": {"maxUnavailable": 1}}
    for name, rule in rules.items():
        await s.quiet.post("poddisruptionbudgets", a_budget(name, **rule))
        found = await s.until(
            f"poddisruptionbudgets/{name}", lambda b: b["status"].get("conditions"), "checked"
        )
        s.note(name, found["status"])


async def budgets_that_select_nothing(s: Session) -> None:
    await create_running_pod(s, "a")
    await create_budget(s, a_budget("none", {"app": "other"}, minAvailable=1), 0, 0)
    await s.get("poddisruptionbudgets/none")
    everything = {**a_budget("every", minAvailable=1), "spec": {"minAvailable": 1, "selector": {}}}
    await s.quiet.post("poddisruptionbudgets", everything)
    await until_counted(s, "every", 1, 1)
    await s.get("poddisruptionbudgets/every")
    nothing = {**a_budget("nothing"), "spec": {"minAvailable": 1}}
    await s.quiet.post("poddisruptionbudgets", nothing)
    await until_counted(s, "nothing", 0, 0)
    await s.get("poddisruptionbudgets/nothing")
    await s.evict("a")


async def readiness_changes_the_numbers(s: Session) -> None:
    for name in ("a", "b", "c"):
        await create_running_pod(s, name)
    await create_budget(s, a_budget("two", minAvailable=2), 3, 3)
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await s.quiet.patch("pods/c/status", unready)
    s.note("one is not ready", (await until_counted(s, "two", 3, 2))["status"])
    await s.quiet.delete("pods/b")
    s.note("one is deleted", (await until_counted(s, "two", 3, 1))["status"])
    await s.quiet.patch("pods/a", {"metadata": {"labels": {"app": "other"}}})
    await s.pause(0.3)
    # The controller looks up the budget by the new labels, finds none and does not sync.
    found = (await s.quiet.get("poddisruptionbudgets/two")).body
    s.note("one pod is not selected any more", found["status"])
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await s.quiet.patch("pods/c/status", ready)
    s.note("after the next sync", (await until_counted(s, "two", 2, 1))["status"])


SCRIPTS = (
    eviction_without_a_budget,
    eviction_with_the_version,
    a_budget_at_zero,
    a_budget_that_is_used_up,
    a_failed_precondition_uses_the_budget,
    two_budgets,
    pods_without_protection,
    pods_that_are_not_ready,
    a_version_that_is_ignored,
    not_ready_below_the_budget,
    numbers_of_a_scaled_budget,
    a_scaled_budget_follows_the_scale,
    budgets_whose_pods_have_no_controller,
    budgets_that_select_nothing,
    readiness_changes_the_numbers,
)
