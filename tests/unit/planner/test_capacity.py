"""Whether a replacement could land."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from spotalis.model.classification import Pin
from spotalis.model.objects import (
    NODE_NAME_FIELD,
    Node,
    PodShape,
    Requirement,
    Taint,
    Toleration,
)
from spotalis.planner.capacity import (
    can_bind,
    could_hold,
    is_arriving,
    is_local_to,
)
from tests.support.builders import LONG_AGO, NOW, a_node, a_shape

GIB = 2**30
SPOT_TAINT = Taint(key="spot", value="true", effect="NoSchedule")
TOLERATES_SPOT = Toleration(key="spot", operator="Equal", value="true", effect="NoSchedule")
GPU = "nvidia.com/gpu"
NO_PIN = Pin()


def never(node: str) -> None:
    """No node has changed since the operator knows it."""


IN_ZONE_A = Requirement(key="zone", operator="In", values=("a",))
ON_NODE_1 = Requirement(key=NODE_NAME_FIELD, operator="In", values=("node-1",))
NOT_ON_NODE_1 = Requirement(key=NODE_NAME_FIELD, operator="NotIn", values=("node-1",))


@pytest.mark.parametrize(
    ("node", "shape", "pin", "accepted"),
    [
        pytest.param(a_node(), a_shape(), NO_PIN, True, id="a Ready node"),
        pytest.param(a_node(ready=False), a_shape(), NO_PIN, False, id="not Ready"),
        pytest.param(a_node(cordoned=True), a_shape(), NO_PIN, False, id="cordoned"),
        pytest.param(a_node(deleting_at=LONG_AGO), a_shape(), NO_PIN, False, id="being deleted"),
        pytest.param(
            a_node(taints=[Taint(key="ToBeDeletedByClusterAutoscaler", effect="NoSchedule")]),
            a_shape(tolerations=(Toleration(operator="Exists"),)),
            NO_PIN,
            False,
            id="leaving, whatever the pod tolerates",
        ),
        pytest.param(
            a_node(taints=[SPOT_TAINT]), a_shape(), NO_PIN, False, id="a taint not tolerated"
        ),
        pytest.param(
            a_node(taints=[SPOT_TAINT]),
            a_shape(tolerations=(TOLERATES_SPOT,)),
            NO_PIN,
            True,
            id="a taint that the template tolerates",
        ),
        pytest.param(
            a_node(taints=[SPOT_TAINT]),
            a_shape(),
            Pin(tolerations=(TOLERATES_SPOT,)),
            True,
            id="a taint that the pin tolerates",
        ),
        pytest.param(
            a_node(taints=[SPOT_TAINT, Taint(key="team", effect="NoExecute")]),
            a_shape(),
            Pin(tolerations=(TOLERATES_SPOT,)),
            False,
            id="one of two taints not tolerated",
        ),
        pytest.param(
            a_node(taints=[Taint(key="team", effect="PreferNoSchedule")]),
            a_shape(),
            NO_PIN,
            True,
            id="a taint that is only a preference",
        ),
        pytest.param(
            a_node(labels={"zone": "a"}),
            a_shape(node_selector=(("zone", "a"),)),
            NO_PIN,
            True,
            id="the selected label",
        ),
        pytest.param(
            a_node(labels={"zone": "b"}),
            a_shape(node_selector=(("zone", "a"),)),
            NO_PIN,
            False,
            id="another value of the selected label",
        ),
        pytest.param(
            a_node(labels={}),
            a_shape(node_selector=(("zone", "a"),)),
            NO_PIN,
            False,
            id="without the selected label",
        ),
        pytest.param(
            a_node(labels={"zone": "b", "disk": "ssd"}),
            a_shape(node_terms=((IN_ZONE_A,), (Requirement("disk", "Exists"),))),
            NO_PIN,
            True,
            id="any one term",
        ),
        pytest.param(
            a_node(labels={"zone": "a"}),
            a_shape(node_terms=((IN_ZONE_A, Requirement("disk", "Exists")),)),
            NO_PIN,
            False,
            id="half a term",
        ),
        pytest.param(
            a_node(), a_shape(node_terms=((ON_NODE_1,),)), NO_PIN, True, id="the node of its name"
        ),
        pytest.param(
            a_node("node-2"),
            a_shape(node_terms=((ON_NODE_1,),)),
            NO_PIN,
            False,
            id="a node of another name",
        ),
        pytest.param(
            a_node(),
            a_shape(node_terms=((NOT_ON_NODE_1,),)),
            NO_PIN,
            False,
            id="the node excluded by name",
        ),
    ],
)
def test_can_bind_follows_the_rules_of_the_scheduler(
    node: Node, shape: PodShape, pin: Pin, accepted: bool
) -> None:
    assert can_bind(node, shape, pin) is accepted


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("kubernetes.io/hostname", "node-1", True),
        ("topology.disk.example/node", "node-1", True),
        ("topology.kubernetes.io/zone", "a", False),
        ("topology.kubernetes.io/zone", "b", False),
    ],
)
def test_a_local_disk_is_recognized_by_the_name_of_its_node(
    key: str, value: str, named: bool
) -> None:
    labels = {
        "kubernetes.io/hostname": "node-1",
        "topology.disk.example/node": "node-1",
        "topology.kubernetes.io/zone": "a",
    }
    terms = ((Requirement(key, "In", (value,)),),)
    assert is_local_to(a_node("node-1", labels=labels), terms) is named


YOUNG = NOW - timedelta(minutes=2)


@pytest.mark.parametrize(
    ("node", "arriving"),
    [
        pytest.param(a_node(ready=False, created_at=YOUNG), True, id="registered, not Ready"),
        pytest.param(a_node(ready=False, created_at=LONG_AGO), False, id="not Ready for an hour"),
        pytest.param(a_node(created_at=YOUNG), False, id="Ready already"),
        pytest.param(a_node(ready=False, created_at=YOUNG, cpu_millis=100), False, id="too small"),
        pytest.param(a_node(ready=False, created_at=YOUNG, cordoned=True), False, id="cordoned"),
        pytest.param(
            a_node(ready=False, created_at=YOUNG, cpu_millis=0, memory_bytes=0),
            True,
            id="without resources yet",
        ),
    ],
)
def test_a_node_that_registered_recently_and_fits_is_arriving(node: Node, arriving: bool) -> None:
    assert is_arriving([node], a_shape(), NO_PIN, NOW, never) is arriving


CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([], True, id="no node"),
        pytest.param([a_node(ready=False, cordoned=True)], True, id="not Ready and cordoned"),
        pytest.param([a_node(cpu_millis=400)], False, id="too small"),
        pytest.param([a_node(taints=[Taint("gpu", "", "NoSchedule")])], False, id="tainted"),
        pytest.param([a_node(taints=[CORDON])], True, id="tainted as cordoned"),
    ],
)
def test_a_node_could_hold_a_pod_if_it_were_empty_and_healthy(
    nodes: list[Node], expected: bool
) -> None:
    assert could_hold(nodes, a_shape(), NO_PIN) is expected


@pytest.mark.parametrize("zone", ["a", "b"])
def test_a_node_in_another_zone_neither_arrives_for_the_pod_nor_could_hold_it(zone: str) -> None:
    labels = {"zone": zone}
    shape = a_shape(node_terms=((IN_ZONE_A,),))
    node = a_node(ready=False, created_at=YOUNG, labels=labels)
    assert is_arriving([node], shape, NO_PIN, NOW, never) is (zone == "a")
    assert could_hold([a_node(labels=labels)], shape, NO_PIN) is (zone == "a")


CILIUM = Taint(key="node.cilium.io/agent-not-ready", effect="NoExecute")
DEDICATED = Taint(key="dedicated", value="gpu", effect="NoSchedule")
KARPENTER_NODE = {"karpenter.sh/capacity-type": "spot", "karpenter.sh/registered": "true"}
YOUNG = NOW - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("node", "arriving"),
    [
        pytest.param(a_node(created_at=YOUNG), False, id="Ready"),
        pytest.param(a_node(created_at=YOUNG, taints=[CILIUM]), True, id="startup taint"),
        pytest.param(
            a_node(created_at=NOW - timedelta(minutes=16), taints=[CILIUM]),
            False,
            id="for too long",
        ),
        pytest.param(a_node(created_at=YOUNG, taints=[DEDICATED]), False, id="dedicated"),
        pytest.param(
            a_node(created_at=YOUNG, taints=[CILIUM, DEDICATED]),
            False,
            id="startup taint of a dedicated node",
        ),
        pytest.param(
            a_node(created_at=YOUNG, taints=[CILIUM], cordoned=True), False, id="cordoned"
        ),
        pytest.param(
            a_node(
                created_at=YOUNG,
                taints=[Taint(key="startup-taint.cluster-autoscaler.kubernetes.io/gpu")],
            ),
            True,
            id="startup taint of cluster-autoscaler",
        ),
        pytest.param(
            a_node(created_at=YOUNG, labels=KARPENTER_NODE), True, id="Karpenter is initializing it"
        ),
        pytest.param(
            a_node(created_at=YOUNG, labels=KARPENTER_NODE | {"karpenter.sh/initialized": "true"}),
            False,
            id="Karpenter has initialized it",
        ),
    ],
)
def test_a_young_node_that_is_still_initializing_is_arriving(node: Node, arriving: bool) -> None:
    assert is_arriving([node], a_shape(), NO_PIN, NOW, never) is arriving


@pytest.mark.parametrize("ready", [True, False])
def test_devices_of_a_node_that_is_initializing_may_still_come(ready: bool) -> None:
    shape = a_shape(other=(("nvidia.com/gpu", 1),))
    node = a_node(created_at=YOUNG, taints=[CILIUM], ready=ready)
    assert is_arriving([node], shape, NO_PIN, NOW, never)
    without = a_node(created_at=YOUNG, taints=[CILIUM], ready=ready, other=(("nvidia.com/gpu", 0),))
    assert not is_arriving([without], shape, NO_PIN, NOW, never)


@pytest.mark.parametrize(
    "label",
    [
        "cloud.google.com/gke-accelerator",
        "k8s.amazonaws.com/accelerator",
        "kubernetes.azure.com/accelerator",
        "accelerator",
        "nvidia.com/gpu.present",
    ],
)
def test_a_young_node_whose_labels_promise_gpus_is_arriving_until_it_lists_them(label: str) -> None:
    labels, shape = {label: "nvidia-l4"}, a_shape(other=(("nvidia.com/gpu", 1),))
    assert is_arriving([a_node(created_at=YOUNG, labels=labels)], shape, NO_PIN, NOW, never)
    assert not is_arriving([a_node(created_at=YOUNG)], shape, NO_PIN, NOW, never)
    assert not is_arriving([a_node(created_at=YOUNG, labels=labels)], a_shape(), NO_PIN, NOW, never)
    old = a_node(created_at=NOW - timedelta(minutes=16), labels=labels)
    assert not is_arriving([old], shape, NO_PIN, NOW, never)
    listed = a_node(created_at=YOUNG, labels=labels, other=(("nvidia.com/gpu", 1),))
    assert not is_arriving([listed], shape, NO_PIN, NOW, never)


@pytest.mark.parametrize(
    ("seconds", "arriving"), [(0, True), (14.9, True), (15, False), (600, False)]
)
@pytest.mark.parametrize("created_at", [YOUNG, LONG_AGO])
def test_the_scheduler_has_15_seconds_to_bind_pods_to_a_node_that_has_begun_to_take_them(
    created_at: datetime, seconds: float, arriving: bool
) -> None:
    opened = {"opened": NOW - timedelta(seconds=seconds)}
    nodes = [a_node("opened", created_at=created_at), a_node("other", created_at=created_at)]
    assert is_arriving(nodes, a_shape(), NO_PIN, NOW, opened.get) is arriving


def test_a_node_that_takes_pods_since_a_moment_ago_and_does_not_fit_is_not_arriving() -> None:
    shape = a_shape(other=(("nvidia.com/gpu", 1),))
    assert not is_arriving(
        [a_node(other=(("nvidia.com/gpu", 0),))], shape, NO_PIN, NOW, lambda name: NOW
    )
    assert not is_arriving([a_node(taints=[SPOT_TAINT])], shape, NO_PIN, NOW, lambda name: NOW)


def test_an_on_demand_node_with_a_startup_taint_could_hold_a_pod() -> None:
    assert could_hold([a_node(taints=[CILIUM])], a_shape(), NO_PIN)
    assert not could_hold([a_node(taints=[CILIUM, DEDICATED])], a_shape(), NO_PIN)
