"""StatefulSets: ordinals, rollouts and volume claims."""

from __future__ import annotations

from typing import Any

from tests.conformance.objects import NEVER_READY, a_workload
from tests.conformance.scripts.controllers import is_ready, names_in, wait_for_pods
from tests.conformance.session import STRATEGIC, Session
from tests.support.volumes import a_claim, claiming


async def an_ordered_stateful_set(s: Session) -> None:
    await s.post(
        "statefulsets",
        a_workload("StatefulSet", "db", 3, annotations=NEVER_READY, serviceName="db"),
    )
    pods = await s.until(
        "pods/db-0", lambda p: p["status"]["phase"] == "Running", "the first is running"
    )
    s.note("pod metadata", pods["metadata"])
    dropped = ("nodeName", "volumes")
    s.note("pod spec", {key: pods["spec"][key] for key in pods["spec"] if key not in dropped})
    await s.pause(0.3)
    names = [one["metadata"]["name"] for one in await wait_for_pods(s, "db", 1, ready=False)]
    s.note("while it is not ready", names)
    found = await s.until("statefulsets/db", lambda d: d["status"]["replicas"] == 1, "counted")
    s.note("status", found["status"])


async def _order(s: Session, name: str, replicas: int, to: int, **spec: Any) -> None:
    """Note the order in which pods are created, and deleted when the set is scaled."""
    version = (await s.quiet.get("pods")).version
    opened = await s.follow("pods", resourceVersion=version)
    body = a_workload("StatefulSet", name, replicas, serviceName=name, **spec)
    await s.quiet.post("statefulsets", body)
    await wait_for_pods(s, name, replicas)
    await s.until(
        f"statefulsets/{name}", lambda d: d["status"].get("readyReplicas") == replicas, "ready"
    )
    await s.quiet.patch(f"statefulsets/{name}/scale", {"spec": {"replicas": to}})
    await wait_for_pods(s, name, to)
    events = await opened.until(
        lambda seen: len(names_in(seen, "DELETED")) == replicas - to, "all deletions"
    )
    await opened.close()
    ready: set[str] = set()
    actions: list[str] = []
    for event in events:
        pod = event["object"]
        if event["type"] == "ADDED":
            actions.append(f"create {pod['metadata']['name']} while {len(ready)} are ready")
        elif event["type"] == "DELETED":
            ready.discard(pod["metadata"]["name"])
            actions.append(f"removed {pod['metadata']['name']}")
        elif "deletionTimestamp" in pod["metadata"]:
            actions.append(f"delete {pod['metadata']['name']}")
        elif is_ready(pod):
            ready.add(pod["metadata"]["name"])
    s.note(name, list(dict.fromkeys(actions)))


async def ordered_creation_and_deletion(s: Session) -> None:
    await _order(s, "db", 3, 1)


async def parallel_creation_and_deletion(s: Session) -> None:
    version = (await s.quiet.get("pods")).version
    opened = await s.follow("pods", resourceVersion=version)
    body = a_workload("StatefulSet", "db", 3, annotations=NEVER_READY, serviceName="db",
                      podManagementPolicy="Parallel")  # fmt: skip
    await s.quiet.post("statefulsets", body)
    await wait_for_pods(s, "db", 3, ready=False)
    created = await opened.until(lambda events: len(names_in(events, "ADDED")) >= 3, "three pods")
    await opened.close()
    s.note("created while none is ready", sorted(names_in(created, "ADDED")))
    await s.quiet.patch("statefulsets/db/scale", {"spec": {"replicas": 1}})
    s.note(
        "left", [one["metadata"]["name"] for one in await wait_for_pods(s, "db", 1, ready=False)]
    )


async def the_order_of_a_stateful_rollout(s: Session) -> None:
    body = a_workload("StatefulSet", "db", 3, serviceName="db")
    await s.quiet.post("statefulsets", body)
    await wait_for_pods(s, "db", 3)
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
    gone = await opened.until(lambda events: len(names_in(events, "DELETED")) >= 3, "all deletions")
    await opened.close()
    s.note("order", names_in(gone, "DELETED"))
    s.note("status", found["status"])


async def a_partitioned_stateful_rollout(s: Session) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    body = a_workload("StatefulSet", "db", 2, serviceName="db", updateStrategy=strategy)
    await s.quiet.post("statefulsets", body)
    await wait_for_pods(s, "db", 2)
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("statefulsets/db", change, STRATEGIC)
    found = await s.until(
        "statefulsets/db",
        lambda d: d["status"].get("updatedReplicas") == 1 and d["status"]["readyReplicas"] == 2
        and d["status"].get("currentReplicas") == 1,
        "half done",
    )  # fmt: skip
    s.note("status", found["status"])
    pods = await wait_for_pods(s, "db", 2)
    s.note("new", [one["metadata"]["name"] for one in pods
                   if "new" in (one["metadata"].get("annotations") or {})])  # fmt: skip


async def on_delete(s: Session) -> None:
    body = a_workload("StatefulSet", "db", 2, serviceName="db", updateStrategy={"type": "OnDelete"})
    await s.quiet.post("statefulsets", body)
    before = {one["metadata"]["uid"] for one in await wait_for_pods(s, "db", 2)}
    change = {"spec": {"template": {"metadata": {"annotations": {"new": "yes"}}}}}
    await s.quiet.patch("statefulsets/db", change, STRATEGIC)
    await s.until("statefulsets/db", lambda d: d["status"]["observedGeneration"] == 2, "observed")
    await s.evict("db-1")
    await s.until(
        "pods", lambda p: any(one["metadata"]["name"] == "db-1" and is_ready(one)
                              and one["metadata"]["uid"] not in before for one in p["items"]),
        "recreated", labelSelector="app=db",
    )  # fmt: skip
    pods = await wait_for_pods(s, "db", 2)
    s.note("kept", [one["metadata"]["name"] for one in pods if one["metadata"]["uid"] in before])
    s.note("new", [one["metadata"]["name"] for one in pods
                   if "new" in (one["metadata"].get("annotations") or {})])  # fmt: skip


async def volume_claims_of_a_stateful_set(s: Session) -> None:
    """One claim exists before, as after an earlier pod of that name; the other is created."""
    await s.quiet.post("persistentvolumeclaims", a_claim("data-db-1", "none"))
    pod = {
        "schedulerName": "none",
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
    }
    spec = {**claiming(), "serviceName": "db", "podManagementPolicy": "Parallel"}
    await s.quiet.post("statefulsets", a_workload("StatefulSet", "db", 2, pod=pod, **spec))
    for one in await wait_for_pods(s, "db", 2, ready=False):
        name = one["metadata"]["name"]
        mounted = [v for v in one["spec"]["volumes"] if not v["name"].startswith("kube-api-")]
        s.note(f"{name} mounts", mounted)
    for name in ("data-db-0", "data-db-1"):
        claim = (await s.quiet.get(f"persistentvolumeclaims/{name}")).body
        s.note(name, [claim["metadata"].get("labels"), claim["spec"].get("volumeName")])


SCRIPTS = (
    an_ordered_stateful_set,
    ordered_creation_and_deletion,
    parallel_creation_and_deletion,
    the_order_of_a_stateful_rollout,
    a_partitioned_stateful_rollout,
    on_delete,
    volume_claims_of_a_stateful_set,
)
