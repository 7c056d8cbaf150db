"""On which capacity types a pod can run, given its constraints, the rules and the known nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotalis.model.classification import NodeClassification
from spotalis.model.nodes import KNOWN_TYPES, NodeType, ProviderGroup
from spotalis.model.objects import PodShape, Requirement
from spotalis.model.possible_types import COMPUTE_CLASS, NODE_POOL, KnownNode, selects_compute_class
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from tests.support.builders import ON_DEMAND, SPOT, UNKNOWN
from tests.unit.model.test_nodes import OWN_GROUPS, labels
from tests.unit.model.test_pinned_shapes import an, requires, selects

BUILT_IN = NodeClassification(BUILT_IN_GROUPS)
GROUPS = {group.name: group for group in (*BUILT_IN_GROUPS, *OWN_GROUPS)}
Term = tuple[Requirement, ...]

# -- the rules: brute force over labelled nodes --------------------------------------------------


def keys_of(group: ProviderGroup) -> set[str]:
    return {group.marker, *group.keys}


def values_of(groups: Sequence[ProviderGroup], key: str) -> list[str]:
    rules = [rule.requirement for group in groups for rule in group.rules]
    return sorted({v for r in rules if r.key == key for v in r.values} | {"", "std", "5"})


def labelled_nodes(groups: Sequence[ProviderGroup], term: Term) -> Iterator[dict[str, str]]:
    """Every combination of the labels of these groups that meets the requirements of a term."""
    keys = sorted({key for group in groups for key in keys_of(group)} | {r.key for r in term})
    values: list[list[str | None]] = []
    for key in keys:
        own = [r for r in term if r.key == key]
        named = [value for r in own for value in r.values]
        choices = (None, *dict.fromkeys([*values_of(groups, key), *named, "4", "6"]))
        values.append(
            [v for v in choices if all(r.matches({} if v is None else {key: v}) for r in own)]
        )
    for chosen in product(*values):
        yield {k: v for k, v in zip(keys, chosen, strict=True) if v is not None}


def expected_of(groups: Sequence[ProviderGroup], terms: Sequence[Term]) -> NodeType:
    """The one type of all nodes that match; a term that no node can match is ignored."""
    found: set[NodeType] = set()
    for term in terms:
        about = {r.key for r in term}
        mentioned = [group for group in groups if keys_of(group) & about]
        rules = NodeClassification(tuple(mentioned))
        types = {rules.classify(node) for node in labelled_nodes(mentioned, term)}
        found |= (types & KNOWN_TYPES or KNOWN_TYPES) if types else set()
    return found.pop() if len(found) == 1 else UNKNOWN


def requirements(groups: Sequence[ProviderGroup]) -> st.SearchStrategy[Requirement]:
    keys = sorted({key for group in groups for key in keys_of(group)})

    def about(key: str) -> st.SearchStrategy[Requirement]:
        values = st.lists(st.sampled_from(values_of(groups, key)), min_size=1, unique=True)
        named = st.builds(
            lambda operator, of: Requirement(key, operator, tuple(of)),
            st.sampled_from(("In", "NotIn")),
            values,
        )
        present = st.sampled_from(("Exists", "DoesNotExist")).map(lambda o: Requirement(key, o))
        compared = st.sampled_from(("Gt", "Lt")).map(lambda o: Requirement(key, o, ("5",)))
        return st.one_of(named, named, present, compared)

    return st.sampled_from(keys).flatmap(about)


def terms_about(groups: Sequence[ProviderGroup]) -> st.SearchStrategy[list[Term]]:
    term = st.lists(requirements(groups), min_size=1, max_size=3).map(tuple)
    return st.lists(term, min_size=1, max_size=3)


@pytest.mark.parametrize("name", list(GROUPS))
@given(data=st.data())
@settings(max_examples=40)  # for each of 24 groups
def test_the_rules_of_a_group_agree_with_brute_force(name: str, data: st.DataObject) -> None:
    groups = (GROUPS[name],)
    terms = data.draw(terms_about(groups))
    assert NodeClassification(groups).pinned_to(requires(*terms)) is expected_of(groups, terms)


SMALL = [group for group in GROUPS.values() if len(keys_of(group)) <= 2]


@given(groups=st.lists(st.sampled_from(SMALL), min_size=2, max_size=2, unique=True), data=st.data())
def test_the_rules_of_two_groups_agree_with_brute_force(
    groups: list[ProviderGroup], data: st.DataObject
) -> None:
    terms = data.draw(terms_about(groups))
    rules = NodeClassification(tuple(groups))
    assert rules.pinned_to(requires(*terms)) is expected_of(groups, terms)


@pytest.mark.parametrize("name", [group.name for group in BUILT_IN_GROUPS])
@pytest.mark.parametrize("node_type", [SPOT, ON_DEMAND])
def test_a_pod_that_names_the_marker_and_carries_a_pin_is_pinned(
    name: str, node_type: NodeType
) -> None:
    """``nodeSelector: {cloud.google.com/gke-nodepool: std}`` combined with the webhook's pin."""
    group = GROUPS[name]
    pin = BUILT_IN.pin(node_type, (group,))
    if pin is None or group.marker in group.keys:
        return
    shape = PodShape(
        node_selector=((group.marker, "std"), *pin.node_selector), node_terms=pin.terms
    )
    assert BUILT_IN.pinned_to(shape) is node_type


