"""Create, replace and delete: conflicts, preconditions, finalizers and dry runs."""

from __future__ import annotations

from typing import Any

from tests.conformance.objects import (
    NOWHERE,
    a_budget,
    a_config_map,
    a_pod,
    a_workload,
    create_running_pod,
)
from tests.conformance.session import Session

WRONG_UID = "00000000-0000-4000-8000-000000000000"


async def create_and_conflict(s: Session) -> None:
    await s.post("configmaps", a_config_map("settings", {"a": "1", "b": ""}))
    await s.get("configmaps/settings")
    await s.post("configmaps", a_config_map("settings"))
    await s.get("configmaps/nothing")
    given: dict[str, Any] = {
        "uid": WRONG_UID,
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "generation": 7,
    }
    await s.post("configmaps", a_config_map("told", **given))
    await s.post("configmaps", a_config_map("versioned", resourceVersion="5"))
    await s.post("poddisruptionbudgets", a_budget("budget", minAvailable=1))
    await s.post("deployments", a_workload("Deployment", "web", 0))
    await s.post("statefulsets", a_workload("StatefulSet", "db", 0, serviceName="db"))
    await s.post("replicasets", a_workload("ReplicaSet", "set", 0))
    await s.post("pods", a_pod("pod"))


async def generated_names(s: Session) -> None:
    body = a_config_map("", generateName="settings-")
    del body["metadata"]["name"]
    first = await s.post("configmaps", body)
    second = await s.post("configmaps", body)
    s.note("different", first.body["metadata"]["name"] != second.body["metadata"]["name"])
    s.note("length", len(first.body["metadata"]["name"]))
    await s.post("configmaps", a_config_map("named", generateName="settings-"))
    body["metadata"]["generateName"] = "x" * 80
    long = await s.post("configmaps", body)
    s.note("length", len(long.body["metadata"]["name"]))


async def optimistic_update(s: Session) -> None:
    made = await s.post("configmaps", a_config_map("settings"))
    first = made.body
    second = (await s.put("configmaps/settings", {**first, "data": {"a": "2"}})).body
    await s.put("configmaps/settings", {**first, "data": {"a": "3"}})
    await s.put("configmaps/settings", second)
    await s.put("configmaps/settings", a_config_map("settings", {"a": "4"}))
    await s.put("configmaps/settings", a_config_map("settings", uid=WRONG_UID))
    await s.put("configmaps/settings", a_config_map("other"))
    await s.put("configmaps/settings", a_config_map("settings", resourceVersion="no number"))
    await s.put("configmaps/nothing", a_config_map("nothing"))
    await s.put("configmaps/nothing", a_config_map("nothing", resourceVersion=made.version))
    bare = {"metadata": {"name": "settings"}}
    await s.put("configmaps/settings", bare)
    await s.get("configmaps/settings")


async def compare_and_swap(s: Session) -> None:
    """The writes of a ledger: create, swap, lose a race, read, swap, delete this version."""
    made = (await s.post("configmaps", a_config_map("ledger", {"moves": "[]"}))).body
    mine = {**made, "data": {"moves": "[1]"}}
    theirs = {**made, "data": {"moves": "[2]"}}
    await s.put("configmaps/ledger", mine)
    await s.put("configmaps/ledger", theirs)
    await s.patch(
        "configmaps/ledger",
        {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"b": "1"}},
    )
    now = (await s.get("configmaps/ledger")).body
    await s.patch(
        "configmaps/ledger",
        {"metadata": {"resourceVersion": now["metadata"]["resourceVersion"]}, "data": {"b": "1"}},
    )
    await s.patch("configmaps/ledger", {"metadata": {"uid": WRONG_UID}, "data": {"b": "2"}})
    await s.delete(
        "configmaps/ledger",
        {"preconditions": {"resourceVersion": now["metadata"]["resourceVersion"]}},
    )
    now = (await s.get("configmaps/ledger")).body
    await s.delete(
        "configmaps/ledger",
        {
            "preconditions": {
                "uid": now["metadata"]["uid"],
                "resourceVersion": now["metadata"]["resourceVersion"],
            }
        },
    )
    await s.put("configmaps/ledger", now)


async def delete_options(s: Session) -> None:
    for name in ("a", "b"):
        await s.quiet.post("configmaps", a_config_map(name))
    await s.delete("configmaps/a", {"preconditions": {"uid": WRONG_UID}})
    await s.delete("configmaps/a", {"preconditions": {"resourceVersion": "7"}})
    await s.delete("configmaps/a")
    await s.delete("configmaps/a")
    await s.delete("configmaps/b", propagationPolicy="Background")
    made = (await s.quiet.post("deployments", a_workload("Deployment", "web", 0))).body
    await s.delete("deployments/web", {"preconditions": {"uid": WRONG_UID}})
    await s.delete("deployments/web", {"preconditions": {"uid": made["metadata"]["uid"]}})
    await s.delete("pods/nothing")


