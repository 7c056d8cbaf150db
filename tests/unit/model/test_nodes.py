"""Which node has which capacity type, and what pins a pod to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.classification import NodeClassification, Pin
from spotalis.model.nodes import NodeRule, NodeType, ProviderGroup
from spotalis.model.objects import PodShape, Requirement, Taint
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from tests.support.builders import ON_DEMAND, SPOT, UNKNOWN

BUILT_IN = NodeClassification(BUILT_IN_GROUPS)
GROUPS = {group.name: group for group in BUILT_IN_GROUPS}

Labels = Mapping[str, str]
Terms = tuple[tuple[Requirement, ...], ...]
ON_EVERY_NODE: Labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": "node-1"}


def labels(text: str) -> dict[str, str]:
    """``key=value`` pairs, as kubectl prints them."""
    return dict(ON_EVERY_NODE) | dict(pair.split("=", 1) for pair in text.split())


# The labels are those that the provider writes.
_GKE = "cloud.google.com/gke-nodepool=pool-1 cloud.google.com/gke-os-distribution=cos"
_PREEMPTIBLE = "cloud.google.com/gke-preemptible=true"
_AKS = "kubernetes.azure.com/cluster=rg kubernetes.azure.com/agentpool=pool1 agentpool=pool1"
_OKE = "oci.oraclecloud.com/fault-domain=FAULT-DOMAIN-1"
_OPENSHIFT = "node.openshift.io/os_id=rhcos node-role.kubernetes.io/worker="
_CAST = "provisioner.cast.ai/managed-by=cast.ai provisioner.cast.ai/node-id=7"
_NODES = [
    (
        "a Karpenter spot node",
        "karpenter.sh/capacity-type=spot karpenter.sh/nodepool=default",
        SPOT,
    ),
    ("a Karpenter on-demand node", "karpenter.sh/capacity-type=on-demand", ON_DEMAND),
    ("a Karpenter node from a reservation", "karpenter.sh/capacity-type=reserved", ON_DEMAND),
    ("a Karpenter node of an unknown capacity type", "karpenter.sh/capacity-type=lottery", UNKNOWN),
    ("a spot node of an EKS node group", "eks.amazonaws.com/capacityType=SPOT", SPOT),
    ("an on-demand node of an EKS group", "eks.amazonaws.com/capacityType=ON_DEMAND", ON_DEMAND),
    ("an EKS capacity block", "eks.amazonaws.com/capacityType=CAPACITY_BLOCK", ON_DEMAND),
    (
        "a GKE spot node",
        f"{_GKE} cloud.google.com/gke-spot=true cloud.google.com/gke-provisioning=spot",
        SPOT,
    ),
    (
        "a GKE spot node from before gke-provisioning",
        f"{_GKE} cloud.google.com/gke-spot=true",
        SPOT,
    ),
    (
        "a GKE preemptible node",
        f"{_GKE} cloud.google.com/gke-provisioning=preemptible {_PREEMPTIBLE}",
        SPOT,
    ),
    ("a GKE standard node", f"{_GKE} cloud.google.com/gke-provisioning=standard", ON_DEMAND),
    ("a GKE standard node without gke-provisioning", _GKE, ON_DEMAND),
    ("an AKS spot node", f"{_AKS} kubernetes.azure.com/scalesetpriority=spot", SPOT),
    ("an AKS spot node by the new key", f"{_AKS} kubernetes.azure.com/priority=spot", SPOT),
    ("an AKS regular node", _AKS, ON_DEMAND),
    (
        "an AKS regular node by the new key",
        f"{_AKS} kubernetes.azure.com/priority=regular",
        ON_DEMAND,
    ),
    ("an AKS node with the old pool label only", "agentpool=pool1", ON_DEMAND),
    (
        "an AKS spot node with the old pool label only",
        "agentpool=pool1 kubernetes.azure.com/scalesetpriority=spot",
        SPOT,
    ),
    (
        "an OpenShift spot machine",
        f"{_OPENSHIFT} machine.openshift.io/interruptible-instance=",
        SPOT,
    ),
    ("an OpenShift machine", _OPENSHIFT, ON_DEMAND),
    ("a Cluster API interruptible machine", "cluster.x-k8s.io/interruptible=", SPOT),
    ("an Ocean spot node", "spotinst.io/node-lifecycle=spot", SPOT),
    ("an Ocean on-demand node", "spotinst.io/node-lifecycle=od", ON_DEMAND),
    ("a CAST AI spot node", f"{_CAST} scheduling.cast.ai/spot=true", SPOT),
    (
        "a CAST AI on-demand node that stands in for spot",
        f"{_CAST} scheduling.cast.ai/spot=true scheduling.cast.ai/spot-fallback=true",
        ON_DEMAND,
    ),
    ("a CAST AI node", _CAST, ON_DEMAND),
    ("a CAST AI spot node on GKE", f"{_CAST} {_GKE} scheduling.cast.ai/spot=true", SPOT),
    ("an OKE preemptible node", f"{_OKE} oci.oraclecloud.com/oke-is-preemptible=true", SPOT),
    ("an OKE node", _OKE, ON_DEMAND),
    ("a node with a plain spot label", "node.kubernetes.io/lifecycle=spot", SPOT),
    ("a kOps spot node", "lifecycle=Ec2Spot", SPOT),
    ("a node with a plain label", "node.kubernetes.io/lifecycle=normal", ON_DEMAND),
    ("a bare capacity type", "capacity-type=on-demand", ON_DEMAND),
    ("a kind cluster's node", "", UNKNOWN),
    ("a spot label outside its provider", "scheduling.cast.ai/spot=true", UNKNOWN),
]


@pytest.mark.parametrize(
    ("written", "node_type"),
    [pytest.param(text, node_type, id=name) for name, text, node_type in _NODES],
)
def test_nodes_are_classified_by_the_labels_of_their_provider(
    written: str, node_type: NodeType
) -> None:
    assert BUILT_IN.classify(labels(written)) is node_type
    group = BUILT_IN.group_of(labels(written))
    assert (group is None) == (node_type is UNKNOWN)


def test_the_first_group_that_covers_a_node_decides() -> None:
    both = labels("karpenter.sh/capacity-type=spot eks.amazonaws.com/capacityType=ON_DEMAND")
    karpenter, eks = GROUPS["karpenter"], GROUPS["eks"]
    assert NodeClassification((karpenter, eks)).classify(both) is SPOT
    assert NodeClassification((eks, karpenter)).classify(both) is ON_DEMAND
    silent = labels("karpenter.sh/capacity-type=lottery eks.amazonaws.com/capacityType=ON_DEMAND")
    assert NodeClassification((karpenter, eks)).classify(silent) is ON_DEMAND


A, B = "example.com/a", "example.com/b"


def rule(node_type: NodeType, key: str, *values: str, absent: bool = False) -> NodeRule:
    operator = "In" if values else "DoesNotExist" if absent else "Exists"
    return NodeRule(node_type, Requirement(key=key, operator=operator, values=values))


def group(name: str, *rules: NodeRule, marker: str = A, otherwise: bool = False) -> ProviderGroup:
    return ProviderGroup(name=name, marker=marker, rules=rules, otherwise_on_demand=otherwise)


# Groups as a settings file may define them; each is difficult in another way.
OWN_GROUPS = (
    group("value before presence", rule(ON_DEMAND, A, "normal"), rule(SPOT, A)),
    group("presence before value", rule(SPOT, A), rule(ON_DEMAND, A, "normal")),
    group("shared values", rule(ON_DEMAND, A, "x", "y"), rule(SPOT, A, "y", "z")),
    group("absent is on-demand", rule(SPOT, B), rule(ON_DEMAND, B, absent=True)),
    group("absent is spot", rule(SPOT, B, absent=True), rule(ON_DEMAND, B)),
    group("absent before value", rule(ON_DEMAND, B, absent=True), rule(SPOT, B, "cheap")),
    group("no on-demand", rule(SPOT, B, "cheap")),
    group("otherwise", rule(SPOT, B, "cheap"), otherwise=True),
    group("twice", rule(SPOT, A, "x"), rule(ON_DEMAND, B), rule(SPOT, A, "y"), otherwise=True),
)


def nodes_of(group: ProviderGroup) -> list[dict[str, str]]:
    """One node per combination of relevant label values, and one outside the group."""
    values: dict[str, list[str | None]] = {key: [None, "", "else"] for key in sorted(group.keys)}
    for one in group.rules:
        values[one.requirement.key] += one.requirement.values
    found = []
    for chosen in product(*values.values()):
        node = {k: v for k, v in zip(values, chosen, strict=True) if v is not None}
        found.append({group.marker: "pool-1"} | node)
    return [{}, *found]


def merged(nodes: Iterable[Labels]) -> dict[str, str]:
    return {key: value for node in nodes for key, value in node.items()}


def accepts(pin: Pin, node: Labels) -> bool:
    """The rule of the scheduler: all of the selector, and one of the terms."""
    if any(node.get(key) != value for key, value in pin.node_selector):
        return False
    return not pin.terms or any(all(r.matches(node) for r in term) for term in pin.terms)


def groups_in_use(
    rules: NodeClassification, nodes: list[dict[str, str]]
) -> tuple[ProviderGroup, ...]:
    found = [rules.group_of(node) for node in nodes]
    return tuple(group for group in rules.groups if group in found)


def shape_of(pin: Pin) -> PodShape:
    return PodShape(node_selector=pin.node_selector, node_terms=pin.terms)


def assert_pins_are_exact(groups: tuple[ProviderGroup, ...], nodes: list[dict[str, str]]) -> None:
    rules = NodeClassification(groups)
    in_use = groups_in_use(rules, nodes)
    for node_type in (SPOT, ON_DEMAND):
        pin = rules.pin(node_type, in_use)
        for node in nodes:
            expected = rules.classify(node) is node_type
            accepted = pin is not None and accepts(pin, node)
            assert accepted == expected, (node, node_type, pin)
        if pin is not None:
            assert rules.pinned_to(shape_of(pin)) is node_type


@pytest.mark.parametrize("name", list(GROUPS))
def test_the_pin_of_a_built_in_group_matches_exactly_the_nodes_of_its_type(name: str) -> None:
    assert_pins_are_exact((GROUPS[name],), nodes_of(GROUPS[name]))


@pytest.mark.parametrize("own", OWN_GROUPS, ids=lambda own: own.name)
def test_the_pin_of_a_group_from_the_settings_matches_exactly_the_nodes_of_its_type(
    own: ProviderGroup,
) -> None:
    assert_pins_are_exact((own,), nodes_of(own))


@pytest.mark.parametrize(
    ("one", "other"), list(combinations(GROUPS, 2)), ids=lambda name: str(name).replace("/", "-")
)
def test_the_pin_of_two_groups_matches_exactly_the_nodes_of_its_type(one: str, other: str) -> None:
    first, second = GROUPS[one], GROUPS[other]
    nodes = [merged(both) for both in product(nodes_of(first), nodes_of(second))]
    assert_pins_are_exact((first, second), nodes)


@given(
    groups=st.lists(
        st.sampled_from((*BUILT_IN_GROUPS, *OWN_GROUPS)), min_size=1, max_size=4, unique=True
    ),
    data=st.data(),
)
def test_the_pin_of_any_groups_matches_exactly_the_nodes_of_its_type(
    groups: list[ProviderGroup], data: st.DataObject
) -> None:
    a_node = st.tuples(*(st.sampled_from(nodes_of(one)) for one in groups)).map(merged)
    nodes = data.draw(st.lists(a_node, min_size=1, max_size=30))
    rules = NodeClassification(tuple(groups))
    in_use = groups_in_use(rules, nodes)
    for node_type in (SPOT, ON_DEMAND):
        pin = rules.pin(node_type, in_use)
        for node in nodes:
            expected = rules.classify(node) is node_type
            assert (pin is not None and accepts(pin, node)) == expected, (node, node_type, pin)


def test_one_key_with_one_value_is_a_node_selector() -> None:
    karpenter = (GROUPS["karpenter"],)
    spot, on_demand = (BUILT_IN.pin(node_type, karpenter) for node_type in (SPOT, ON_DEMAND))
    assert spot == Pin(node_selector=(("karpenter.sh/capacity-type", "spot"),))
    assert on_demand is not None
    assert on_demand.node_selector == ()
    (term,) = on_demand.terms
    assert term == (Requirement("karpenter.sh/capacity-type", "In", ("on-demand", "reserved")),)


def test_without_groups_there_are_no_pins() -> None:
    assert BUILT_IN.pin(SPOT, ()) is None
    assert BUILT_IN.pin(ON_DEMAND, ()) is None
    # If only spot nodes can be recognized, a pod cannot be pinned to on-demand.
    assert BUILT_IN.pin(ON_DEMAND, (GROUPS["cluster-api"],)) is None


_SPOT_TAINTS = {
    "castai": Taint(key="scheduling.cast.ai/spot", value="true", effect="NoSchedule"),
    "gke": Taint(key="cloud.google.com/gke-spot", value="true", effect="NoSchedule"),
    "aks": Taint(key="kubernetes.azure.com/scalesetpriority", value="spot", effect="NoSchedule"),
    "aks-old": Taint(
        key="kubernetes.azure.com/scalesetpriority", value="spot", effect="NoSchedule"
    ),
    "oke": Taint(
        key="oci.oraclecloud.com/oke-is-preemptible", value="present", effect="NoSchedule"
    ),
}


@pytest.mark.parametrize("name", list(GROUPS))
def test_only_pins_to_spot_tolerate_the_taint_of_the_provider(name: str) -> None:
    spot = BUILT_IN.pin(SPOT, (GROUPS[name],))
    on_demand = BUILT_IN.pin(ON_DEMAND, (GROUPS[name],))
    assert spot is not None
    assert on_demand is None or on_demand.tolerations == ()
    taint = _SPOT_TAINTS.get(name)
    assert any(t.tolerates(taint) for t in spot.tolerations) if taint else not spot.tolerations
    foreign = Taint(key="team", value="a", effect="NoSchedule")
    assert not any(t.tolerates(foreign) for t in spot.tolerations)


def test_tolerations_from_the_settings_come_with_a_pin_to_spot_once() -> None:
    own = GROUPS["gke"].spot_tolerations[0]
    rules = NodeClassification(BUILT_IN_GROUPS, extra_spot_tolerations=(own,))
    spot = rules.pin(SPOT, (GROUPS["gke"],))
    on_demand = rules.pin(ON_DEMAND, (GROUPS["gke"],))
    assert spot is not None
    assert on_demand is not None
    assert spot.tolerations.count(own) == 1
    assert on_demand.tolerations == ()


NODE_TYPE = "karpenter.sh/capacity-type"
UNDEFINED_OK = ("NotIn", "DoesNotExist")
"""Karpenter rejects any other requirement about a label that the NodePool does not define."""


def finds_node_pool(terms: Terms, preferences: int, node_type: NodeType) -> bool:
    """Whether Karpenter launches a node of a type, by its rules for required terms.

    It tries the first term together with the preferences, of which none can be met here. Without
    success it drops a term; if only one is left, it drops a preference.
    """
    while True:
        node = {NODE_TYPE: str(node_type)}
        possible = all(
            r.matches(node) if r.key in node else r.operator in UNDEFINED_OK for r in terms[0]
        )
        if possible and not preferences:
            return True
        if len(terms) > 1:
            terms = terms[1:]
        elif preferences:
            preferences -= 1
        else:
            return False


@pytest.mark.parametrize("node_type", [SPOT, ON_DEMAND])
@pytest.mark.parametrize("preferences", [0, 1, 2])
@pytest.mark.parametrize(
    "other",
    [*(g for g in BUILT_IN_GROUPS if g.name != "karpenter"), *OWN_GROUPS],
    ids=lambda g: g.name,
)
def test_karpenter_finds_its_term_whatever_the_pod_prefers(
    other: ProviderGroup, preferences: int, node_type: NodeType
) -> None:
    """The term of the group without nodes must survive until the preferences are dropped."""
    karpenter = GROUPS["karpenter"]
    for groups in ((other, karpenter), (karpenter, other)):
        pin = NodeClassification(groups).pin(node_type, groups)
        assert pin is not None
        terms = pin.terms or (tuple(Requirement(k, "In", (v,)) for k, v in pin.node_selector),)
        assert finds_node_pool(terms, preferences, node_type)


def test_no_pin_mentions_a_label_that_karpenter_on_aks_rejects() -> None:
    """Karpenter ignores a pod if any of its terms mentions a restricted label."""
    in_use = (GROUPS["karpenter"], GROUPS["aks"])
    for node_type in (SPOT, ON_DEMAND):
        pin = BUILT_IN.pin(node_type, in_use)
        assert pin is not None
        keys = {requirement.key for term in pin.terms for requirement in term}
        assert not keys & {"agentpool", "kubernetes.azure.com/agentpool"}