_KARPENTER = "karpenter.sh/capacity-type"
_GKE = "cloud.google.com/gke-nodepool"
_GKE_SPOT = "cloud.google.com/gke-spot"


@pytest.mark.parametrize(
    ("shape", "node_type"),
    [
        pytest.param(
            requires(
                (an(_KARPENTER, "In", "spot"), an(_KARPENTER, "NotIn", "spot")),
                (an(_KARPENTER, "In", "on-demand"),),
            ),
            ON_DEMAND,
            id="a contradictory alternative is ignored",
        ),
        pytest.param(
            requires((an("pool", "In", "a"), an("pool", "In", "b")), (an(_GKE_SPOT, "Exists"),)),
            UNKNOWN,
            id="a label that no rule mentions can contradict itself too",
        ),
        pytest.param(
            requires((an("p", "In", "a"), an("p", "In", "b")), (an(_KARPENTER, "In", "spot"),)),
            SPOT,
            id="and leaves the other alternative",
        ),
        pytest.param(
            requires((an(_GKE, "In", "std"), an(_GKE_SPOT, "DoesNotExist"),
                      an("cloud.google.com/gke-preemptible", "NotIn", "true"),
                      an("cloud.google.com/gke-provisioning", "In", "standard"))),
            ON_DEMAND,
            id="a value that no rule names",
        ),
        pytest.param(
            requires((an(_KARPENTER, "DoesNotExist"),)), UNKNOWN, id="nodes of another provider"
        ),
        pytest.param(
            requires((an(_KARPENTER, "In", "spot"),), (an(_KARPENTER, "DoesNotExist"),)),
            UNKNOWN,
            id="spot, or nodes of another provider",
        ),
    ],
)  # fmt: skip
def test_alternatives_are_judged_one_by_one(shape: PodShape, node_type: NodeType) -> None:
    assert BUILT_IN.pinned_to(shape) is node_type


# -- known nodes ---------------------------------------------------------------------------------


def nodes(*written: str) -> list[KnownNode]:
    """Nodes by their labels."""
    return [(labels(text), BUILT_IN.classify(labels(text))) for text in written]


def pools(key: str, *, spot: str = "cheap", on_demand: str = "std") -> list[KnownNode]:
    """Two spot and two on-demand nodes, whose label ``key`` tells them apart."""
    return nodes(
        *[f"{_KARPENTER}=spot {key}={spot}"] * 2, *[f"{_KARPENTER}=on-demand {key}={on_demand}"] * 2
    )


NAMES = [
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "kubernetes.io/hostname",
    "node.kubernetes.io/instance-type",
    "metadata.name",
    "example.com/pool",
]