async def grace_periods_of_pods(s: Session) -> None:
    await s.quiet.post("pods", a_pod("unbound"))
    await s.delete("pods/unbound")
    await s.get("pods/unbound")
    await s.quiet.post("pods", a_pod("bound", node=NOWHERE))
    await s.delete("pods/bound")
    await s.delete("pods/bound")
    await s.delete("pods/bound", {"gracePeriodSeconds": 20})
    await s.delete("pods/bound", {"gracePeriodSeconds": 25})
    await s.delete("pods/bound", {"gracePeriodSeconds": 0})
    await s.get("pods/bound")
    spec = {"terminationGracePeriodSeconds": 0}
    await s.quiet.post("pods", a_pod("hasty", node=NOWHERE, spec=spec))
    await s.delete("pods/hasty")
    await s.get("pods/hasty")
    await create_running_pod(s, "done", phase="Succeeded", ready=False)
    await s.delete("pods/done")
    await s.get("pods/done")
    await s.quiet.post("pods", a_pod("kept", node=NOWHERE, finalizers=["spotalis.io/x"]))
    await s.delete("pods/kept", {"gracePeriodSeconds": 0})
    await s.patch("pods/kept", {"metadata": {"finalizers": None}})
    await s.get("pods/kept")


async def finalizers(s: Session) -> None:
    await s.post("configmaps", a_config_map("kept", finalizers=["spotalis.io/b", "spotalis.io/a"]))
    await s.delete("configmaps/kept")
    await s.delete("configmaps/kept")
    await s.get("configmaps/kept")
    await s.patch("configmaps/kept", {"data": {"a": "2"}})
    more = ["spotalis.io/a", "spotalis.io/b", "spotalis.io/c"]
    await s.patch("configmaps/kept", {"metadata": {"finalizers": more}})
    await s.patch("configmaps/kept", {"metadata": {"finalizers": ["spotalis.io/a"]}})
    await s.post("configmaps", a_config_map("kept"))
    await s.patch("configmaps/kept", {"metadata": {"finalizers": []}})
    await s.get("configmaps/kept")
    await s.post("configmaps", a_config_map("bad", finalizers=["unqualified"]))


async def dry_runs(s: Session) -> None:
    await s.post("configmaps", a_config_map("settings"), dryRun="All")
    await s.get("configmaps/settings")
    made = (await s.post("configmaps", a_config_map("settings"))).body
    await s.put("configmaps/settings", {**made, "data": {"a": "2"}}, dryRun="All")
    await s.patch("configmaps/settings", {"data": {"a": "3"}}, dryRun="All")
    await s.delete("configmaps/settings", dryRun="All")
    await s.delete("configmaps/settings", {"dryRun": ["All"]})
    await s.get("configmaps/settings")
    await s.post("configmaps", a_config_map("other"), dryRun="Some")
    await s.quiet.post("configmaps", a_config_map("kept", finalizers=["spotalis.io/x"]))
    await s.delete("configmaps/kept", dryRun="All")
    await s.get("configmaps/kept")
    await create_running_pod(s, "pod")
    await s.evict("pod", dryRun=["All"])
    await s.delete("pods/pod", dryRun="All")
    pod = await s.quiet.get("pods/pod")
    s.note("metadata", pod.body["metadata"])


async def status_subresource(s: Session) -> None:
    made = (await s.quiet.post("deployments", a_workload("Deployment", "web", 0))).body
    await s.until(
        "deployments/web", lambda found: found["status"].get("observedGeneration"), "observed"
    )
    made = (await s.quiet.get("deployments/web")).body
    annotated = {**made["metadata"], "annotations": {"a": "b"}, "labels": {"c": "d"}}
    spec = {**made["spec"], "replicas": 9, "paused": True}
    body = {**made, "metadata": annotated, "spec": spec, "status": {"replicas": 4}}
    written = (await s.put("deployments/web/status", body, dryRun="All")).body
    s.note("specification", written["spec"]["replicas"])
    body = {**made, "status": {"replicas": 4}}
    await s.put("deployments/web", body, dryRun="All")
    await s.put("deployments/nothing/status", {**made, "metadata": {"name": "nothing"}})
    await create_running_pod(s, "pod")
    conditions = {"status": {"conditions": [{"type": "Mine", "status": "True"}]}}
    await s.patch("pods/pod/status", conditions, "application/strategic-merge-patch+json")
    await s.patch("pods/pod/status", {"spec": {"nodeName": "elsewhere"}})
    await s.patch("pods/pod", {"status": {"phase": "Failed"}})
    await s.get("pods/pod/status")


