"""The scheduler's filters, its messages and its scores."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.embedded.controllers.filters import TOO_SMALL, NodeFilter, unschedulable_message
from spotalis.embedded.controllers.pod_requirements import requirements_of
from spotalis.embedded.controllers.scheduler_cache import PodChange, SchedulerCache
from spotalis.embedded.controllers.scores import best_nodes
from spotalis.embedded.nodes import make_node
from tests.unit.embedded.controllers.builders import Object, a_pod

SPOT = {"karpenter.sh/capacity-type": "spot"}
TOLERATION = {"key": "spot", "operator": "Exists"}


def cache_of(*objects: Object) -> SchedulerCache:
    """A cache with nodes and pods."""
    cache = SchedulerCache()
    for obj in objects:
        if obj["kind"] == "Node":
            cache.update_node("ADDED", obj)
        else:
            cache.update_pod("ADDED", obj)
    return cache


def rejections(cache: SchedulerCache, pod: Object) -> list[tuple[str, ...]]:
    """The reasons of each node."""
    node_filter = NodeFilter(cache, requirements_of(pod))
    return [node_filter.reasons(info) for info in cache.nodes.values()]


def required(*expressions: Object) -> Object:
    """Required node affinity with one term."""
    term = {"matchExpressions": list(expressions)}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {kind: {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("node", "spec", "reasons"),
    [
        pytest.param({}, {}, (), id="an empty node and a plain pod"),
        pytest.param({"labels": SPOT}, {"nodeSelector": SPOT}, (), id="a matching node selector"),
        pytest.param(
            {},
            {"nodeSelector": SPOT},
            ("node(s) didn't match Pod's node affinity/selector",),
            id="a node selector that does not match",
        ),
        pytest.param(
            {"labels": SPOT},
            {
                "affinity": required(
                    {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}
                )
            },
            ("node(s) didn't match Pod's node affinity/selector",),
            id="an affinity that does not match",
        ),
        pytest.param(
            {"taints": [("spot", "", "NoSchedule")]},
            {},
            ("node(s) had untolerated taint(s)",),
            id="a taint",
        ),
        pytest.param(
            {"taints": [("spot", "", "NoSchedule")]},
            {"tolerations": [TOLERATION]},
            (),
            id="a tolerated taint",
        ),
        pytest.param(
            {"taints": [("spot", "", "PreferNoSchedule")]}, {}, (), id="a PreferNoSchedule taint"
        ),
        pytest.param(
            {"ready": False},
            {},
            ("node(s) had untolerated taint(s)",),
            id="a node that is not Ready",
        ),
        pytest.param(
            {"cpu": "1", "memory": "1Gi"},
            {"requests": {"cpu": "1500m", "memory": "2Gi"}},
            ("Insufficient cpu", "Insufficient memory", TOO_SMALL),
            id="too little CPU and memory",
        ),
        pytest.param({"pods": "0"}, {}, ("Too many pods",), id="too many pods"),
        pytest.param(
            {},
            {"requests": {"nvidia.com/gpu": "1"}},
            ("Insufficient nvidia.com/gpu", TOO_SMALL),
            id="a missing extended resource",
        ),
        pytest.param(
            {"nvidia.com/gpu": "1"},
            {"requests": {"nvidia.com/gpu": "1"}},
            (),
            id="an available extended resource",
        ),
    ],
)
def test_a_node_is_rejected_for_the_first_reason(
    node: Any, spec: Any, reasons: tuple[str, ...]
) -> None:
    assert rejections(cache_of(make_node("n1", **node)), a_pod(**spec)) == [reasons]


def test_a_cordoned_node_is_rejected() -> None:
    node = make_node("n1")
    node["spec"]["unschedulable"] = True
    assert rejections(cache_of(node), a_pod()) == [("node(s) were unschedulable",)]


def test_running_pods_use_resources_until_they_finish() -> None:
    running = a_pod("running", node="n1", requests={"cpu": "3"})
    cache = cache_of(make_node("n1"), running)
    assert rejections(cache, a_pod(requests={"cpu": "1500m"})) == [("Insufficient cpu",)]
    finished = {**running, "status": {"phase": "Succeeded"}}
    assert cache.update_pod("MODIFIED", finished) is PodChange.FREED
    assert rejections(cache, a_pod(requests={"cpu": "1500m"})) == [()]


def test_a_pod_counts_on_a_node_that_is_added_later() -> None:
    cache = cache_of(a_pod("running", node="n1", requests={"cpu": "3"}), make_node("n1"))
    assert rejections(cache, a_pod(requests={"cpu": "2"})) == [("Insufficient cpu",)]


ZONES = [
    make_node("a1", zone="a"),
    make_node("a2", zone="a"),
    make_node("b1", zone="b"),
    make_node("nowhere"),
]
SPREAD = [
    {
        "topologyKey": "topology.kubernetes.io/zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
]
SKEWED = ("node(s) didn't match pod topology spread constraints",)
NO_ZONE = ("node(s) didn't match pod topology spread constraints (missing required label)",)
WEB = {"app": "web"}


def web(name: str, node: str = "", **spec: Any) -> Object:
    return a_pod(name, node=node, labels=WEB, topologySpreadConstraints=SPREAD, **spec)


def test_a_zone_with_too_many_pods_is_rejected() -> None:
    assert rejections(cache_of(*ZONES), web("x")) == [(), (), (), NO_ZONE]
    cache = cache_of(*ZONES, web("1", "a1"))
    assert rejections(cache, web("x")) == [SKEWED, SKEWED, (), NO_ZONE]
    cache.update_pod("ADDED", web("2", "b1"))
    assert rejections(cache, web("x")) == [(), (), (), NO_ZONE]


def test_terminating_pods_do_not_count_for_spreading() -> None:
    cache = cache_of(*ZONES, web("1", "a1"))
    assert rejections(cache, web("x"))[0] == SKEWED
    terminating = web("1", "a1")
    terminating["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    cache.update_pod("MODIFIED", terminating)
    assert rejections(cache, web("x"))[0] == ()


def test_zones_without_a_matching_node_do_not_count_for_spreading() -> None:
    cache = cache_of(make_node("a1", zone="a", labels=SPOT), make_node("b1", zone="b"))
    cache.update_pod("ADDED", web("1", "a1"))
    assert rejections(cache, web("x", nodeSelector=SPOT))[0] == ()


def test_required_anti_affinity_applies_in_both_directions() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": WEB}}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    apart = {"podAntiAffinity": {kind: [term]}}
    cache = cache_of(make_node("n1"), make_node("n2"))
    cache.update_pod("ADDED", a_pod("1", node="n1", labels=WEB, affinity=apart))
    own = ("node(s) didn't match pod anti-affinity rules",)
    theirs = ("node(s) didn't satisfy existing pods anti-affinity rules",)
    assert rejections(cache, a_pod("x", labels=WEB, affinity=apart)) == [own, ()]
    assert rejections(cache, a_pod("y", labels=WEB)) == [theirs, ()]
    assert rejections(cache, a_pod("z", labels={"app": "other"}, affinity=apart)) == [own, ()]


def test_a_host_port_can_be_used_once_on_a_node() -> None:
    def with_port(name: str, **port: Any) -> Object:
        container = {"name": "c", "ports": [{"containerPort": 80, **port}]}
        return a_pod(name, node="n", containers=[container])

    cache = cache_of(make_node("n"), with_port("one", hostPort=8080))
    conflict = "node(s) didn't have free ports for the requested pod ports"
    assert rejections(cache, with_port("two", hostPort=8080)) == [(conflict,)]
    assert rejections(cache, with_port("two", hostPort=8081)) == [()]
    assert rejections(cache, with_port("two")) == [()]


def test_the_message_counts_nodes_by_their_first_reason() -> None:
    cache = cache_of(
        make_node("full", cpu="2"),
        make_node("tainted", taints=[("spot", "", "NoSchedule")]),
        make_node("tainted too", taints=[("spot", "", "NoSchedule")], cpu="1"),
    )
    cache.update_pod("ADDED", a_pod("1", node="full", requests={"cpu": "1"}))
    assert unschedulable_message(rejections(cache, a_pod(requests={"cpu": "2"}))) == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_preemption_does_not_help_a_pod_that_is_larger_than_a_node() -> None:
    cache = cache_of(make_node("small", cpu="1"), make_node("smaller", cpu="500m"))
    assert unschedulable_message(rejections(cache, a_pod(requests={"cpu": "2"}))) == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_the_message_for_a_cluster_without_nodes() -> None:
    assert unschedulable_message([]) == "no nodes available to schedule pods"


def best_of(cache: SchedulerCache, pod: Object) -> list[str]:
    return [
        info.name for info in best_nodes(cache, requirements_of(pod), list(cache.nodes.values()))
    ]


def test_the_node_with_the_fewest_pods_of_the_same_owner_is_best() -> None:
    cache = cache_of(make_node("n1"), make_node("n2"), make_node("n3"))
    cache.update_pod("ADDED", a_pod("1", node="n1", owner="web"))
    cache.update_pod("ADDED", a_pod("2", node="n2", owner="other"))
    assert best_of(cache, a_pod("x", owner="web")) == ["n3"]
    assert best_of(cache, a_pod("y")) == ["n3"]


def test_the_emptier_of_two_nodes_is_best() -> None:
    cache = cache_of(make_node("n1"), make_node("n2"))
    cache.update_pod("ADDED", a_pod("1", node="n1", requests={"cpu": "1"}))
    assert best_of(cache, a_pod("x")) == ["n2"]


def test_a_soft_spread_constraint_prefers_the_zone_with_fewer_pods() -> None:
    soft = [{**SPREAD[0], "whenUnsatisfiable": "ScheduleAnyway"}]
    cache = cache_of(
        make_node("a1", zone="a"), make_node("a2", zone="a"), make_node("b1", zone="b")
    )
    cache.update_pod("ADDED", a_pod("1", node="a1", labels=WEB))
    pod = a_pod("x", labels=WEB, topologySpreadConstraints=soft)
    assert best_of(cache, pod) == ["b1"]


def test_a_prefer_no_schedule_taint_is_avoided() -> None:
    cache = cache_of(make_node("n1", taints=[("spot", "", "PreferNoSchedule")]), make_node("n2"))
    cache.update_pod("ADDED", a_pod("1", node="n2"))
    assert best_of(cache, a_pod("x")) == ["n2"]
    assert best_of(cache, a_pod("y", tolerations=[TOLERATION])) == ["n1"]


SIDECAR = {"name": "sidecar", "image": "i", "restartPolicy": "Always"}


def with_cpu(container: Object, cpu: str) -> Object:
    return {**container, "resources": {"requests": {"cpu": cpu}}}


@pytest.mark.parametrize(
    ("spec", "millicores"),
    [
        pytest.param({}, 1000, id="containers"),
        pytest.param(
            {"initContainers": [with_cpu({"name": "init", "image": "i"}, "3")]},
            3000,
            id="a larger init container",
        ),
        pytest.param({"initContainers": [with_cpu(SIDECAR, "2")]}, 3000, id="a native sidecar"),
        pytest.param(
            {
                "initContainers": [
                    with_cpu(SIDECAR, "2"),
                    with_cpu({"name": "init", "image": "i"}, "1500m"),
                ]
            },
            3500,
            id="an init container beside a sidecar",
        ),
        pytest.param({"resources": {"requests": {"cpu": "2500m"}}}, 2500, id="pod-level requests"),
        pytest.param({"overhead": {"cpu": "250m"}}, 1250, id="overhead"),
    ],
)
def test_the_requests_of_a_pod(spec: Any, millicores: int) -> None:
    pod = a_pod(requests={"cpu": "1"}, **spec)
    assert requirements_of(pod).cpu == millicores
    node = make_node("n1", cpu=f"{millicores - 1}m")
    assert rejections(cache_of(node), pod) == [("Insufficient cpu", TOO_SMALL)]


def test_containers_without_requests_count_in_scores_only() -> None:
    found = requirements_of(a_pod())
    assert (found.cpu, found.memory) == (0, 0)
    assert (found.scoring_cpu, found.scoring_memory) == (100, 200 * 2**20)


def test_a_pod_that_balances_cpu_and_memory_is_placed_there() -> None:
    cache = cache_of(make_node("n1"), make_node("n2"))
    cache.update_pod("ADDED", a_pod("1", node="n1", requests={"cpu": "2", "memory": "1Gi"}))
    cache.update_pod("ADDED", a_pod("2", node="n2", requests={"cpu": "250m", "memory": "8Gi"}))
    assert best_of(cache, a_pod("x", requests={"cpu": "10m", "memory": "6Gi"})) == ["n1"]
