"""The scheduler: node selection by labels, resources, taints and volumes; gates and bindings.

Both clusters have the nodes ``spot-1`` and ``spot-2``; scripts leave one choice for every pod.
"""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import a_pod
from tests.conformance.session import JSON_PATCH, STRATEGIC, Session
from tests.support.manifests import IMAGE
from tests.support.volumes import a_claim, a_volume

HOST = "kubernetes.io/hostname"


def a_scheduled_pod(name: str, **spec: Any) -> Json:
    """A pod for the scheduler."""
    return a_pod(name, spec={"schedulerName": "default-scheduler", **spec})


def only_on(node: str) -> Json:
    return {"nodeSelector": {HOST: node}}


def _affinity(*terms: Json) -> Json:
    required = {"nodeSelectorTerms": [{"matchExpressions": [term]} for term in terms]}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"affinity": {"nodeAffinity": rule}}


def _asking(cpu: str) -> Json:
    container = {"name": "main", "image": IMAGE, "resources": {"requests": {"cpu": cpu}}}
    return {"containers": [container]}


async def note_placement(s: Session, name: str, **spec: Any) -> None:
    """Create a pod, and note its node or the reason why it has none."""
    await s.quiet.post("pods", a_scheduled_pod(name, **spec))
    found = await s.until(
        f"pods/{name}",
        lambda pod: any(
            one["type"] == "PodScheduled" and (one["status"] == "False" or pod["spec"]["nodeName"])
            for one in pod["status"]["conditions"]
        ),
        "an attempt to schedule it",
    )
    conditions = [one for one in found["status"]["conditions"] if one["type"] == "PodScheduled"]
    s.note(name, {"node": found["spec"].get("nodeName"), "conditions": conditions})


def _is_tainted(node: Json) -> bool:
    return any(one["key"].endswith("unschedulable") for one in node["spec"]["taints"])


async def selectors_and_affinity(s: Session) -> None:
    await note_placement(s, "selected", **only_on("spot-2"))
    await note_placement(s, "nowhere", **only_on("spot-9"))
    await note_placement(
        s, "in", **_affinity({"key": HOST, "operator": "In", "values": ["spot-1"]})
    )
    await note_placement(
        s, "not-in", **_affinity({"key": HOST, "operator": "NotIn", "values": ["spot-1"]})
    )
    await note_placement(s, "missing", **_affinity({"key": "no/such", "operator": "Exists"}))
    either: list[Json] = [
        {"key": "no/such", "operator": "Exists"},
        {"key": HOST, "operator": "In", "values": ["spot-2"]},
    ]
    await note_placement(s, "either", **_affinity(*either))
    await note_placement(s, "both", **only_on("spot-1"), **_affinity(either[1]))


async def resources(s: Session) -> None:
    await note_placement(s, "fits", **only_on("spot-1"), **_asking("1"))
    await note_placement(s, "too-large", **_asking("33"))
    await note_placement(s, "too-large-for-one", **only_on("spot-1"), **_asking("32"))


async def cordons_and_taints(s: Session) -> None:
    try:
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": True}})
        tainted = await s.until("nodes/spot-1", _is_tainted, "tainted")
        s.note("taints", [{**t, "timeAdded": bool(t.get("timeAdded"))}
                          for t in tainted["spec"]["taints"]])  # fmt: skip
        await note_placement(s, "cordoned", **only_on("spot-1"))
        await note_placement(s, "elsewhere")
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": None}})
        await s.until("nodes/spot-1", lambda node: not node["spec"].get("taints"), "no taints")
        found = await s.until("pods/cordoned", lambda pod: pod["spec"]["nodeName"], "scheduled")
        s.note("then", found["spec"]["nodeName"])
        taint = {"key": "spotalis.io/test", "value": "x", "effect": "NoSchedule"}
        await s.quiet.patch("nodes/spot-1", {"spec": {"taints": [taint]}}, STRATEGIC)
        await s.pause(1)  # the scheduler learns of the taint by its watch
        await note_placement(s, "repelled", **only_on("spot-1"))
        equal = {"key": "spotalis.io/test", "operator": "Equal", "value": "x"}
        exists = {"key": "spotalis.io/test", "operator": "Exists", "effect": "NoSchedule"}
        other = {"key": "spotalis.io/test", "operator": "Equal", "value": "y"}
        for name, one in {"equal": equal, "exists": exists, "other": other}.items():
            await note_placement(s, name, **only_on("spot-1"), tolerations=[one])
    finally:
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": None, "taints": None}})


async def scheduling_gates(s: Session) -> None:
    gated = a_scheduled_pod(
        "gated", **only_on("spot-1"), schedulingGates=[{"name": "spotalis.io/wait"}]
    )
    await s.post("pods", gated)
    remove = [{"op": "remove", "path": "/spec/schedulingGates"}]
    await s.quiet.patch("pods/gated", remove, JSON_PATCH)
    found = await s.until("pods/gated", lambda pod: pod["spec"]["nodeName"], "scheduled")
    s.note("node", found["spec"]["nodeName"])
    add = {"spec": {"schedulingGates": [{"name": "spotalis.io/late"}]}}
    refused = await s.quiet.patch("pods/gated", add)
    s.note("adding a gate", refused.status)


async def bindings(s: Session) -> None:
    def to(node: str) -> Json:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        return {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "pod"},
            "target": target,
        }

    await s.quiet.post("pods", a_pod("pod"))
    await s.post("pods/pod/binding", to("nowhere"))
    await s.post("pods/pod/binding", to("elsewhere"))
    await s.get("pods/pod")
    await s.post("pods/nothing/binding", to("nowhere"))
    await s.post("pods/nothing/binding", {**to("nowhere"), "metadata": {"name": "nothing"}})
    await s.quiet.delete("pods/pod")
    await s.post("pods/pod/binding", to("nowhere"))


async def volumes(s: Session) -> None:
    """Claims that are bound to volumes of one node."""
    for node in ("spot-1", "spot-2"):
        volume = f"{s.namespace}-on-{node}"
        await s.quiet.post("persistentvolumes", a_volume(volume, node, key=HOST))
        await s.quiet.post("persistentvolumeclaims", a_claim(f"on-{node}", volume))

    def mounting(*nodes: str) -> Json:
        sources = [{"claimName": f"on-{node}"} for node in nodes]
        return {
            "volumes": [
                {"name": source["claimName"], "persistentVolumeClaim": source} for source in sources
            ]
        }

    await note_placement(s, "same-node", **mounting("spot-2"))
    await note_placement(s, "two-nodes", **mounting("spot-1", "spot-2"))
    await note_placement(s, "conflict", **mounting("spot-2"), **only_on("spot-1"))


SCRIPTS = (
    selectors_and_affinity,
    resources,
    cordons_and_taints,
    scheduling_gates,
    bindings,
    volumes,
)