async def scale_subresource(s: Session) -> None:
    body = a_workload("Deployment", "web", 2, paused=True)
    body["spec"]["selector"]["matchExpressions"] = [
        {"key": "app", "operator": "In", "values": ["web", "api"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    await s.quiet.post("deployments", body)
    await s.until(
        "deployments/web", lambda found: found["status"]["observedGeneration"], "observed"
    )
    read = (await s.get("deployments/web/scale")).body
    await s.put("deployments/web/scale", {**read, "spec": {"replicas": -1}})
    await s.get("deployments/nothing/scale")
    await s.quiet.patch("deployments/web", {"spec": {"replicas": 0}})
    await s.until("deployments/web", lambda found: found["status"]["observedGeneration"] == 2, "2")
    await s.put("deployments/web/scale", {**read, "spec": {"replicas": 3}})
    read = (await s.get("deployments/web/scale")).body
    read["metadata"].pop("resourceVersion")
    await s.put("deployments/web/scale", {**read, "spec": {"replicas": 1}})
    generation = (await s.quiet.get("deployments/web")).body["metadata"]["generation"]
    s.note("generation", generation)
    await s.put("deployments/web/scale", {**read, "metadata": {"name": "other"}})
    await s.quiet.post("statefulsets", a_workload("StatefulSet", "db", 0, serviceName="db"))
    scaled = await s.patch("statefulsets/db/scale", {"spec": {"replicas": 0}})
    s.note("status", scaled.status)


async def generations(s: Session) -> None:
    await s.quiet.post("replicasets", a_workload("ReplicaSet", "set", 0))
    await s.until(
        "replicasets/set", lambda found: found["status"]["observedGeneration"], "observed"
    )

    async def note_after(change: dict[str, object]) -> None:
        changed = await s.quiet.patch("replicasets/set", change)
        s.note(str(change), changed.body["metadata"]["generation"])

    await note_after({"metadata": {"labels": {"a": "b"}}})
    await note_after({"metadata": {"annotations": {"a": "b"}}})
    await note_after({"spec": {"minReadySeconds": 1}})
    await note_after({"spec": {"minReadySeconds": 1}})
    await note_after({"spec": {"template": {"metadata": {"labels": {"c": "d"}}}}})
    budget = a_budget("budget", minAvailable=1)
    await s.quiet.post("poddisruptionbudgets", budget)
    for change in ({"spec": {"minAvailable": 2}}, {"metadata": {"labels": {"a": "b"}}}):
        changed = await s.quiet.patch("poddisruptionbudgets/budget", change)
        s.note(f"budget {change}", changed.body["metadata"]["generation"])
    await s.quiet.post("pods", a_pod("pod"))
    for change in ({"metadata": {"labels": {"a": "b"}}}, {"spec": {"activeDeadlineSeconds": 9}}):
        changed = await s.quiet.patch("pods/pod", change)
        s.note(f"pod {change}", changed.body["metadata"].get("generation"))


async def immutable_fields(s: Session) -> None:
    await s.quiet.post("deployments", a_workload("Deployment", "web", 0))
    selector = {"matchLabels": {"app": "other"}}
    labels = {"metadata": {"labels": {"app": "other"}}}
    await s.patch("deployments/web", {"spec": {"selector": selector, "template": labels}})
    await s.patch("deployments/web", {"spec": {"template": labels}})
    await s.patch("deployments/web", {"spec": {"replicas": -1}})
    await s.quiet.post("statefulsets", a_workload("StatefulSet", "db", 0, serviceName="db"))
    await s.patch("statefulsets/db", {"spec": {"serviceName": "other"}})
    await s.patch("statefulsets/db", {"spec": {"podManagementPolicy": "Parallel"}})
    await s.quiet.post("pods", a_pod("pod"))
    await s.patch("pods/pod", {"spec": {"nodeSelector": {"a": "b"}}})
    await s.patch("pods/pod", {"spec": {"tolerations": []}})
    await s.post("poddisruptionbudgets", a_budget("both", minAvailable=1, maxUnavailable=1))
    await s.post("poddisruptionbudgets", a_budget("negative", minAvailable=-1))
    await s.post("poddisruptionbudgets", a_budget("odd", minAvailable="much"))
    await s.post(
        "poddisruptionbudgets", a_budget("policy", minAvailable=1, unhealthyPodEvictionPolicy="No")
    )
    await s.post("deployments", a_workload("Deployment", "none", -1))
    body = a_workload("Deployment", "none", 1)
    del body["spec"]["selector"]
    await s.post("deployments", body)
    body = a_workload("Deployment", "none", 1)
    body["spec"]["template"]["spec"]["containers"] = []
    await s.post("deployments", body)
    await s.post("pods", {"metadata": {"name": "empty"}, "spec": {}})


SCRIPTS = (
    create_and_conflict,
    generated_names,
    optimistic_update,
    compare_and_swap,
    delete_options,
    grace_periods_of_pods,
    finalizers,
    dry_runs,
    status_subresource,
    scale_subresource,
    generations,
    immutable_fields,
)
