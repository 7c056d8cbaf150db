"""Which nodes take a pod, and the scheduler's words about those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.embedded.controllers.filters import TOO_LARGE, NodeFilter, verdict
from spotalis.embedded.controllers.pod_requirements import requirements_of
from spotalis.embedded.controllers.scheduler_cache import SchedulerCache
from spotalis.embedded.controllers.scores import best
from spotalis.embedded.nodes import make_node
from tests.unit.embedded.controllers.builders import Object, a_pod

SPOT = {"karpenter.sh/capacity-type": "spot"}
TOLERATION = {"key": "spot", "operator": "Exists"}


def cache_of(*objects: Object) -> SchedulerCache:
    """Nodes and pods, in the order given."""
    cache = SchedulerCache()
    for obj in objects:
        if obj["kind"] == "Node":
            cache.node("ADDED", obj)
        else:
            cache.pod("ADDED", obj)
    return cache


def refusals(cache: SchedulerCache, pod: Object) -> list[tuple[str, ...]]:
    """Why each node in turn does not take the pod."""
    fitting = NodeFilter(cache, requirements_of(pod))
    return [fitting.reasons(info) for info in cache.nodes.values()]


def required(*expressions: Object) -> Object:
    """Required node affinity with one term."""
    term = {"matchExpressions": list(expressions)}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {kind: {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("node", "spec", "reasons"),
    [
        pytest.param({}, {}, (), id="an empty node takes a plain pod"),
        pytest.param({"labels": SPOT}, {"nodeSelector": SPOT}, (), id="a selector that matches"),
        pytest.param(
            {},
            {"nodeSelector": SPOT},
            ("node(s) didn't match Pod's node affinity/selector",),
            id="a selector that does not",
        ),
        pytest.param(
            {"labels": SPOT},
            {
                "affinity": required(
                    {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}
                )
            },
            ("node(s) didn't match Pod's node affinity/selector",),
            id="an affinity that does not",
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
            id="a taint that is tolerated",
        ),
        pytest.param(
            {"taints": [("spot", "", "PreferNoSchedule")]}, {}, (), id="a taint that only prefers"
        ),
        pytest.param(
            {"ready": False}, {}, ("node(s) had untolerated taint(s)",), id="a node not ready"
        ),
        pytest.param(
            {"cpu": "1", "memory": "1Gi"},
            {"requests": {"cpu": "1500m", "memory": "2Gi"}},
            ("Insufficient cpu", "Insufficient memory", TOO_LARGE),
            id="too little of two",
        ),
        pytest.param({"pods": 0}, {}, ("Too many pods",), id="no place for a pod"),
        pytest.param(
            {},
            {"requests": {"nvidia.com/gpu": "1"}},
            ("Insufficient nvidia.com/gpu", TOO_LARGE),
            id="an extended resource that is not there",
        ),
        pytest.param(
            {"other": {"nvidia.com/gpu": "1"}},
            {"requests": {"nvidia.com/gpu": "1"}},
            (),
            id="an extended resource that is",
        ),
    ],
)
def test_one_node_and_one_pod(node: Any, spec: Any, reasons: tuple[str, ...]) -> None:
    assert refusals(cache_of(make_node("n1", **node)), a_pod(**spec)) == [reasons]


def test_a_cordoned_node_takes_nothing() -> None:
    node = make_node("n1")
    node["spec"]["unschedulable"] = True
    assert refusals(cache_of(node), a_pod()) == [("node(s) were unschedulable",)]


def test_what_runs_there_takes_room_until_it_is_finished() -> None:
    running = a_pod("running", node="n1", requests={"cpu": "3"})
    cache = cache_of(make_node("n1"), running)
    assert refusals(cache, a_pod(requests={"cpu": "1500m"})) == [("Insufficient cpu",)]
    finished = {**running, "status": {"phase": "Succeeded"}}
    assert cache.pod("MODIFIED", finished) == "freed"
    assert refusals(cache, a_pod(requests={"cpu": "1500m"})) == [()]


def test_a_pod_counts_on_a_node_that_comes_after_it() -> None:
    cache = cache_of(a_pod("running", node="n1", requests={"cpu": "3"}), make_node("n1"))
    assert refusals(cache, a_pod(requests={"cpu": "2"})) == [("Insufficient cpu",)]


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


def test_a_zone_that_is_ahead_is_refused() -> None:
    assert refusals(cache_of(*ZONES), web("x")) == [(), (), (), NO_ZONE]
    cache = cache_of(*ZONES, web("1", "a1"))
    assert refusals(cache, web("x")) == [SKEWED, SKEWED, (), NO_ZONE]
    cache.pod("ADDED", web("2", "b1"))
    assert refusals(cache, web("x")) == [(), (), (), NO_ZONE]


def test_terminating_pods_do_not_weigh_in_a_spread() -> None:
    cache = cache_of(*ZONES, web("1", "a1"))
    assert refusals(cache, web("x"))[0] == SKEWED
    going = web("1", "a1")
    going["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    cache.pod("MODIFIED", going)
    assert refusals(cache, web("x"))[0] == ()


def test_zones_where_the_pod_may_not_run_do_not_count_as_empty() -> None:
    cache = cache_of(make_node("a1", zone="a", labels=SPOT), make_node("b1", zone="b"))
    cache.pod("ADDED", web("1", "a1"))
    assert refusals(cache, web("x", nodeSelector=SPOT))[0] == ()


def test_required_anti_affinity_keeps_pods_of_a_kind_apart_both_ways() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": WEB}}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    apart = {"podAntiAffinity": {kind: [term]}}
    cache = cache_of(make_node("n1"), make_node("n2"))
    cache.pod("ADDED", a_pod("1", node="n1", labels=WEB, affinity=apart))
    own = ("node(s) didn't match pod anti-affinity rules",)
    theirs = ("node(s) didn't satisfy existing pods anti-affinity rules",)
    assert refusals(cache, a_pod("x", labels=WEB, affinity=apart)) == [own, ()]
    assert refusals(cache, a_pod("y", labels=WEB)) == [theirs, ()]
    assert refusals(cache, a_pod("z", labels={"app": "other"}, affinity=apart)) == [own, ()]


def test_the_message_counts_nodes_by_their_first_reason() -> None:
    cache = cache_of(
        make_node("full", cpu="2"),
        make_node("tainted", taints=[("spot", "", "NoSchedule")]),
        make_node("tainted too", taints=[("spot", "", "NoSchedule")], cpu="1"),
    )
    cache.pod("ADDED", a_pod("1", node="full", requests={"cpu": "1"}))
    assert verdict(refusals(cache, a_pod(requests={"cpu": "2"}))) == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_preemption_helps_nobody_who_is_larger_than_a_node() -> None:
    cache = cache_of(make_node("small", cpu="1"), make_node("smaller", cpu="500m"))
    assert verdict(refusals(cache, a_pod(requests={"cpu": "2"}))) == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_without_nodes_the_message_says_so() -> None:
    assert verdict([]) == "no nodes available to schedule pods"


def best_of(cache: SchedulerCache, pod: Object) -> list[str]:
    return [info.name for info in best(cache, requirements_of(pod), list(cache.nodes.values()))]


def test_the_node_with_fewest_pods_of_the_same_owner_is_best() -> None:
    cache = cache_of(make_node("n1"), make_node("n2"), make_node("n3"))
    cache.pod("ADDED", a_pod("1", node="n1", owner="web"))
    cache.pod("ADDED", a_pod("2", node="n2", owner="other"))
    assert best_of(cache, a_pod("x", owner="web")) == ["n3"]
    assert best_of(cache, a_pod("y")) == ["n3"]


def test_the_emptier_of_two_nodes_is_best() -> None:
    cache = cache_of(make_node("n1"), make_node("n2"))
    cache.pod("ADDED", a_pod("1", node="n1", requests={"cpu": "1"}))
    assert best_of(cache, a_pod("x")) == ["n2"]


def test_soft_spread_chooses_the_zone_that_is_behind() -> None:
    soft = [{**SPREAD[0], "whenUnsatisfiable": "ScheduleAnyway"}]
    cache = cache_of(
        make_node("a1", zone="a"), make_node("a2", zone="a"), make_node("b1", zone="b")
    )
    cache.pod("ADDED", a_pod("1", node="a1", labels=WEB))
    pod = a_pod("x", labels=WEB, topologySpreadConstraints=soft)
    assert best_of(cache, pod) == ["b1"]


def test_a_taint_that_prefers_is_avoided() -> None:
    cache = cache_of(make_node("n1", taints=[("spot", "", "PreferNoSchedule")]), make_node("n2"))
    cache.pod("ADDED", a_pod("1", node="n2"))
    assert best_of(cache, a_pod("x")) == ["n2"]
    assert best_of(cache, a_pod("y", tolerations=[TOLERATION])) == ["n1"]
