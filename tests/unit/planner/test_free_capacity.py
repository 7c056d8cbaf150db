"""What is free on nodes once the pods that wait for a node have their share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.classification import Pin
from spotalis.model.objects import (
    HostPort,
    LabelSelector,
    Node,
    NodeTerms,
    PodShape,
    Requirement,
    Taint,
    Toleration,
)
from spotalis.planner.anti_affinity import (
    MAX_COMPARISONS,
    MAX_FOREIGN_COMPARISONS,
    AntiAffinity,
    AvoidingPods,
    Effort,
    Surroundings,
    TooMuchWorkError,
    anti_affinity,
)
from spotalis.planner.free_capacity import SLICE, Memo, WaitingPods, count_fitting
from tests.support.builders import a_node, a_selector, a_shape
from tests.support.free_capacity import computed, free_after

GIB = 2**30
SPOT_TAINT = Taint(key="spot", value="true", effect="NoSchedule")
TOLERATES_SPOT = Toleration(key="spot", operator="Equal", value="true", effect="NoSchedule")
GPU = "nvidia.com/gpu"
NO_PIN = Pin()


def fits(
    nodes: Sequence[Node],
    *,
    shape: PodShape | None = None,
    bound: Mapping[str, Sequence[PodShape]] | None = None,
    waiting: Sequence[PodShape] = (),
    at_most: int = 99,
    pin: Pin = NO_PIN,
) -> int:
    return count_fitting(free_after(nodes, waiting, bound), shape or a_shape(), pin, at_most)


HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
APART = a_shape(anti_affinity=(AntiAffinityTerm(HOST, a_selector({"app": "api"})),))
APART_IN_ZONES = a_shape(anti_affinity=(AntiAffinityTerm(ZONE, a_selector({"app": "api"})),))


def avoid(shape: PodShape, labels: Mapping[str, str], **around: Any) -> AntiAffinity:
    return anti_affinity(shape, labels, Surroundings(namespace="shop", **around), Effort())


def hosts(*names: str, zone: str = "a") -> list[Node]:
    return [a_node(name, labels={HOST: name, ZONE: zone}) for name in names]


@pytest.mark.parametrize(
    ("shape", "labels", "on", "waiting", "pods"),
    [
        pytest.param(APART, {"app": "api"}, (), (), 3, id="one on each of three"),
        pytest.param(APART, {"app": "api"}, ("one",), (), 2, id="one stands there already"),
        pytest.param(APART, {"app": "api"}, (), (APART,), 2, id="one waits for a node"),
        pytest.param(APART, {"app": "web"}, ("one",), (), 16, id="apart from others only"),
        pytest.param(APART_IN_ZONES, {"app": "api"}, (), (), 2, id="one in each of two zones"),
        pytest.param(APART_IN_ZONES, {"app": "api"}, ("two",), (), 1, id="a zone is taken"),
        pytest.param(a_shape(), {"app": "api"}, ("one",), (), 24, id="together"),
    ],
)
def test_pods_with_anti_affinity_need_separate_domains(
    shape: PodShape,
    labels: Mapping[str, str],
    on: Sequence[str],
    waiting: Sequence[PodShape],
    pods: int,
) -> None:
    nodes = [*hosts("one", "two"), *hosts("three", zone="b")]
    standing = [(node, {"app": "api"}) for node in nodes if node.name in on]
    apart = avoid(shape, labels, present=standing)
    free = free_after(nodes, [WaitingPods(shape=one, namespace="shop") for one in waiting])
    assert count_fitting(free, shape, NO_PIN, 99, apart, "shop") == pods


def test_a_node_without_the_topology_label_is_not_restricted() -> None:
    old = (a_node("old", labels={}), {"app": "api"})
    apart = avoid(APART, {"app": "api"}, present=[old])
    free = free_after([a_node("new", labels={})])
    assert count_fitting(free, APART, NO_PIN, 99, apart, "shop") == 8


def test_waiting_pods_of_another_namespace_are_not_apart_from_these() -> None:
    free = free_after(hosts("one", "two"), [WaitingPods(shape=APART, namespace="elsewhere")])
    apart = avoid(APART, {"app": "api"})
    assert count_fitting(free, APART, NO_PIN, 99, apart, "shop") == 2


def test_other_pods_keep_these_away_by_their_anti_affinity() -> None:
    nodes = hosts("one", "two")
    pods = AvoidingPods(namespace="shop", terms=APART.anti_affinity, nodes={"u": "one"})
    find = {node.name: node for node in nodes}.get
    apart = avoid(a_shape(), {"app": "api"}, avoiding=[pods], find_node=find)
    assert count_fitting(free_after(nodes), a_shape(), NO_PIN, 99, apart) == 8
    others = avoid(a_shape(), {"app": "web"}, avoiding=[pods], find_node=find)
    assert count_fitting(free_after(nodes), a_shape(), NO_PIN, 99, others) == 16
    leaving = avoid(
        a_shape(), {"app": "api"}, avoiding=[pods], find_node=find, moving=frozenset({"u"})
    )
    assert count_fitting(free_after(nodes), a_shape(), NO_PIN, 99, leaving) == 16


ALL = LabelSelector()
TEAM_A = a_selector({"team": "a"})


@pytest.mark.parametrize(
    ("namespaces", "namespace_selector", "of", "excluded"),
    [
        pytest.param((), None, "shop", True, id="its own"),
        pytest.param((), None, "tenant", False, id="its own is another"),
        pytest.param(("tenant",), None, "tenant", False, id="a tenant names itself"),
        pytest.param(("tenant",), None, "shop", False, id="a tenant is named, not its own"),
        pytest.param(("shop",), None, "tenant", True, id="named"),
        pytest.param((), ALL, "tenant", True, id="all"),
        pytest.param((), TEAM_A, "tenant", True, id="selected"),
        pytest.param((), a_selector({"team": "b"}), "tenant", False, id="not selected"),
        pytest.param(("tenant",), TEAM_A, "tenant", True, id="named or selected"),
    ],
)
def test_the_anti_affinity_of_other_pods_counts_in_the_namespaces_that_it_names(
    namespaces: tuple[str, ...],
    namespace_selector: LabelSelector | None,
    of: str,
    excluded: bool,
) -> None:
    (node,) = hosts("one")
    term = AntiAffinityTerm(HOST, ALL, namespaces, namespace_selector)
    pods = AvoidingPods(namespace=of, terms=(term,), nodes={"u": "one"})
    around = {"namespace_labels": {"team": "a"}, "find_node": lambda _: node}
    apart = avoid(a_shape(), {"app": "api"}, avoiding=[pods], **around)
    assert apart.allows(node) is not excluded


def test_the_terms_of_alike_pods_are_evaluated_once() -> None:
    nodes = hosts(*(f"node-{n}" for n in range(100)))
    names = {f"uid-{n}": f"node-{n % 100}" for n in range(1_000)}
    terms = tuple(AntiAffinityTerm(HOST, a_selector({f"x-{n}": "y"})) for n in range(70))
    pods = AvoidingPods(namespace="shop", terms=terms, nodes=names)
    labels = CountedLabels(app="api")
    CountedLabels.reads = 0
    find = {node.name: node for node in nodes}.get
    assert avoid(a_shape(), labels, avoiding=[pods], find_node=find).excluded == frozenset()
    assert CountedLabels.reads == 70


def hostile(namespace: str, selector: LabelSelector | None, count: int) -> list[AvoidingPods]:
    """Pods with different terms, which concern no pod of the workload."""
    of = [AntiAffinityTerm(HOST, a_selector({f"x-{n}": "y"}), (), selector) for n in range(count)]
    return [AvoidingPods(namespace=namespace, terms=(term,), nodes={"u": "one"}) for term in of]


def test_the_terms_of_other_namespaces_are_evaluated_up_to_a_limit() -> None:
    labels = CountedLabels(app="api")
    CountedLabels.reads = 0
    avoid(a_shape(), labels, avoiding=hostile("tenant", ALL, 5_000))
    assert 0 < CountedLabels.reads <= MAX_FOREIGN_COMPARISONS // 3


def test_the_terms_of_the_own_namespace_are_evaluated_up_to_a_limit() -> None:
    labels = CountedLabels(app="api")
    CountedLabels.reads = 0
    with pytest.raises(TooMuchWorkError):
        avoid(a_shape(), labels, avoiding=hostile("shop", None, 10_000))
    assert CountedLabels.reads <= MAX_COMPARISONS // 3


def test_labels_that_pods_share_are_compared_with_the_terms_once() -> None:
    labels = CountedLabels(app="web")
    CountedLabels.reads = 0
    avoid(APART, {"app": "api"}, present=[(node, labels) for node in hosts("a", "b") * 500])
    assert CountedLabels.reads == 1


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([a_shape(1 + n) for n in range(2_000)], id="2,000 different requests"),
        pytest.param([a_shape(0, 0)] * 2_000, id="2,000 alike"),
    ],
)
def test_waiting_pods_with_the_same_anti_affinity_are_assigned_again_up_to_a_limit(
    pods: list[PodShape],
) -> None:
    """Each of them has a node of its own, so that the excluded domains grow."""
    nodes = hosts(*(f"node-{n}" for n in range(100)))
    waiting = [
        WaitingPods(
            shape=msgspec.structs.replace(one, anti_affinity=APART.anti_affinity), namespace="shop"
        )
        for one in pods
    ]
    free = free_after(nodes, waiting)
    apart = CountedAntiAffinity(exclusive_keys=(HOST,))
    CountedAntiAffinity.asked = 0
    with pytest.raises(TooMuchWorkError):
        count_fitting(free, APART, NO_PIN, 99, apart, "shop")
    assert CountedAntiAffinity.asked <= MAX_COMPARISONS
    few = free_after(nodes, waiting[:10])
    assert count_fitting(few, APART, NO_PIN, 99, apart, "shop") == 90


class CountedAntiAffinity(AntiAffinity):
    """Counts how often a node is compared with it."""

    asked = 0

    def allows(self, node: Node) -> bool:
        CountedAntiAffinity.asked += 1
        return super().allows(node)

    def after(self, node: Node) -> AntiAffinity:
        after = super().after(node)
        return CountedAntiAffinity(excluded=after.excluded, exclusive_keys=after.exclusive_keys)


def test_the_nodes_are_judged_for_one_workload_up_to_a_limit() -> None:
    nodes = counted(f"node-{n}" for n in range(1_000))
    far = tuple((Requirement(HOST, "In", (f"other-{n}",)),) for n in range(100))
    with pytest.raises(TooMuchWorkError):
        count_fitting(free_after(nodes), a_shape(node_terms=far), NO_PIN, 99)
    assert CountedLabels.reads <= 2 * MAX_COMPARISONS


WITH_PORT = a_shape(host_ports=(HostPort(8080),))


@pytest.mark.parametrize(
    ("bound", "waiting", "shape", "pods"),
    [
        pytest.param((), (), WITH_PORT, 2, id="one on each node"),
        pytest.param((WITH_PORT,), (), WITH_PORT, 1, id="the port of a node is in use"),
        pytest.param((), (WITH_PORT,), WITH_PORT, 1, id="a waiting pod takes the port of a node"),
        pytest.param((WITH_PORT,), (), a_shape(), 15, id="pods without ports are not concerned"),
        pytest.param(
            (WITH_PORT,), (), a_shape(host_ports=(HostPort(8081),)), 2, id="another port is free"
        ),
    ],
)
def test_a_host_port_can_be_used_once_on_a_node(
    bound: Sequence[PodShape], waiting: Sequence[PodShape], shape: PodShape, pods: int
) -> None:
    nodes = [a_node("one"), a_node("two")]
    assert fits(nodes, shape=shape, bound={"one": bound}, waiting=waiting) == pods


class CountedLabels(dict[str, str]):
    """Labels that count how often they are read."""

    reads = 0

    def get(self, key: str, default: Any = None) -> Any:
        type(self).reads += 1
        return super().get(key, default)


def counted(names: Iterable[str]) -> list[Node]:
    CountedLabels.reads = 0
    return [a_node(name, labels=CountedLabels({HOST: name, ZONE: "a"})) for name in names]


def terms(count: int, key: str = "gpu") -> NodeTerms:
    return tuple((Requirement(f"{key}-{n}", "Exists"),) for n in range(count))


def test_alike_pods_are_judged_once_however_many_there_are() -> None:
    def reads(count: int) -> int:
        shape = a_shape(node_selector=((ZONE, "a"),))
        free = free_after(
            counted(f"node-{n}" for n in range(300)), [WaitingPods(shape=shape, count=count)]
        )
        assert sum(8 - room.pods for room in free.rooms) == 300 * 8 - 300 * 58 + min(count, 2400)
        return CountedLabels.reads

    assert reads(1) == reads(5_000) < 310


def test_nodes_that_are_alike_for_a_pod_are_judged_once() -> None:
    """50 pods with 1,000 terms each: one evaluation per pod and node would be 5,000,000."""
    waiting = [a_shape(1 + n, node_terms=terms(1_000)) for n in range(50)]
    nodes = [a_node(f"node-{n}", labels={HOST: f"node-{n}", ZONE: "a"}) for n in range(100)]
    _, slices = computed(nodes, waiting)
    assert slices * SLICE < 500_000


def test_a_pod_is_not_judged_again_as_long_as_the_nodes_are_the_same() -> None:
    memo: Memo = {}
    nodes = counted(f"node-{n}" for n in range(100))
    waiting = [a_shape(1, node_terms=terms(10))]
    free_after(nodes, waiting, memo=memo)
    first = CountedLabels.reads
    free_after(nodes, waiting, memo=memo)
    assert CountedLabels.reads == first > 0
    free_after(nodes, (), memo=memo)
    assert memo == {}


def test_pods_are_not_judged_if_no_node_has_resources_for_them() -> None:
    nodes = counted(f"node-{n}" for n in range(300))
    full = {node.name: [a_shape(4000)] for node in nodes}
    waiting = [a_shape(1 + n, node_terms=terms(10)) for n in range(5_000)]
    _, slices = computed(nodes, waiting, full)
    assert CountedLabels.reads == 0
    assert slices == (2 * 300 + 5_000) // SLICE


def test_the_computation_can_be_interrupted_after_each_slice() -> None:
    nodes = [a_node(f"node-{n}", labels={HOST: f"node-{n}"}) for n in range(100)]
    far = tuple((Requirement(HOST, "In", (f"other-{n}",)),) for n in range(100))
    waiting = [a_shape(1 + n, node_terms=far) for n in range(50)]
    _, slices = computed(nodes, waiting)
    assert slices >= 50 * 100 * 100 // SLICE


@pytest.mark.parametrize(
    ("asked", "pods"),
    [
        pytest.param({"nodes": [a_node()]}, 8, id="4 CPUs hold 8 halves"),
        pytest.param({"nodes": []}, 0, id="no nodes, no room"),
        pytest.param({"nodes": [a_node("one"), a_node("two")]}, 16, id="two nodes hold twice that"),
        pytest.param({"nodes": [a_node(memory_bytes=3 * GIB)]}, 3, id="memory may be the bound"),
        pytest.param({"nodes": [a_node(pods=2)]}, 2, id="so may the number of pods"),
        pytest.param({"nodes": [a_node()], "shape": a_shape(0, 0)}, 58, id="even of empty ones"),
        pytest.param(
            {"nodes": [a_node(other=((GPU, 3),))], "shape": a_shape(other=((GPU, 2),))},
            1,
            id="and an extended resource",
        ),
        pytest.param(
            {"nodes": [a_node()], "shape": a_shape(other=((GPU, 1),))},
            0,
            id="which other nodes do not have",
        ),
        pytest.param({"nodes": [a_node(ready=False), a_node("two")]}, 8, id="Ready nodes count"),
        pytest.param({"nodes": [a_node()], "at_most": 3}, 3, id="no more are counted than asked"),
        pytest.param({"nodes": [a_node()], "at_most": 0}, 0, id="not even one"),
        pytest.param(
            {"nodes": [a_node()], "bound": {"node-1": [a_shape(1000), a_shape(1000)]}},
            4,
            id="what runs there is taken off",
        ),
        pytest.param(
            {"nodes": [a_node()], "bound": {"node-2": [a_shape(4000)]}},
            8,
            id="what runs elsewhere is not",
        ),
        pytest.param(
            {"nodes": [a_node()], "bound": {"node-1": [a_shape(5000)]}},
            0,
            id="an overcommitted node has no room",
        ),
        pytest.param(
            {"nodes": [a_node(pods=1)], "bound": {"node-1": [a_shape(0, 0)]}},
            0,
            id="its pods take places too",
        ),
        pytest.param(
            {
                "nodes": [a_node(other=((GPU, 1),))],
                "bound": {"node-1": [a_shape(other=((GPU, 1),))]},
                "shape": a_shape(other=((GPU, 1),)),
            },
            0,
            id="and extended resources",
        ),
        pytest.param(
            {"nodes": [a_node()], "waiting": [a_shape(1500), a_shape(1500)]},
            2,
            id="Pending pods come first",
        ),
        pytest.param(
            {"nodes": [a_node("one"), a_node("two")], "waiting": [a_shape(3000)]},
            10,
            id="and takes one place, on the first node that fits",
        ),
        pytest.param(
            {"nodes": [a_node()], "waiting": [a_shape(9000)]},
            8,
            id="a Pending pod that fits nowhere is ignored",
        ),
        pytest.param(
            {"nodes": [a_node(labels={})], "waiting": [a_shape(4000, node_selector=(("z", "a"),))]},
            8,
            id="a Pending pod for another node takes nothing",
        ),
        pytest.param(
            {"nodes": [a_node(taints=[SPOT_TAINT])], "waiting": [a_shape(4000)]},
            0,
            id="a taint that is not tolerated",
        ),
        pytest.param(
            {
                "nodes": [a_node(taints=[SPOT_TAINT])],
                "waiting": [a_shape(4000), a_shape(1000, tolerations=(TOLERATES_SPOT,))],
                "pin": Pin(tolerations=(TOLERATES_SPOT,)),
            },
            6,
            id="only the pinned pods tolerate the taint",
        ),
    ],
)
def test_free_capacity_is_counted_after_bound_and_pending_pods(
    asked: dict[str, Any], pods: int
) -> None:
    assert fits(**asked) == pods


SHAPES = st.builds(a_shape, st.integers(0, 3000), st.integers(0, 8 * GIB))


@given(
    bound=st.lists(SHAPES, max_size=4),
    waiting=st.lists(SHAPES, max_size=4),
    shape=st.builds(a_shape, st.integers(100, 3000), st.integers(0, 8 * GIB)),
)
def test_the_count_never_exceeds_free_resources(
    bound: list[PodShape], waiting: list[PodShape], shape: PodShape
) -> None:
    nodes = [a_node("one"), a_node("two", pods=3)]
    pods = fits(nodes, shape=shape, bound={"one": bound}, waiting=waiting)
    free_cpu = max(0, 4000 - sum(one.cpu_millis for one in bound))
    free_memory = max(0, 16 * GIB - sum(one.memory_bytes for one in bound))
    assert pods * shape.cpu_millis <= 4000 + free_cpu
    assert pods * shape.memory_bytes <= 16 * GIB + free_memory
    assert pods <= fits(nodes, shape=shape, bound={"one": bound}) <= fits(nodes, shape=shape)
