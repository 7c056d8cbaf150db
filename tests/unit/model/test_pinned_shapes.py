"""On which capacity type a pod may run by its own constraints, and which groups are in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.classification import NodeClassification
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PodShape, Requirement
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from tests.support.builders import ON_DEMAND, SPOT, UNKNOWN

BUILT_IN = NodeClassification(BUILT_IN_GROUPS)
_KARPENTER = "karpenter.sh/capacity-type"


def selects(key: str, value: str) -> PodShape:
    return PodShape(node_selector=((key, value),))


def requires(*terms: tuple[Requirement, ...]) -> PodShape:
    return PodShape(node_terms=terms)


def an(key: str, operator: str, *values: str) -> Requirement:
    return Requirement(key=key, operator=operator, values=values)


@pytest.mark.parametrize(
    ("shape", "node_type"),
    [
        pytest.param(PodShape(), UNKNOWN, id="selects nothing"),
        pytest.param(selects(_KARPENTER, "on-demand"), ON_DEMAND, id="selects on-demand"),
        pytest.param(selects(_KARPENTER, "reserved"), ON_DEMAND, id="selects reserved"),
        pytest.param(selects(_KARPENTER, "spot"), SPOT, id="selects spot"),
        pytest.param(selects("kubernetes.io/arch", "arm64"), UNKNOWN, id="selects something else"),
        pytest.param(selects("cloud.google.com/gke-spot", "true"), SPOT, id="selects GKE spot"),
        pytest.param(
            selects("cloud.google.com/gke-nodepool", "pool-1"), UNKNOWN, id="selects a GKE pool"
        ),
        pytest.param(
            requires((an(_KARPENTER, "NotIn", "spot"),)), ON_DEMAND, id="requires not spot"
        ),
        pytest.param(
            requires((an(_KARPENTER, "NotIn", "on-demand", "reserved"),)),
            SPOT,
            id="only spot remains",
        ),
        pytest.param(
            requires((an(_KARPENTER, "NotIn", "on-demand"),)), UNKNOWN, id="reserved remains too"
        ),
        pytest.param(
            requires((an(_KARPENTER, "In", "spot", "on-demand"),)), UNKNOWN, id="allows both"
        ),
        pytest.param(
            requires((an(_KARPENTER, "Exists"),)), UNKNOWN, id="requires a Karpenter node"
        ),
        pytest.param(
            requires((an(_KARPENTER, "In", "lottery"),)), UNKNOWN, id="requires an unknown value"
        ),
        pytest.param(
            requires((an(_KARPENTER, "In", "spot"),), (an(_KARPENTER, "In", "on-demand"),)),
            UNKNOWN,
            id="one term for each type",
        ),
        pytest.param(
            requires((an(_KARPENTER, "In", "spot"),), (an("zone", "In", "a"),)),
            UNKNOWN,
            id="one term does not restrict the type",
        ),
        pytest.param(
            requires(
                (an(_KARPENTER, "In", "spot"), an("zone", "In", "a")),
                (an("eks.amazonaws.com/capacityType", "In", "SPOT"),),
            ),
            SPOT,
            id="two providers, one type",
        ),
        pytest.param(
            requires((an("cloud.google.com/gke-provisioning", "In", "spot"),)), SPOT, id="GKE spot"
        ),
        pytest.param(
            requires((an("kubernetes.azure.com/scalesetpriority", "In", "spot"),)),
            SPOT,
            id="AKS spot",
        ),
        pytest.param(
            requires((an("oci.oraclecloud.com/oke-is-preemptible", "DoesNotExist"),)),
            ON_DEMAND,
            id="not preemptible on OKE",
        ),
        pytest.param(
            PodShape(
                node_selector=((_KARPENTER, "spot"),),
                node_terms=((an(_KARPENTER, "NotIn", "spot"),),),
            ),
            UNKNOWN,
            id="contradicts itself",
        ),
    ],
)
def test_a_shape_is_pinned_if_all_alternatives_lead_to_one_type(
    shape: PodShape, node_type: NodeType
) -> None:
    assert BUILT_IN.pinned_to(shape) is node_type


@given(
    requirements=st.lists(
        st.builds(
            lambda operator, values: Requirement(
                _KARPENTER, operator, tuple(values) if operator in ("In", "NotIn") else ()
            ),
            st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
            st.lists(
                st.sampled_from(("spot", "on-demand", "reserved", "lottery")),
                min_size=1,
                unique=True,
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_pinned_pod_cannot_run_on_nodes_of_the_other_type(
    requirements: list[Requirement],
) -> None:
    pinned = BUILT_IN.pinned_to(requires(tuple(requirements)))
    allowed = {
        BUILT_IN.classify({_KARPENTER: value})
        for value in ("spot", "on-demand", "reserved", "lottery")
        if all(r.matches({_KARPENTER: value}) for r in requirements)
    } - {UNKNOWN}
    assert pinned is (allowed.pop() if len(allowed) == 1 else UNKNOWN)


def test_the_other_type() -> None:
    assert SPOT.other is ON_DEMAND
    assert ON_DEMAND.other is SPOT
    assert UNKNOWN.other is UNKNOWN


# -- groups in use, and the order of the terms ---------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "served", "remembered", "names"),
    [
        pytest.param((), {}, (), [], id="nothing is known"),
        pytest.param(("eks",), {}, (), ["eks"], id="by a node"),
        pytest.param((), {"karpenter.sh": True}, (), ["karpenter"], id="by its API"),
        pytest.param((), {"karpenter.sh": False}, (), [], id="the API is not served"),
        pytest.param((), {}, ("karpenter", "eks"), ["karpenter", "eks"], id="by memory"),
        pytest.param(
            (), {"karpenter.sh": False}, ("karpenter", "eks"), ["eks"], id="the API was removed"
        ),
        pytest.param(
            ("karpenter",), {"karpenter.sh": False}, (), ["karpenter"], id="only its nodes are left"
        ),
        pytest.param(
            ("eks",), {"karpenter.sh": True}, (), ["karpenter", "eks"], id="a node and an API"
        ),
        pytest.param((), {}, ("unknown",), [], id="a group of other settings is remembered"),
    ],
)
def test_a_group_is_in_use_by_node_by_api_or_by_memory(
    seen: tuple[str, ...], served: dict[str, bool], remembered: tuple[str, ...], names: list[str]
) -> None:
    found = BUILT_IN.in_use(set(seen), served, set(remembered))
    assert [group.name for group in found] == names


def test_a_group_that_the_settings_name_is_always_in_use() -> None:
    rules = NodeClassification(BUILT_IN_GROUPS, named=frozenset({"karpenter", "ocean"}))
    found = rules.in_use(set(), {"karpenter.sh": False}, set())
    assert [group.name for group in found] == ["ocean", "karpenter"]


Terms = tuple[tuple[Requirement, ...], ...]
