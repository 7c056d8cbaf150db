"""What the nodes offer to a workload's replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.classification import NodeClassification, Pin
from spotalis.model.nodes import NodeType
from spotalis.model.objects import (
    HostPort,
    Node,
    Pod,
    PodShape,
    Requirement,
    Taint,
    Toleration,
)
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from spotalis.planner.anti_affinity import AvoidingPods
from spotalis.planner.free_capacity import FreeCapacity
from spotalis.planner.observed import Observed, SpotCapacity, WorkloadState
from spotalis.planner.spot_capacity import next_pod_shape, spot_capacity
from tests.support.builders import (
    LONG_AGO,
    NOW,
    ON_DEMAND,
    SPOT,
    UNKNOWN,
    a_node,
    a_pod,
    a_selector,
    a_shape,
    a_workload,
    is_spot,
    with_replicas,
    with_workload,
)
from tests.support.free_capacity import free_after
from tests.unit.planner.ledgers import EXHAUSTED

CLASSIFICATION = NodeClassification(BUILT_IN_GROUPS)
IN_ZONE_A = ((Requirement("topology.kubernetes.io/zone", "In", ("a",)),),)


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Implements ``NodesView`` on values."""

    spot: Sequence[Node] = ()
    on_demand: Sequence[Node] = ()
    coming: Sequence[PodShape] = ()
    pinned: bool = True
    shows_all_pods: bool = True
    avoiding: Sequence[AvoidingPods] = ()
    has_provisioner: bool = False

    def all(self) -> Iterable[Node]:
        return [*self.spot, *self.on_demand]

    def of_type(self, node_type: NodeType) -> Sequence[Node]:
        return self.spot if node_type is SPOT else self.on_demand

    def opened_at(self, name: str) -> datetime | None:
        return None

    def pin(self, node_type: NodeType) -> Pin | None:
        return Pin() if self.pinned else None

    def pinned_to(self, shape: PodShape) -> NodeType:
        return dict(shape.node_selector).get("only", UNKNOWN)  # type: ignore[return-value]

    def without_pins(self, shape: PodShape) -> PodShape:
        return CLASSIFICATION.without_pins(shape)

    def free_capacity(self) -> FreeCapacity:
        return free_after(self.spot, self.coming)

    def spot_pods_since(self, since: datetime) -> int:
        return sum(node.created_at is not None and node.created_at >= since for node in self.spot)

    def pods_in(self, namespace: str) -> Iterable[tuple[Pod, Node]]:
        return ()

    def pods_avoiding(self, namespace: str) -> Sequence[AvoidingPods]:
        return self.avoiding

    def find(self, name: str) -> Node | None:
        return next((node for node in self.all() if node.name == name), None)

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        return {}


def capacity(state: WorkloadState, **nodes: Any) -> SpotCapacity:
    view = Nodes(**nodes)
    shape = next_pod_shape(state.workload, [r.pod for r in state.replicas], view.without_pins)
    return spot_capacity(state, shape, view, NOW)


def to_spot(**shape: Any) -> Observed:
    """Ten replicas of half a CPU on on-demand, seven of which are to move."""
    shaped = with_replicas(a_workload(on_demand=10), range(10), shape=a_shape(**shape))
    return with_workload(shaped, shape=a_shape(**shape))


def in_zone(zone: str, name: str = "node", **changes: Any) -> Node:
    return a_node(name, labels={"topology.kubernetes.io/zone": zone}, **changes)


def test_free_capacity_is_counted_up_to_the_surplus() -> None:
    assert capacity(to_spot(), spot=[a_node(cpu_millis=1000)]).free == 2
    assert capacity(to_spot(), spot=[a_node(cpu_millis=9000)]).free == 7


def test_pods_without_a_node_take_free_capacity_first() -> None:
    node = a_node(cpu_millis=1000)
    assert capacity(to_spot(), spot=[node], coming=[a_shape()]).free == 1


def test_free_capacity_is_not_counted_if_no_replica_moves_to_spot() -> None:
    assert capacity(a_workload(spot=10), spot=[a_node()]).free is None


def test_without_a_provider_group_nothing_is_counted() -> None:
    assert capacity(to_spot(), spot=[a_node()], pinned=False) == SpotCapacity()