@pytest.mark.parametrize("key", NAMES)
def test_a_name_whose_nodes_have_one_type_is_a_pin(key: str) -> None:
    assert BUILT_IN.pinned_to(selects(key, "std"), pools(key)) is ON_DEMAND
    assert BUILT_IN.pinned_to(selects(key, "cheap"), pools(key)) is SPOT
    assert BUILT_IN.pinned_to(requires((an(key, "NotIn", "std"),)), pools(key)) is SPOT
    either = requires((an(key, "In", "std", "cheap"),))
    assert BUILT_IN.pinned_to(either, pools(key)) is UNKNOWN
    two = requires((an(key, "In", "std"),), (an(key, "In", "cheap"),))
    assert BUILT_IN.pinned_to(two, pools(key)) is UNKNOWN
    assert BUILT_IN.pinned_to(selects(key, "new"), pools(key)) is UNKNOWN


@pytest.mark.parametrize("key", NAMES)
def test_during_a_spot_shortage_only_names_of_hosts_and_fixed_pools_are_pins(key: str) -> None:
    """An instance type, a NodePool or an own label may get spot nodes again."""
    only_on_demand = [one for one in pools(key) if one[1] is ON_DEMAND]
    fixed = key not in NAMES[5:6] and key not in ("karpenter.sh/nodepool", "example.com/pool")
    expected = ON_DEMAND if fixed else UNKNOWN
    assert BUILT_IN.pinned_to(selects(key, "std"), only_on_demand) is expected


@pytest.mark.parametrize(
    "key",
    [
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "topology.kubernetes.io/zone",
        "topology.ebs.csi.aws.com/zone",
        "karpenter.k8s.aws/instance-family",
    ],
)
def test_platform_place_and_hardware_name_no_nodes(key: str) -> None:
    assert BUILT_IN.pinned_to(selects(key, "std"), pools(key)) is UNKNOWN


def test_own_labels_of_karpenter_nodes_are_no_pin() -> None:
    """Karpenter may add nodes of the other type with the same labels."""
    team = nodes(
        f"{_KARPENTER}=spot karpenter.sh/nodepool=a example.com/team=a",
        f"{_KARPENTER}=on-demand karpenter.sh/nodepool=b example.com/team=b",
    )
    assert BUILT_IN.pinned_to(selects("example.com/team", "a"), team) is UNKNOWN
    assert BUILT_IN.pinned_to(selects("karpenter.sh/nodepool", "a"), team) is SPOT


def test_a_label_that_must_only_be_present_names_no_nodes() -> None:
    managed = requires((an("karpenter.sh/nodepool", "Exists"),))
    assert BUILT_IN.pinned_to(managed, pools("karpenter.sh/nodepool")) is UNKNOWN
    only_spot = nodes(f"{_KARPENTER}=spot karpenter.sh/nodepool=a", "lifecycle=normal")
    assert BUILT_IN.pinned_to(managed, only_spot) is UNKNOWN


def test_nodes_of_unknown_type_do_not_tell() -> None:
    kind = nodes("example.com/pool=std", f"{_KARPENTER}=spot")
    assert BUILT_IN.pinned_to(selects("example.com/pool", "std"), kind) is UNKNOWN


def test_the_rules_win_over_the_known_nodes() -> None:
    """A pod with the webhook's pin to spot counts as spot, although its pool is on-demand."""
    shape = PodShape(node_selector=((_GKE, "std"), (_GKE_SPOT, "true")))
    assert BUILT_IN.pinned_to(shape, nodes(f"{_GKE}=std", f"{_GKE}=cheap {_GKE_SPOT}=true")) is SPOT


_VALUES = ("a", "b", "c")
_KINDS = ("spot", "on-demand")


@given(
    pool_nodes=st.lists(
        st.tuples(st.sampled_from(_VALUES), st.sampled_from(("spot", "on-demand")))
    ),
    operator=st.sampled_from(("In", "NotIn")),
    values=st.lists(st.sampled_from(_VALUES), min_size=1, unique=True),
)
def test_a_name_is_a_pin_exactly_if_its_known_nodes_have_one_type(
    pool_nodes: Sequence[tuple[str, str]], operator: str, values: Sequence[str]
) -> None:
    known = nodes(*(f"{_KARPENTER}={kind} example.com/pool={pool}" for pool, kind in pool_nodes))
    named = {k for pool, k in pool_nodes if (pool in values) is (operator == "In")}
    all_types = {k for _, k in pool_nodes}
    expected = NodeType(named.pop()) if len(named) == 1 and len(all_types) == 2 else UNKNOWN
    shape = requires((an("example.com/pool", operator, *values),))
    assert BUILT_IN.pinned_to(shape, known) is expected


