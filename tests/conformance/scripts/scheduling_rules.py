"""The scheduler: requests of pods, topology spread, anti-affinity, empty terms and scores.

Both clusters have the nodes ``spot-1`` and ``spot-2`` with 32 CPUs and 128 GiB each.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.conformance.history import Json
from tests.conformance.objects import a_workload
from tests.conformance.scripts.scheduling import HOST, a_scheduled_pod, note_placement, only_on
from tests.conformance.session import STRATEGIC, Session
from tests.support.manifests import IMAGE
from tests.support.volumes import a_claim, a_volume

NODES = ("spot-1", "spot-2")


def _container(name: str = "main", *, cpu: str = "", memory: str = "", **more: Any) -> Json:
    requests = {"cpu": cpu, "memory": memory}
    resources = {"requests": {key: value for key, value in requests.items() if value}}
    return {"name": name, "image": IMAGE, "resources": resources, **more}


def _sidecar(cpu: str) -> Json:
    return _container("sidecar", cpu=cpu, restartPolicy="Always")


async def native_sidecars(s: Session) -> None:
    """A sidecar runs beside the containers and beside later init containers."""
    await note_placement(
        s, "sum-too-large", containers=[_container(cpu="16")], initContainers=[_sidecar("17")]
    )
    await note_placement(
        s,
        "init-beside-sidecar-too-large",
        containers=[_container(cpu="1")],
        initContainers=[_sidecar("16"), _container("init", cpu="17")],
    )
    await note_placement(
        s,
        "init-before-sidecar",
        **only_on("spot-1"),
        containers=[_container(cpu="16")],
        initContainers=[_container("init", cpu="32"), _sidecar("16")],
    )
    await note_placement(
        s,
        "exact-sum",
        **only_on("spot-2"),
        containers=[_container(cpu="16")],
        initContainers=[_sidecar("16"), _container("init", cpu="16")],
    )


async def pod_level_resources(s: Session) -> None:
    """Pod-level requests replace those of the containers; limits have defaults of their own."""

    async def place(name: str, resources: Json, **spec: Any) -> None:
        await note_placement(s, name, **spec, resources=resources)
        pod = (await s.quiet.get(f"pods/{name}")).body
        s.note(f"{name} resources", pod["spec"]["resources"])
        s.note(f"{name} QoS class", pod["status"]["qosClass"])

    small = {"containers": [_container(cpu="1", memory="64Mi")]}
    await place("requests-too-large", {"requests": {"cpu": "33"}}, **small)
    await place("limits-without-requests", {"limits": {"cpu": "40", "memory": "1Gi"}},
                containers=[_container()])  # fmt: skip
    await place("limits-with-container-requests", {"limits": {"cpu": "40", "memory": "1Gi"}},
                **only_on("spot-1"), **small)  # fmt: skip
    await place("requests", {"requests": {"cpu": "32"}}, **only_on("spot-2"), **small)
    await place("no-room-left", {"requests": {"cpu": "500m"}}, **only_on("spot-2"),
                containers=[_container()])  # fmt: skip


def _labelled(name: str, labels: Json, **spec: Any) -> Json:
    pod = a_scheduled_pod(name, **spec)
    pod["metadata"]["labels"] = labels
    return pod


async def _place(s: Session, name: str, labels: Json, **spec: Any) -> None:
    """Create a pod with labels, and note its node or the reason why it has none."""
    await s.quiet.post("pods", _labelled(name, labels, **spec))
    found = await s.until(
        f"pods/{name}",
        lambda pod: any(
            one["type"] == "PodScheduled" and (one["status"] == "False" or pod["spec"]["nodeName"])
            for one in pod["status"]["conditions"]
        ),
        "an attempt to schedule it",
    )
    (message,) = [
        one.get("message", "")
        for one in found["status"]["conditions"]
        if one["type"] == "PodScheduled"
    ]
    s.note(name, {"node": found["spec"].get("nodeName"), "message": message})


def _spread(labels: Json, **more: Any) -> Json:
    constraint = {
        "topologyKey": HOST,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return {"topologySpreadConstraints": [{**constraint, **more}]}


async def topology_spread(s: Session) -> None:
    labels = {"app": "spread"}
    await _place(s, "first", labels, **only_on("spot-1"))
    await _place(s, "other-domain", labels, **_spread(labels))
    await _place(s, "third", labels, **only_on("spot-1"))
    await _place(s, "fourth", labels, **_spread(labels))
    await _place(s, "fifth", labels, **only_on("spot-1"))
    ignore = _spread(labels, nodeAffinityPolicy="Ignore")
    await _place(s, "too-many-in-domain", labels, **only_on("spot-1"), **ignore)
    await _place(s, "own-domain-only", labels, **only_on("spot-1"), **_spread(labels))
    await _place(s, "missing-label", labels, **_spread(labels, topologyKey="no/such"))
    await _place(s, "larger-skew", labels, **only_on("spot-1"), **_spread(labels, maxSkew=9))
    await _place(s, "not-selected", {"app": "other"}, **_spread(labels))


def _apart(labels: Json, key: str = HOST) -> Json:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {"podAntiAffinity": rule}}


async def anti_affinity(s: Session) -> None:
    labels, other = {"app": "apart"}, {"app": "other"}
    await _place(s, "first", labels, **only_on("spot-1"))
    await _place(s, "second", labels, **_apart(labels))
    await _place(s, "third", labels, **_apart(labels))
    await _place(s, "existing", labels, **only_on("spot-2"))
    await _place(s, "without-rule", labels, **only_on("spot-1"))
    await _place(s, "not-selected", other, **only_on("spot-2"))
    await _place(s, "selects-others", other, **_apart(labels))
    await _place(s, "missing-label", labels, **only_on("spot-1"), **_apart(labels, "no/such"))


async def empty_terms(s: Session) -> None:
    """An empty term of a node selector matches no node, in pods and in volumes."""

    def affinity(*terms: Json) -> Json:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        return {"affinity": {"nodeAffinity": rule}}

    expression = {"key": HOST, "operator": "In", "values": ["spot-2"]}
    field = {"key": "metadata.name", "operator": "In", "values": ["spot-1"]}
    await note_placement(s, "empty-term", **affinity({}))
    await note_placement(s, "empty-or-label", **affinity({}, {"matchExpressions": [expression]}))
    await note_placement(s, "empty-or-field", **affinity({}, {"matchFields": [field]}))
    both = {"matchExpressions": [expression], "matchFields": [field]}
    await note_placement(s, "label-and-field", **affinity(both))
    volume = a_volume(f"{s.namespace}-nowhere", "spot-1", key=HOST)
    volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"] = [{}]
    await s.quiet.post("persistentvolumes", volume)
    await s.quiet.post("persistentvolumeclaims", a_claim("nowhere", volume["metadata"]["name"]))
    source = {"name": "data", "persistentVolumeClaim": {"claimName": "nowhere"}}
    await note_placement(s, "volume-with-empty-term", volumes=[source])


async def scores_by_resources(s: Session) -> None:
    """The less allocated node is better, and the one whose CPU and memory become balanced."""
    half = [_container(cpu="16", memory="64Gi")]
    await note_placement(s, "half", **only_on("spot-1"), containers=half)
    await note_placement(s, "to-the-free-node", containers=[_container(cpu="1", memory="4Gi")])
    await note_placement(s, "best-effort", containers=[_container()])


async def scores_by_balance(s: Session) -> None:
    await note_placement(
        s, "much-cpu", **only_on("spot-1"), containers=[_container(cpu="16", memory="4Gi")]
    )
    await note_placement(
        s, "much-memory", **only_on("spot-2"), containers=[_container(cpu="1", memory="64Gi")]
    )
    await note_placement(s, "balances", containers=[_container(cpu="4", memory="1Gi")])


async def scores_by_preference(s: Session) -> None:
    """Preferred affinity, PreferNoSchedule taints and soft constraints outweigh free resources."""
    half = [_container(cpu="16", memory="64Gi")]
    await note_placement(s, "half", **only_on("spot-1"), containers=half)
    expression = {"key": HOST, "operator": "In", "values": ["spot-1"]}
    preference = {"weight": 50, "preference": {"matchExpressions": [expression]}}
    rule = {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}
    await note_placement(s, "preferred", affinity={"nodeAffinity": rule})
    labels = {"app": "soft"}
    await _place(s, "soft-1", labels, **only_on("spot-2"))
    await _place(s, "soft-2", labels, **only_on("spot-2"))
    await _place(s, "soft-3", labels, **_spread(labels, whenUnsatisfiable="ScheduleAnyway"))
    try:
        taint = {"key": "spotalis.io/test", "value": "x", "effect": "PreferNoSchedule"}
        await s.quiet.patch("nodes/spot-2", {"spec": {"taints": [taint]}}, STRATEGIC)
        await s.pause(1)  # the scheduler learns of the taint by its watch
        await note_placement(s, "avoids-taint")
        tolerated = [{"key": "spotalis.io/test", "operator": "Exists"}]
        await note_placement(s, "tolerates-taint", tolerations=tolerated)
    finally:
        await s.quiet.patch("nodes/spot-2", {"spec": {"taints": None}})


async def default_spread_of_owners(s: Session) -> None:
    """Without constraints of their own, pods of a ReplicaSet are spread over nodes."""
    half = {"containers": [_container(cpu="8", memory="32Gi")]}
    await note_placement(s, "load", **only_on("spot-1"), **half)
    body = a_workload("ReplicaSet", "spread", 4, pod={"containers": [_container()]})
    await s.quiet.post("replicasets", body)
    found = await s.until(
        "pods",
        lambda pods: sum("nodeName" in one["spec"] for one in pods["items"]) == 4,
        "4 scheduled pods",
        labelSelector="app=spread",
    )
    nodes = Counter(one["spec"]["nodeName"] for one in found["items"])
    s.note("pods per node", {node: nodes[node] for node in NODES})


SCRIPTS = (
    native_sidecars,
    pod_level_resources,
    topology_spread,
    anti_affinity,
    empty_terms,
    scores_by_resources,
    scores_by_balance,
    scores_by_preference,
    default_spread_of_owners,
)