def test_free_capacity_is_unknown_if_not_all_pods_are_watched() -> None:
    found = capacity(to_spot(), spot=[a_node()], shows_all_pods=False)
    assert (found.free, found.is_known) == (0, False)


def test_a_provisioner_means_that_nodes_are_added() -> None:
    assert capacity(to_spot(), has_provisioner=True).has_provisioner
    assert not capacity(to_spot()).has_provisioner


def waiting() -> WorkloadState:
    observed = a_workload(spot=7, on_demand=3)
    return with_replicas(observed, is_spot, node="", ready=False, unschedulable=True)


TINY = a_node(pods=0, memory_bytes=-1)


def test_a_starting_spot_node_counts_for_replicas_that_wait() -> None:
    starting = a_node(ready=False, created_at=NOW)
    assert capacity(waiting(), spot=[starting]).node_arriving
    assert not capacity(waiting()).node_arriving


def test_an_on_demand_node_is_possible_unless_the_template_allows_spot_only() -> None:
    """On-demand nodes that could not hold a pod prove nothing: node pools scale from zero."""
    assert capacity(waiting(), on_demand=[TINY]).on_demand_possible
    spot_only = with_workload(waiting(), shape=a_shape(node_selector=(("only", SPOT),)))  # type: ignore[arg-type]
    assert not capacity(spot_only, on_demand=[a_node()]).on_demand_possible


def test_ready_replicas_need_an_on_demand_node_that_could_hold_them_or_karpenter() -> None:
    to_on_demand = a_workload(spot=10)
    assert capacity(to_on_demand, on_demand=[a_node(cordoned=True)]).on_demand_could_hold
    assert not capacity(to_on_demand, on_demand=[TINY]).on_demand_could_hold
    assert capacity(to_on_demand, on_demand=[]).on_demand_could_hold
    assert capacity(to_on_demand, has_provisioner=True, on_demand=[TINY]).on_demand_could_hold
    assert capacity(to_spot(), on_demand=[TINY]).on_demand_could_hold


def test_volumes_restrict_capacity_to_the_nodes_that_can_attach_them() -> None:
    state = with_replicas(
        a_workload(on_demand=2, percent=100, floor=0), 0, volume_affinity=IN_ZONE_A
    )
    found = capacity(state, spot=[in_zone("b")], on_demand=[in_zone("a", "other")])
    (in_a,) = found.by_volume.values()
    assert in_a.node_types == {ON_DEMAND}
    assert in_a.where == "that can attach its volume (zone a)"
    assert (in_a.free, found.free) == (0, 1)


def test_the_next_pod_has_the_resources_of_the_newest_one() -> None:
    workload = with_workload(a_workload(), shape=a_shape(cpu_millis=500)).workload
    old = a_pod("old", created_at=LONG_AGO, shape=a_shape(cpu_millis=100))
    new = a_pod("new", created_at=NOW, shape=a_shape(cpu_millis=900))
    assert next_pod_shape(workload, [old, new]).cpu_millis == 900
    assert next_pod_shape(workload, []).cpu_millis == 500


def exhausted(**shape: Any) -> WorkloadState:
    return dataclasses.replace(to_spot(**shape), spot_view=EXHAUSTED)


SINCE_EXHAUSTED = NOW - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("node", "joined"),
    [
        pytest.param({}, True, id="fits"),
        pytest.param({"cordoned": True}, True, id="cordoned or full"),
        pytest.param({"created_at": LONG_AGO}, False, id="was there before"),
        pytest.param({"cpu_millis": 400}, False, id="too small"),
        pytest.param({"ready": False}, False, id="not ready"),
        pytest.param({"taints": [Taint("team", "a", "NoSchedule")]}, False, id="of another team"),
    ],
)
def test_a_spot_node_that_joins_while_spot_is_exhausted_is_evidence_if_a_replica_fits(
    node: Mapping[str, Any], joined: bool
) -> None:
    found = capacity(exhausted(), spot=[a_node(**{"created_at": SINCE_EXHAUSTED} | dict(node))])
    assert found.node_joined_at == (SINCE_EXHAUSTED if joined else None)


