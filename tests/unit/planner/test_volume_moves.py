"""Replicas with volumes move only where their volumes can be attached."""

from __future__ import annotations

import pytest

from spotalis.model.decision import Decision, Defer, Evict, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms, Requirement
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.observed import VolumeCapacity
from spotalis.planner.spot_knowledge import SpotView
from tests.support.builders import (
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_workload,
    decision_of,
    with_replicas,
)

PERCENTS = (0, 1, 10, 25, 33, 50, 60, 67, 70, 73, 75, 90, 99, 100)


def moved(decision: Decision) -> list[str]:
    assert isinstance(decision, Evict), decision
    return [move.pod.name for move in decision.moves]


def in_zone(zone: str) -> NodeTerms:
    return ((Requirement("topology.kubernetes.io/zone", "In", (zone,)),),)


FITS_ONE = VolumeCapacity(where="in a", free=1)
FITS_NONE = VolumeCapacity(where="in a")
NOWHERE = VolumeCapacity(where="in b", node_types={ON_DEMAND})


@pytest.mark.parametrize(
    ("in_zone_a", "spot_availability", "others", "moved_ordinals"),
    [
        pytest.param(FITS_ONE, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="one of them fits"),
        pytest.param(FITS_NONE, SpotAvailability.UNKNOWN, 2, [3, 1, 0], id="none fits: one probe"),
        pytest.param(
            NOWHERE, SpotAvailability.UNKNOWN, 2, [1, 0], id="no node can attach the volume"
        ),
        pytest.param(
            NOWHERE,
            SpotAvailability.UNKNOWN,
            0,
            [1],
            id="no node can attach the volume, not even for a probe",
        ),
        pytest.param(
            NOWHERE, SpotAvailability.AVAILABLE, 0, [1, 0], id="spot is available elsewhere only"
        ),
        pytest.param(
            VolumeCapacity(where="in a", has_provisioner=True),
            SpotAvailability.UNKNOWN,
            2,
            [3, 2, 1, 0],
            id="Karpenter adds nodes there",
        ),
    ],
)
def test_replicas_move_only_where_their_volumes_can_be_attached(
    in_zone_a: VolumeCapacity,
    spot_availability: SpotAvailability,
    others: int,
    moved_ordinals: list[int],
) -> None:
    """The volumes of api-2 and api-3 are in zone a. Outside it, ``others`` replicas fit."""
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=4,
        percent=100,
        floor=0,
        moves=4,
        free=others,
        by_volume={in_zone("a"): in_zone_a},
        spot_view=SpotView(availability=spot_availability),
    )
    decision = decision_of(with_replicas(observed, (2, 3), volume_affinity=in_zone("a")), NOW)
    assert moved(decision) == [f"api-{number}" for number in moved_ordinals]


def test_only_one_of_two_zones_is_probed_at_a_time() -> None:
    observed = a_workload(
        kind=STATEFUL_SET,
        on_demand=2,
        percent=100,
        floor=0,
        moves=2,
        free=0,
        by_volume={in_zone("a"): FITS_NONE, in_zone("b"): VolumeCapacity(where="in b")},
    )
    observed = with_replicas(observed, 0, volume_affinity=in_zone("a"))
    decision = decision_of(with_replicas(observed, 1, volume_affinity=in_zone("b")), NOW)
    assert isinstance(decision, Evict)
    assert [move.probe for move in decision.moves] == [True]


@pytest.mark.parametrize(
    ("target", "reason"),
    [(SPOT, Reason.NO_SPOT_CAPACITY), (ON_DEMAND, Reason.NO_ON_DEMAND_CAPACITY)],
)
def test_the_decision_says_that_no_node_can_attach_the_volume(
    target: NodeType, reason: Reason
) -> None:
    counts = {"spot" if target is ON_DEMAND else "on_demand": 2}
    observed = a_workload(
        **counts,  # type: ignore[arg-type]
        percent=100 if target is SPOT else 0,
        floor=0,
        free=9,
        by_volume={in_zone("b"): VolumeCapacity(where="in b", node_types={target.other}, free=9)},
    )
    decision = decision_of(with_replicas(observed, (0, 1), volume_affinity=in_zone("b")), NOW)
    assert isinstance(decision, Defer)
    assert decision.reason is reason
    assert decision.message.endswith(f"; no {target} node in b could hold the pod")
