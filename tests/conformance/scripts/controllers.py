"""Deployments and ReplicaSets: rollouts, scale-down order and adoption.

Pod names and the order of creation are arbitrary, so the scripts note numbers and choices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import NEVER_READY, a_pod, a_workload
from tests.conformance.session import Session

COST = "controller.kubernetes.io/pod-deletion-cost"
NUMBERS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
           "unavailableReplicas", "terminatingReplicas", "observedGeneration")  # fmt: skip


async def wait_for_pods(s: Session, app: str, count: int, *, ready: bool = True) -> list[Json]:
    """Wait until ``app`` has exactly this number of pods, all of them ready if ``ready``."""

    def matches(found: Json) -> bool:
        remaining = remaining_pods(found["items"])
        return len(remaining) == count and len(remaining) == len(found["items"]) and (
            not ready or all(is_ready(one) for one in remaining)
        )  # fmt: skip

    found = await s.until("pods", matches, f"{count} pods of {app}", labelSelector=f"app={app}")
    items: list[Json] = found["items"]
    return items


def remaining_pods(pods: list[Json]) -> list[Json]:
    return [one for one in pods if "deletionTimestamp" not in one["metadata"]]


def names_in(events: list[Json], kind: str) -> list[str]:
    """The names of the objects in events of one type."""
    return [one["object"]["metadata"]["name"] for one in events if one["type"] == kind]


def _revision(replica_set: Json) -> str:
    return str(replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def a_new_deployment(s: Session) -> None:
    made = a_workload("Deployment", "web", 3, annotations={"note": "x"}, pod={"priority": 0})
    made["metadata"]["annotations"] = {"mine": "1"}
    await s.post("deployments", made)
    pods = await wait_for_pods(s, "web", 3)
    await s.until(
        "deployments/web",
        lambda d: (
            d["status"]["availableReplicas"] == 3
            and any(c.get("reason") == "NewReplicaSetAvailable" for c in d["status"]["conditions"])
        ),
        "complete",
    )
    await s.get("deployments/web")
    await s.get("replicasets", labelSelector="app=web")
    pod = pods[0]
    s.note("pod metadata", pod["metadata"])
    dropped = ("nodeName", "volumes")
    s.note("pod spec", {key: pod["spec"][key] for key in pod["spec"] if key not in dropped})
    s.note("QoS class", pod["status"]["qosClass"])


async def _rolled(s: Session, replicas: int, surge: Any, unavailable: Any) -> Json:
    """The state in which a rollout with pods that never become ready ends."""
    name = f"web-{replicas}-{surge}-{unavailable}".replace("%", "p")
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    body = a_workload("Deployment", name, replicas, strategy=strategy)
    await s.quiet.post("deployments", body)
    await wait_for_pods(s, name, replicas)
    await s.until(
        f"deployments/{name}", lambda d: d["status"]["availableReplicas"] == replicas, "available"
    )
    change = {"spec": {"template": {"metadata": {"annotations": NEVER_READY}}}}
    await s.quiet.patch(f"deployments/{name}", change)

    def is_stable(found: Json) -> bool:
        """Whether all pods that may be created exist, and all that must be deleted are gone."""
        sizes = [one["spec"].get("replicas", 0) for one in found["items"]]
        settled = all(one["status"].get("replicas", 0) == one["spec"]["replicas"]
                      and one["status"].get("terminatingReplicas", 0) == 0
                      and one["status"].get("observedGeneration") == one["metadata"]["generation"]
                      for one in found["items"])  # fmt: skip
        return len(sizes) == 2 and settled and sum(sizes) >= replicas

    await s.until("replicasets", is_stable, "stable", labelSelector=f"app={name}")
    await s.pause(0.7)  # an intermediate step may look like the final state
    await s.until("replicasets", is_stable, "stable", labelSelector=f"app={name}")
    found = await s.until(
        f"deployments/{name}",
        lambda d: (
            d["status"]["observedGeneration"] == 2
            and d["status"]["availableReplicas"] == d["status"]["readyReplicas"]
            and d["status"].get("terminatingReplicas", 0) == 0
        ),
        "counted",
    )
    sets = (await s.quiet.get("replicasets", labelSelector=f"app={name}")).body["items"]
    revision = "deployment.kubernetes.io/revision"
    return {
        "status": {key: found["status"].get(key) for key in NUMBERS},
        "sets": sorted(
            [one["metadata"]["annotations"][revision], one["spec"].get("replicas"),
             one["status"].get("availableReplicas", 0),
             one["metadata"]["annotations"].get("deployment.kubernetes.io/max-replicas")]
            for one in sets
        ),
    }  # fmt: skip


async def stuck_rollouts(s: Session) -> None:
    cases: list[tuple[int, Any, Any]] = [
        (4, 1, 0), (4, 0, 1), (4, "25%", "25%"), (3, "25%", "25%"), (10, "30%", "20%"),
        (5, "100%", 0), (2, 0, "1%"),
    ]  # fmt: skip
    for case, end in zip(
        cases, await asyncio.gather(*(_rolled(s, *c) for c in cases)), strict=True
    ):
        s.note(str(case), end)


async def the_steps_of_a_rollout(s: Session) -> None:
    """With maxSurge 1 and maxUnavailable 0, the sizes change one by one."""
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    await s.quiet.post("deployments", a_workload("Deployment", "web", 3, strategy=strategy))
    await wait_for_pods(s, "web", 3)
    before = await s.until("deployments/web", lambda d: d["status"]["availableReplicas"] == 3, "3")
    opened = await s.follow("replicasets", resourceVersion=before["metadata"]["resourceVersion"])
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("deployments/web", change)
    await s.until(
        "deployments/web",
        lambda d: d["status"]["observedGeneration"] == 2
        and d["status"].get("updatedReplicas") == 3 and d["status"]["replicas"] == 3,
        "done",
    )  # fmt: skip
    seen = await opened.until(
        lambda events: any(
            _revision(one["object"]) == "1" and not one["object"]["spec"].get("replicas")
            for one in events
        ),
        "the old set at 0",
    )
    await opened.close()
    steps: dict[str, list[int]] = {}
    for event in seen:
        one = event["object"]
        sizes = steps.setdefault(_revision(one), [])
        if not sizes or sizes[-1] != one["spec"].get("replicas", 0):
            sizes.append(one["spec"].get("replicas", 0))
    s.note("sizes by revision", steps)


async def a_rollback(s: Session) -> None:
    await s.quiet.post("deployments", a_workload("Deployment", "web", 1))
    await wait_for_pods(s, "web", 1)
    for value in ("b", None):
        change = {"spec": {"template": {"metadata": {"annotations": {"v": value}}}}}
        await s.quiet.patch("deployments/web", change)
        await s.until(
            "deployments/web",
            lambda d: d["status"]["observedGeneration"] == d["metadata"]["generation"]
            and d["status"].get("updatedReplicas") == 1 and d["status"]["replicas"] == 1
            and d["status"].get("availableReplicas") == 1,
            "done",
        )  # fmt: skip
    sets = (await s.quiet.get("replicasets", labelSelector="app=web")).body["items"]
    annotations = [
        {**one["metadata"]["annotations"], "size": one["spec"]["replicas"]}
        for one in sets
    ]  # fmt: skip
    s.note("sets", sorted(annotations, key=str))
    found = (await s.quiet.get("deployments/web")).body
    s.note("deployment", found["metadata"]["annotations"])


async def recreate(s: Session) -> None:
    await s.post(
        "deployments", a_workload("Deployment", "web", 2, strategy={"type": "Recreate"})
    )  # fmt: skip
    before = {one["metadata"]["uid"] for one in await wait_for_pods(s, "web", 2)}
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("deployments/web", change)
    await s.until(
        "deployments/web",
        lambda d: d["status"]["observedGeneration"] == 2
        and d["status"].get("updatedReplicas") == 2 and d["status"].get("readyReplicas") == 2,
        "done",
    )  # fmt: skip
    after = {one["metadata"]["uid"] for one in await wait_for_pods(s, "web", 2)}
    s.note("kept", len(before & after))


async def _note_scale_down(s: Session, kind: str, costs: Mapping[str, str]) -> None:
    """Scale down by one pod at a time, and note in which order pods are deleted."""
    plural = f"{kind.lower()}s"
    await s.quiet.post(plural, a_workload(kind, "web", len(costs)))
    pods = await wait_for_pods(s, "web", len(costs))
    names = {}
    for pod, (mark, cost) in zip(pods, costs.items(), strict=True):
        names[pod["metadata"]["name"]] = mark
        note = {"metadata": {"annotations": {COST: cost} if cost else {"none": "yes"}}}
        await s.quiet.patch(f"pods/{pod['metadata']['name']}", note)
    left = set(costs.keys())
    # The controller learns of the annotations by its watch.
    await s.pause(1)
    for size in range(len(costs) - 1, 0, -1):
        await s.quiet.patch(f"{plural}/web", {"spec": {"replicas": size}})
        now = {names.get(one["metadata"]["name"], "new")
               for one in await wait_for_pods(s, "web", size)}  # fmt: skip
        s.note(f"deleted at {size}", sorted(left - now))
        left = now


async def scale_down_by_deletion_cost(s: Session) -> None:
    costs = {"high": "100", "low": "-5", "none": "", "medium": "10"}
    await _note_scale_down(s, "ReplicaSet", costs)


async def scale_down_of_a_deployment(s: Session) -> None:
    await _note_scale_down(
        s, "Deployment", {"high": "2147483647", "low": "-2147483648", "third": "1"}
    )


async def invalid_deletion_costs(s: Session) -> None:
    for cost in ("x", "1.5", "+1", "01", "2147483648", "", "0", "-1"):
        pod = a_pod("pod", annotations={COST: cost})
        made = await s.quiet.post("pods", pod, dryRun="All")
        s.note(repr(cost), made.status if made.status == 201 else made.body)


async def scale_down_of_unready_and_pending_pods(s: Session) -> None:
    """Pending pods before running ones, unready before ready ones, regardless of the cost."""
    body = a_workload("ReplicaSet", "web", 2, annotations={COST: "-100"})
    await s.quiet.post("replicasets", body)
    old = {one["metadata"]["name"] for one in await wait_for_pods(s, "web", 2)}
    change = {"spec": {"replicas": 3, "template": {
        "metadata": {"annotations": {**NEVER_READY, COST: "100"}}}}}  # fmt: skip
    await s.quiet.patch("replicasets/web", change)
    await s.until(
        "pods", lambda p: sum(one["status"]["phase"] == "Running" for one in p["items"]) == 3,
        "three are running", labelSelector="app=web",
    )  # fmt: skip
    change = {"spec": {"replicas": 4, "template": {"spec": {"nodeSelector": {"no": "such"}}}}}
    await s.quiet.patch("replicasets/web", change)
    four = await s.until("pods", lambda p: len(p["items"]) == 4, "four", labelSelector="app=web")
    kinds = {}
    for one in four["items"]:
        name = one["metadata"]["name"]
        kinds[name] = "ready" if name in old else one["status"]["phase"]
    await s.pause(1)
    left = sorted(kinds.values())
    for size in (3, 2):
        await s.quiet.patch("replicasets/web", {"spec": {"replicas": size}})
        now = await wait_for_pods(s, "web", size, ready=False)
        left = sorted(kinds[one["metadata"]["name"]] for one in now)
        s.note(f"left at {size}", left)


async def replica_sets_adopt_and_release(s: Session) -> None:
    await s.quiet.post("pods", a_pod("orphan", node="nowhere"))
    made = await s.quiet.post("replicasets", a_workload("ReplicaSet", "web", 1))
    await s.until("pods/orphan", lambda p: p["metadata"]["ownerReferences"], "adopted")
    pods = await wait_for_pods(s, "web", 1, ready=False)
    s.note("pods", [one["metadata"]["name"] for one in pods])
    s.note("owner", pods[0]["metadata"]["ownerReferences"])
    s.note("uid", made.uid)
    await s.quiet.patch("pods/orphan", {"metadata": {"labels": {"app": "other"}}})
    await s.until("pods/orphan", lambda p: not p["metadata"].get("ownerReferences"), "released")
    pods = await wait_for_pods(s, "web", 1, ready=False)
    s.note("another", pods[0]["metadata"]["name"] != "orphan")


async def deleting_a_deployment(s: Session) -> None:
    await s.quiet.post("deployments", a_workload("Deployment", "web", 2))
    await wait_for_pods(s, "web", 2)
    await s.delete("deployments/web")
    await s.until("replicasets", lambda r: not r["items"], "no set", labelSelector="app=web")
    await wait_for_pods(s, "web", 0)


async def paused(s: Session) -> None:
    await s.post("deployments", a_workload("Deployment", "web", 1, paused=True))
    await s.until("deployments/web", lambda d: d["status"]["observedGeneration"] == 1, "observed")
    await s.get("deployments/web")
    s.note("sets", (await s.quiet.get("replicasets")).body["items"])
    await s.quiet.patch("deployments/web", {"spec": {"paused": False}})
    await wait_for_pods(s, "web", 1)
    await s.until("deployments/web", lambda d: d["status"].get("availableReplicas") == 1, "up")
    await s.get("deployments/web")


SCRIPTS = (
    a_new_deployment,
    stuck_rollouts,
    the_steps_of_a_rollout,
    a_rollback,
    recreate,
    scale_down_by_deletion_cost,
    scale_down_of_a_deployment,
    invalid_deletion_costs,
    scale_down_of_unready_and_pending_pods,
    replica_sets_adopt_and_release,
    deleting_a_deployment,
    paused,
)