def test_nodes_are_no_evidence_unless_spot_is_exhausted() -> None:
    found = capacity(to_spot(), spot=[a_node(created_at=SINCE_EXHAUSTED)])
    assert (found.node_joined_at, found.recent_pods) == (None, 0)


def test_pods_on_nodes_of_the_last_10_minutes_are_counted() -> None:
    nodes = [a_node(created_at=NOW - timedelta(minutes=minutes)) for minutes in (9, 10, 11)]
    found = capacity(exhausted(), spot=nodes)
    assert found.evidence == "2 pods got spot nodes in the last 10 minutes"


CAPACITY_TYPE, ZONE = "karpenter.sh/capacity-type", "topology.kubernetes.io/zone"


def test_the_next_pod_has_the_selectors_and_tolerations_that_admission_adds() -> None:
    """By a RuntimeClass, or by a node selector of the namespace; what pins add is left out."""
    gpu = Toleration("gpu", "Exists")
    workload = with_workload(a_workload(), shape=a_shape(node_selector=(("own", "1"),))).workload
    admitted = a_shape(
        node_selector=((CAPACITY_TYPE, "on-demand"), ("own", "1"), ("runtime", "kata")),
        tolerations=(gpu,),
        host_ports=(HostPort(80),),
    )
    shape = next_pod_shape(workload, [a_pod(shape=admitted)], CLASSIFICATION.without_pins)
    assert shape.node_selector == (("own", "1"), ("runtime", "kata"))
    assert (shape.tolerations, shape.host_ports) == ((gpu,), (HostPort(80),))


def test_the_next_pod_has_the_affinity_of_the_newest_one_without_the_pin() -> None:
    on_demand = Requirement(CAPACITY_TYPE, "In", ("on-demand",))
    unmarked = Requirement("cloud.google.com/gke-nodepool", "DoesNotExist")
    in_a, in_b = (Requirement(ZONE, "In", (zone,)) for zone in "ab")
    workload = a_workload().workload

    def terms(*node_terms: tuple[Requirement, ...]) -> object:
        pod = a_pod(shape=a_shape(node_terms=node_terms))
        return next_pod_shape(workload, [pod], CLASSIFICATION.without_pins).node_terms

    assert terms((in_a, on_demand), (in_a, unmarked), (in_b, on_demand)) == ((in_a,), (in_b,))
    assert terms((on_demand,), (in_a, unmarked)) == ()


def test_a_selector_that_admission_adds_limits_the_free_capacity() -> None:
    state = with_replicas(
        a_workload(on_demand=10), range(10), shape=a_shape(node_selector=(("runtime", "kata"),))
    )
    plain, kata = a_node("plain"), a_node("kata", labels={"runtime": "kata"}, cpu_millis=1000)
    assert capacity(state, spot=[plain, kata]).free == 2


def test_pods_that_keep_these_away_limit_the_free_capacity() -> None:
    nodes = [in_zone("a", "one"), in_zone("b", "two", cpu_millis=1000)]
    term = AntiAffinityTerm(ZONE, a_selector({"app": "api"}))
    lonely = AvoidingPods(namespace="shop", terms=(term,), nodes={"uid-lonely": "one"})
    state = with_workload(to_spot(), template_labels={"app": "api"})
    assert capacity(state, spot=nodes, avoiding=[lonely]).free == 2


def test_constraints_that_cannot_be_judged_leave_no_free_capacity() -> None:
    found = capacity(to_spot(unjudged="resource claims"), spot=[a_node()])
    assert (found.free, found.unjudged) == (0, "resource claims")
    assert capacity(to_spot(), spot=[a_node()]).unjudged == ""


def test_what_would_take_too_many_comparisons_leaves_no_free_capacity() -> None:
    far = tuple((Requirement(ZONE, "In", (f"other-{n}",)),) for n in range(100))
    nodes = [in_zone(f"zone-{n}", f"node-{n}") for n in range(1_000)]
    assert capacity(to_spot(node_terms=far[:3]), spot=nodes, on_demand=nodes).free == 0
    here = (*far, (Requirement(ZONE, "In", ("zone-1",)),))
    assert capacity(to_spot(node_terms=here[-1:]), spot=nodes).free == 7
    assert capacity(to_spot(node_terms=here), spot=nodes).free == 0