# -- NodePools of Karpenter ------------------------------------------------------------------------

_POOLS = [
    ("cheap", (an(_KARPENTER, "In", "spot"),)),
    ("both", (an(_KARPENTER, "In", "spot", "on-demand"),)),
    ("open", ()),
    ("safe", (an(_KARPENTER, "NotIn", "spot"),)),
]


@pytest.mark.parametrize(
    ("requirement", "node_type"),
    [
        (an(NODE_POOL, "In", "cheap"), SPOT),
        (an(NODE_POOL, "In", "safe"), ON_DEMAND),
        (an(NODE_POOL, "In", "both"), UNKNOWN),
        (an(NODE_POOL, "In", "open"), UNKNOWN),
        (an(NODE_POOL, "In", "cheap", "safe"), UNKNOWN),
        (an(NODE_POOL, "In", "cheap", "gone"), SPOT),
        (an(NODE_POOL, "Exists"), UNKNOWN),
        (an(NODE_POOL, "NotIn", "both", "open", "safe"), UNKNOWN),
    ],
)
def test_the_requirements_of_a_node_pool_win_over_its_present_nodes(
    requirement: Requirement, node_type: NodeType
) -> None:
    """All nodes of these NodePools have one type at present, and nodes of both types exist."""
    present = nodes(
        *(f"{_KARPENTER}=on-demand {NODE_POOL}={pool}" for pool, _ in _POOLS),
        f"{_KARPENTER}=spot {NODE_POOL}=another",
    )
    assert BUILT_IN.pinned_to(requires((requirement,)), present, _POOLS) is node_type
    only_cheap = requires((an(NODE_POOL, "Exists"),))
    assert BUILT_IN.pinned_to(only_cheap, present, _POOLS[:1]) is SPOT


def test_the_present_nodes_tell_if_the_node_pools_are_not_known() -> None:
    shape = selects(NODE_POOL, "std")
    assert BUILT_IN.pinned_to(shape, pools(NODE_POOL), ()) is ON_DEMAND
    assert BUILT_IN.pinned_to(shape, pools(NODE_POOL), _POOLS) is ON_DEMAND


# -- ComputeClasses of GKE -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "selects_class"),
    [
        pytest.param(PodShape(), False, id="nothing"),
        pytest.param(selects(COMPUTE_CLASS, "cheap"), True, id="selector"),
        pytest.param(selects(COMPUTE_CLASS, "Scale-Out"), True, id="a class of Autopilot"),
        pytest.param(requires((an(COMPUTE_CLASS, "In", "a", "b"),)), True, id="affinity"),
        pytest.param(requires((an(COMPUTE_CLASS, "Exists"),)), True, id="any class"),
        pytest.param(
            requires((an("zone", "In", "a"),), (an(COMPUTE_CLASS, "In", "a"),)),
            True,
            id="one alternative",
        ),
        pytest.param(requires((an(COMPUTE_CLASS, "NotIn", "a"),)), False, id="another class"),
        pytest.param(requires((an(COMPUTE_CLASS, "DoesNotExist"),)), False, id="no class"),
        pytest.param(selects(_GKE_SPOT, "true"), False, id="spot on Autopilot"),
        pytest.param(selects("karpenter.sh/nodepool", "a"), False, id="a NodePool"),
        pytest.param(
            selects("karpenter.azure.com/sku-family", "D"), False, id="AKS node auto provisioning"
        ),
    ],
)
def test_a_pod_that_selects_a_compute_class_is_recognized(
    shape: PodShape, selects_class: bool
) -> None:
    assert selects_compute_class(shape) is selects_class


def test_the_present_nodes_of_a_compute_class_are_no_pin() -> None:
    """A class that has only spot nodes now may get on-demand nodes next."""
    present = nodes(f"{_GKE}=nap {_GKE_SPOT}=true {COMPUTE_CLASS}=cheap", f"{_GKE}=std")
    assert BUILT_IN.pinned_to(selects(COMPUTE_CLASS, "cheap"), present) is UNKNOWN
    both = PodShape(node_selector=((COMPUTE_CLASS, "cheap"), (_GKE_SPOT, "true")))
    assert BUILT_IN.pinned_to(both, present) is SPOT
