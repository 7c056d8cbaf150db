"""Where the scheduler puts pods, and what it says of those that fit nowhere.

Both beds have the nodes ``spot-1`` and ``spot-2``; scripts leave only one place for a pod.
"""

from __future__ import annotations

from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import IMAGE, a_pod
from tests.conformance.session import JSON_PATCH, STRATEGIC, Session
from tests.support.volumes import a_claim, a_volume

HOST = "kubernetes.io/hostname"


def _pod(name: str, **spec: Any) -> Json:
    """A pod that the scheduler looks at."""
    return a_pod(name, spec={"schedulerName": "default-scheduler", **spec})


def _only_on(node: str) -> Json:
    return {"nodeSelector": {HOST: node}}


def _affinity(*terms: Json) -> Json:
    required = {"nodeSelectorTerms": [{"matchExpressions": [term]} for term in terms]}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"affinity": {"nodeAffinity": rule}}


def _asking(cpu: str) -> Json:
    container = {"name": "main", "image": IMAGE, "resources": {"requests": {"cpu": cpu}}}
    return {"containers": [container]}


async def _placed(s: Session, name: str, **spec: Any) -> None:
    """Note where a pod is put, or why it is not."""
    await s.quiet.post("pods", _pod(name, **spec))
    found = await s.until(
        f"pods/{name}",
        lambda pod: any(
            one["type"] == "PodScheduled" and (one["status"] == "False" or pod["spec"]["nodeName"])
            for one in pod["status"]["conditions"]
        ),
        "it is looked at",
    )
    said = [one for one in found["status"]["conditions"] if one["type"] == "PodScheduled"]
    s.note(name, {"node": found["spec"].get("nodeName"), "said": said})


def _is_tainted(node: Json) -> bool:
    return any(one["key"].endswith("unschedulable") for one in node["spec"]["taints"])


async def selectors_and_affinity(s: Session) -> None:
    await _placed(s, "selected", **_only_on("spot-2"))
    await _placed(s, "nowhere", **_only_on("spot-9"))
    await _placed(s, "in", **_affinity({"key": HOST, "operator": "In", "values": ["spot-1"]}))
    await _placed(
        s, "not-in", **_affinity({"key": HOST, "operator": "NotIn", "values": ["spot-1"]})
    )
    await _placed(s, "missing", **_affinity({"key": "no/such", "operator": "Exists"}))
    either: list[Json] = [
        {"key": "no/such", "operator": "Exists"},
        {"key": HOST, "operator": "In", "values": ["spot-2"]},
    ]
    await _placed(s, "either", **_affinity(*either))
    await _placed(s, "both", **_only_on("spot-1"), **_affinity(either[1]))


async def resources(s: Session) -> None:
    await _placed(s, "fits", **_only_on("spot-1"), **_asking("1"))
    await _placed(s, "too-large", **_asking("33"))
    await _placed(s, "too-large-for-one", **_only_on("spot-1"), **_asking("32"))


async def cordons_and_taints(s: Session) -> None:
    try:
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": True}})
        tainted = await s.until("nodes/spot-1", _is_tainted, "tainted")
        s.note("taints", [{**t, "timeAdded": bool(t.get("timeAdded"))}
                          for t in tainted["spec"]["taints"]])  # fmt: skip
        await _placed(s, "cordoned", **_only_on("spot-1"))
        await _placed(s, "elsewhere")
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": None}})
        await s.until("nodes/spot-1", lambda node: not node["spec"].get("taints"), "as before")
        found = await s.until("pods/cordoned", lambda pod: pod["spec"]["nodeName"], "scheduled")
        s.note("then", found["spec"]["nodeName"])
        taint = {"key": "spotalis.io/test", "value": "x", "effect": "NoSchedule"}
        await s.quiet.patch("nodes/spot-1", {"spec": {"taints": [taint]}}, STRATEGIC)
        await s.pause(1)  # the scheduler hears of the node by its own watch
        await _placed(s, "repelled", **_only_on("spot-1"))
        equal = {"key": "spotalis.io/test", "operator": "Equal", "value": "x"}
        exists = {"key": "spotalis.io/test", "operator": "Exists", "effect": "NoSchedule"}
        other = {"key": "spotalis.io/test", "operator": "Equal", "value": "y"}
        for name, one in {"equal": equal, "exists": exists, "other": other}.items():
            await _placed(s, name, **_only_on("spot-1"), tolerations=[one])
    finally:
        await s.quiet.patch("nodes/spot-1", {"spec": {"unschedulable": None, "taints": None}})


async def scheduling_gates(s: Session) -> None:
    gated = _pod("gated", **_only_on("spot-1"), schedulingGates=[{"name": "spotalis.io/wait"}])
    await s.post("pods", gated)
    remove = [{"op": "remove", "path": "/spec/schedulingGates"}]
    await s.quiet.patch("pods/gated", remove, JSON_PATCH)
    found = await s.until("pods/gated", lambda pod: pod["spec"]["nodeName"], "scheduled")
    s.note("node", found["spec"]["nodeName"])
    add = {"spec": {"schedulingGates": [{"name": "spotalis.io/late"}]}}
    refused = await s.quiet.patch("pods/gated", add)
    s.note("too late", refused.status)


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
    """Claims that are bound to volumes which one node reaches."""
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

    await _placed(s, "follows", **mounting("spot-2"))
    await _placed(s, "torn", **mounting("spot-1", "spot-2"))
    await _placed(s, "cannot-follow", **mounting("spot-2"), **_only_on("spot-1"))


SCRIPTS = (
    selectors_and_affinity,
    resources,
    cordons_and_taints,
    scheduling_gates,
    bindings,
    volumes,
)
