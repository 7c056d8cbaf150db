"""What the workload controllers do: rollouts, scale-down order, ordinals, adoption.

Pods get names by chance and come in an order of their own, so scripts note numbers and choices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import NEVER_READY, a_pod, a_workload
from tests.conformance.session import STRATEGIC, Session
from tests.support.volumes import a_claim, claiming

COST = "controller.kubernetes.io/pod-deletion-cost"
NUMBERS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
           "unavailableReplicas", "terminatingReplicas", "observedGeneration")  # fmt: skip


async def _pods(s: Session, app: str, count: int, *, ready: bool = True) -> list[Json]:
    """Wait for exactly so many living pods of ``app``, all of them ready if so wished."""

    def there(found: Json) -> bool:
        living = _living(found["items"])
        return len(living) == count and len(living) == len(found["items"]) and (
            not ready or all(_is_ready(one) for one in living)
        )  # fmt: skip

    found = await s.until("pods", there, f"{count} pods of {app}", labelSelector=f"app={app}")
    items: list[Json] = found["items"]
    return items


def _living(pods: list[Json]) -> list[Json]:
    return [one for one in pods if "deletionTimestamp" not in one["metadata"]]


def _of(events: list[Json], kind: str) -> list[str]:
    """Names in the events of one type."""
    return [one["object"]["metadata"]["name"] for one in events if one["type"] == kind]


def _revision(replica_set: Json) -> str:
    return str(replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def a_deployment_comes_up(s: Session) -> None:
    made = a_workload("Deployment", "web", 3, annotations={"note": "x"}, pod={"priority": 0})
    made["metadata"]["annotations"] = {"mine": "1"}
    await s.post("deployments", made)
    pods = await _pods(s, "web", 3)
    await s.until(
        "deployments/web",
        lambda d: (
            d["status"]["availableReplicas"] == 3
            and any(c.get("reason") == "NewReplicaSetAvailable" for c in d["status"]["conditions"])
        ),
        "it is complete",
    )
    await s.get("deployments/web")
    await s.get("replicasets", labelSelector="app=web")
    pod = pods[0]
    s.note("pod metadata", pod["metadata"])
    dropped = ("nodeName", "volumes")
    s.note("pod spec", {key: pod["spec"][key] for key in pod["spec"] if key not in dropped})
    s.note("quality", pod["status"]["qosClass"])


async def _rolled(s: Session, replicas: int, surge: Any, unavailable: Any) -> Json:
    """How far a rollout comes whose new pods never get ready."""
    name = f"web-{replicas}-{surge}-{unavailable}".replace("%", "p")
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    body = a_workload("Deployment", name, replicas, strategy=strategy)
    await s.quiet.post("deployments", body)
    await _pods(s, name, replicas)
    await s.until(
        f"deployments/{name}", lambda d: d["status"]["availableReplicas"] == replicas, "available"
    )
    change = {"spec": {"template": {"metadata": {"annotations": NEVER_READY}}}}
    await s.quiet.patch(f"deployments/{name}", change)

    def stands(found: Json) -> bool:
        """Nothing moves any more: all that may be are there, and all that must go are gone."""
        sizes = [one["spec"].get("replicas", 0) for one in found["items"]]
        settled = all(one["status"].get("replicas", 0) == one["spec"]["replicas"]
                      and one["status"].get("terminatingReplicas", 0) == 0
                      and one["status"].get("observedGeneration") == one["metadata"]["generation"]
                      for one in found["items"])  # fmt: skip
        return len(sizes) == 2 and settled and sum(sizes) >= replicas

    await s.until("replicasets", stands, "it stands still", labelSelector=f"app={name}")
    await s.pause(0.7)  # a step in between looks like the end for a moment
    await s.until("replicasets", stands, "it stands still", labelSelector=f"app={name}")
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


async def a_rollout_that_is_stuck(s: Session) -> None:
    cases: list[tuple[int, Any, Any]] = [
        (4, 1, 0), (4, 0, 1), (4, "25%", "25%"), (3, "25%", "25%"), (10, "30%", "20%"),
        (5, "100%", 0), (2, 0, "1%"),
    ]  # fmt: skip
    for case, end in zip(
        cases, await asyncio.gather(*(_rolled(s, *c) for c in cases)), strict=True
    ):
        s.note(str(case), end)


async def a_rollout_is_watched(s: Session) -> None:
    """One surge, none unavailable: never below four ready, never above five."""
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    await s.quiet.post("deployments", a_workload("Deployment", "web", 3, strategy=strategy))
    await _pods(s, "web", 3)
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
    seen = await opened.saw(
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
    s.note("wanted sizes by revision", steps)


async def a_rollback(s: Session) -> None:
    await s.quiet.post("deployments", a_workload("Deployment", "web", 1))
    await _pods(s, "web", 1)
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
    told = [
        {**one["metadata"]["annotations"], "size": one["spec"]["replicas"]}
        for one in sets
    ]  # fmt: skip
    s.note("sets", sorted(told, key=str))
    found = (await s.quiet.get("deployments/web")).body
    s.note("deployment", found["metadata"]["annotations"])


async def recreate(s: Session) -> None:
    await s.post(
        "deployments", a_workload("Deployment", "web", 2, strategy={"type": "Recreate"})
    )  # fmt: skip
    before = {one["metadata"]["uid"] for one in await _pods(s, "web", 2)}
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("deployments/web", change)
    await s.until(
        "deployments/web",
        lambda d: d["status"]["observedGeneration"] == 2
        and d["status"].get("updatedReplicas") == 2 and d["status"].get("readyReplicas") == 2,
        "done",
    )  # fmt: skip
    after = {one["metadata"]["uid"] for one in await _pods(s, "web", 2)}
    s.note("kept", len(before & after))


async def _marked(s: Session, kind: str, costs: Mapping[str, str]) -> None:
    """Scale down to one less pod at a time, and note in which order marked pods go."""
    plural = f"{kind.lower()}s"
    await s.quiet.post(plural, a_workload(kind, "web", len(costs)))
    pods = await _pods(s, "web", len(costs))
    names = {}
    for pod, (mark, cost) in zip(pods, costs.items(), strict=True):
        names[pod["metadata"]["name"]] = mark
        note = {"metadata": {"annotations": {COST: cost} if cost else {"none": "yes"}}}
        await s.quiet.patch(f"pods/{pod['metadata']['name']}", note)
    left = set(costs.keys())
    # The controller's view of the marks is a watch behind.
    await s.pause(1)
    for size in range(len(costs) - 1, 0, -1):
        await s.quiet.patch(f"{plural}/web", {"spec": {"replicas": size}})
        now = {names.get(one["metadata"]["name"], "new")
               for one in await _pods(s, "web", size)}  # fmt: skip
        s.note(f"gone at {size}", sorted(left - now))
        left = now


async def scale_down_by_deletion_cost(s: Session) -> None:
    costs = {"dear": "100", "cheap": "-5", "unmarked": "", "middling": "10"}
    await _marked(s, "ReplicaSet", costs)


async def scale_down_of_a_deployment(s: Session) -> None:
    await _marked(s, "Deployment", {"dear": "2147483647", "cheap": "-2147483648", "third": "1"})


async def deletion_costs_that_are_refused(s: Session) -> None:
    for cost in ("x", "1.5", "+1", "01", "2147483648", "", "0", "-1"):
        pod = a_pod("pod", annotations={COST: cost})
        made = await s.quiet.post("pods", pod, dryRun="All")
        s.note(repr(cost), made.status if made.status == 201 else made.body)


async def scale_down_takes_unready_and_pending_first(s: Session) -> None:
    """Whatever their cost: pending before running, unready before ready."""
    body = a_workload("ReplicaSet", "web", 2, annotations={COST: "-100"})
    await s.quiet.post("replicasets", body)
    old = {one["metadata"]["name"] for one in await _pods(s, "web", 2)}
    change = {"spec": {"replicas": 3, "template": {
        "metadata": {"annotations": {**NEVER_READY, COST: "100"}}}}}  # fmt: skip
    await s.quiet.patch("replicasets/web", change)
    await s.until(
        "pods", lambda p: sum(one["status"]["phase"] == "Running" for one in p["items"]) == 3,
        "three run", labelSelector="app=web",
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
        now = await _pods(s, "web", size, ready=False)
        left = sorted(kinds[one["metadata"]["name"]] for one in now)
        s.note(f"left at {size}", left)


async def replica_sets_adopt_and_release(s: Session) -> None:
    await s.quiet.post("pods", a_pod("orphan", node="nowhere"))
    made = await s.quiet.post("replicasets", a_workload("ReplicaSet", "web", 1))
    await s.until("pods/orphan", lambda p: p["metadata"]["ownerReferences"], "it is adopted")
    pods = await _pods(s, "web", 1, ready=False)
    s.note("pods", [one["metadata"]["name"] for one in pods])
    s.note("owner", pods[0]["metadata"]["ownerReferences"])
    s.note("uid", made.uid)
    await s.quiet.patch("pods/orphan", {"metadata": {"labels": {"app": "other"}}})
    await s.until("pods/orphan", lambda p: not p["metadata"].get("ownerReferences"), "released")
    pods = await _pods(s, "web", 1, ready=False)
    s.note("another", pods[0]["metadata"]["name"] != "orphan")


async def a_stateful_set_in_order(s: Session) -> None:
    await s.post(
        "statefulsets",
        a_workload("StatefulSet", "db", 3, annotations=NEVER_READY, serviceName="db"),
    )
    pods = await s.until("pods/db-0", lambda p: p["status"]["phase"] == "Running", "the first runs")
    s.note("pod metadata", pods["metadata"])
    dropped = ("nodeName", "volumes")
    s.note("pod spec", {key: pods["spec"][key] for key in pods["spec"] if key not in dropped})
    await s.pause(0.3)
    names = [one["metadata"]["name"] for one in await _pods(s, "db", 1, ready=False)]
    s.note("while it is not ready", names)
    found = await s.until("statefulsets/db", lambda d: d["status"]["replicas"] == 1, "counted")
    s.note("status", found["status"])


async def _order(s: Session, name: str, replicas: int, to: int, **spec: Any) -> None:
    """Note in which order pods come, and go when it is scaled."""
    version = (await s.quiet.get("pods")).version
    opened = await s.follow("pods", resourceVersion=version)
    body = a_workload("StatefulSet", name, replicas, serviceName=name, **spec)
    await s.quiet.post("statefulsets", body)
    await _pods(s, name, replicas)
    await s.until(
        f"statefulsets/{name}", lambda d: d["status"].get("readyReplicas") == replicas, "ready"
    )
    await s.quiet.patch(f"statefulsets/{name}/scale", {"spec": {"replicas": to}})
    await _pods(s, name, to)
    story = await opened.saw(lambda events: len(_of(events, "DELETED")) == replicas - to, "the end")
    await opened.close()
    ready: set[str] = set()
    told: list[str] = []
    for event in story:
        pod = event["object"]
        if event["type"] == "ADDED":
            told.append(f"create {pod['metadata']['name']} while {len(ready)} are ready")
        elif event["type"] == "DELETED":
            ready.discard(pod["metadata"]["name"])
            told.append(f"gone {pod['metadata']['name']}")
        elif "deletionTimestamp" in pod["metadata"]:
            told.append(f"delete {pod['metadata']['name']}")
        elif _is_ready(pod):
            ready.add(pod["metadata"]["name"])
    s.note(name, list(dict.fromkeys(told)))


async def stateful_sets_come_and_go_in_order(s: Session) -> None:
    await _order(s, "db", 3, 1)


async def stateful_sets_come_in_parallel(s: Session) -> None:
    version = (await s.quiet.get("pods")).version
    opened = await s.follow("pods", resourceVersion=version)
    body = a_workload("StatefulSet", "db", 3, annotations=NEVER_READY, serviceName="db",
                      podManagementPolicy="Parallel")  # fmt: skip
    await s.quiet.post("statefulsets", body)
    await _pods(s, "db", 3, ready=False)
    created = await opened.saw(lambda events: len(_of(events, "ADDED")) >= 3, "three pods")
    await opened.close()
    s.note("created though none is ready", sorted(_of(created, "ADDED")))
    await s.quiet.patch("statefulsets/db/scale", {"spec": {"replicas": 1}})
    s.note("left", [one["metadata"]["name"] for one in await _pods(s, "db", 1, ready=False)])


async def a_stateful_rollout_goes_from_the_highest(s: Session) -> None:
    body = a_workload("StatefulSet", "db", 3, serviceName="db")
    await s.quiet.post("statefulsets", body)
    await _pods(s, "db", 3)
    await s.until("statefulsets/db", lambda d: d["status"].get("availableReplicas") == 3, "ready")
    await s.get("statefulsets/db")
    version = (await s.quiet.get("pods")).version
    opened = await s.follow("pods", resourceVersion=version)
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("statefulsets/db", change, STRATEGIC)
    found = await s.until(
        "statefulsets/db",
        lambda d: d["status"]["observedGeneration"] == 2 and "updatedReplicas" in d["status"]
        and d["status"]["currentRevision"] == d["status"]["updateRevision"]
        and d["status"].get("readyReplicas") == 3,
        "done",
    )  # fmt: skip
    gone = await opened.saw(lambda events: len(_of(events, "DELETED")) >= 3, "the end")
    await opened.close()
    s.note("order", _of(gone, "DELETED"))
    s.note("status", found["status"])


async def a_stateful_rollout_is_partitioned(s: Session) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    body = a_workload("StatefulSet", "db", 2, serviceName="db", updateStrategy=strategy)
    await s.quiet.post("statefulsets", body)
    await _pods(s, "db", 2)
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("statefulsets/db", change, STRATEGIC)
    found = await s.until(
        "statefulsets/db",
        lambda d: d["status"].get("updatedReplicas") == 1 and d["status"]["readyReplicas"] == 2
        and d["status"].get("currentReplicas") == 1,
        "half done",
    )  # fmt: skip
    s.note("status", found["status"])
    pods = await _pods(s, "db", 2)
    s.note("new", [one["metadata"]["name"] for one in pods
                   if "new" in (one["metadata"].get("annotations") or {})])  # fmt: skip


async def on_delete(s: Session) -> None:
    body = a_workload("StatefulSet", "db", 2, serviceName="db", updateStrategy={"type": "OnDelete"})
    await s.quiet.post("statefulsets", body)
    before = {one["metadata"]["uid"] for one in await _pods(s, "db", 2)}
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("statefulsets/db", change, STRATEGIC)
    await s.until("statefulsets/db", lambda d: d["status"]["observedGeneration"] == 2, "seen")
    await s.evict("db-1")
    await s.until(
        "pods", lambda p: any(one["metadata"]["name"] == "db-1" and _is_ready(one)
                              and one["metadata"]["uid"] not in before for one in p["items"]),
        "it is back", labelSelector="app=db",
    )  # fmt: skip
    pods = await _pods(s, "db", 2)
    s.note("kept", [one["metadata"]["name"] for one in pods if one["metadata"]["uid"] in before])
    s.note("new", [one["metadata"]["name"] for one in pods
                   if "new" in (one["metadata"].get("annotations") or {})])  # fmt: skip


async def deleting_a_deployment(s: Session) -> None:
    await s.quiet.post("deployments", a_workload("Deployment", "web", 2))
    await _pods(s, "web", 2)
    await s.delete("deployments/web")
    await s.until("replicasets", lambda r: not r["items"], "no set", labelSelector="app=web")
    await _pods(s, "web", 0)
    await s.quiet.post("deployments", a_workload("Deployment", "kept", 1))
    await _pods(s, "kept", 1)
    await s.quiet.delete("deployments/kept", {"propagationPolicy": "Orphan"})
    await s.gone("deployments/kept")
    sets = await s.until("replicasets", lambda r: len(r["items"]) == 1, "one")
    s.note("owners", sets["items"][0]["metadata"].get("ownerReferences"))
    s.note("pods", len(await _pods(s, "kept", 1)))


async def paused(s: Session) -> None:
    await s.post("deployments", a_workload("Deployment", "web", 1, paused=True))
    await s.until("deployments/web", lambda d: d["status"]["observedGeneration"] == 1, "seen")
    await s.get("deployments/web")
    s.note("sets", (await s.quiet.get("replicasets")).body["items"])
    await s.quiet.patch("deployments/web", {"spec": {"paused": False}})
    await _pods(s, "web", 1)
    await s.until("deployments/web", lambda d: d["status"].get("availableReplicas") == 1, "up")
    await s.get("deployments/web")


async def a_stateful_set_claims_volumes(s: Session) -> None:
    """One claim is there before, as after an earlier pod of the name; one is made."""
    await s.quiet.post("persistentvolumeclaims", a_claim("data-db-1", "none"))
    pod = {
        "schedulerName": "nobody",
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
    }
    spec = {**claiming(), "serviceName": "db", "podManagementPolicy": "Parallel"}
    await s.quiet.post("statefulsets", a_workload("StatefulSet", "db", 2, pod=pod, **spec))
    for one in await _pods(s, "db", 2, ready=False):
        name = one["metadata"]["name"]
        mounted = [v for v in one["spec"]["volumes"] if not v["name"].startswith("kube-api-")]
        s.note(f"{name} mounts", mounted)
    for name in ("data-db-0", "data-db-1"):
        claim = (await s.quiet.get(f"persistentvolumeclaims/{name}")).body
        s.note(name, [claim["metadata"].get("labels"), claim["spec"].get("volumeName")])


SCRIPTS = (
    a_deployment_comes_up,
    a_rollout_that_is_stuck,
    a_rollout_is_watched,
    a_rollback,
    recreate,
    scale_down_by_deletion_cost,
    scale_down_of_a_deployment,
    deletion_costs_that_are_refused,
    scale_down_takes_unready_and_pending_first,
    replica_sets_adopt_and_release,
    a_stateful_set_in_order,
    stateful_sets_come_and_go_in_order,
    stateful_sets_come_in_parallel,
    a_stateful_rollout_goes_from_the_highest,
    a_stateful_rollout_is_partitioned,
    a_stateful_set_claims_volumes,
    on_delete,
    deleting_a_deployment,
    paused,
)
