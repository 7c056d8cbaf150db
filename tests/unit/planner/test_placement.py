"""Where a new pod goes."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.decision import Hold
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot, slot_type
from spotalis.planner.observed import Observed
from spotalis.planner.placement import NewPod, Placement, place
from spotalis.planner.reserved_slots import ReservedSlots
from tests.support.builders import (
    BOTH_KINDS,
    DEPLOYMENT,
    LONG_AGO,
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    UNKNOWN,
    a_replica,
    a_reservation,
    a_workload,
    decision_of,
    owner_of,
    reserved,
    with_replicas,
    with_workload,
)

REPLICA_SET = owner_of(DEPLOYMENT).uid
OTHER_SET = "api-54bd9c-uid"


def next_pod(observed: Observed) -> Placement:
    return place(observed, NewPod(owner=REPLICA_SET))


def ordinal(observed: Observed, number: int) -> Placement:
    return place(observed, NewPod(owner=owner_of(STATEFUL_SET).uid, name=f"api-{number}"))


def holding(*slots: tuple[int, NodeType], **changes: Any) -> Observed:
    """A Deployment of 10 at 70 % with floor 2: the slots 0, 1 and 6 are on-demand."""
    replicas = tuple(a_replica(name=f"p{k}", slot=k, node_type=t) for k, t in slots)
    return dataclasses.replace(a_workload(replicas=10, **changes), replicas=replicas)


def right(*slots: int) -> list[tuple[int, NodeType]]:
    return [(slot, slot_type(slot, 70, 2)) for slot in slots]


@pytest.mark.parametrize(
    ("held", "node_type", "slot"),
    [
        pytest.param(right(), ON_DEMAND, 0, id="the first"),
        pytest.param(right(0), ON_DEMAND, 1, id="the second, for the floor"),
        pytest.param(right(0, 1), SPOT, 2, id="the third"),
        pytest.param(right(*range(6)), ON_DEMAND, 6, id="the seventh"),
        pytest.param(right(*range(9)), SPOT, 9, id="the last"),
        pytest.param(right(0, 1, 2, 4, 5), SPOT, 3, id="the lowest free slot of its type"),
        pytest.param(right(0, 2, 3, 4, 5), ON_DEMAND, 1, id="the type that has too few"),
        pytest.param(
            [(0, SPOT), (1, SPOT), (2, SPOT), (3, SPOT)],
            ON_DEMAND,
            6,
            id="pods count for their node type, not for that of their slot",
        ),
        pytest.param(
            [(2, ON_DEMAND), *right(0, 1, 3)],
            SPOT,
            4,
            id="a fallback pod holds a spot slot and counts as on-demand",
        ),
    ],
)
def test_the_placement_of_a_deployments_next_pod(
    held: Sequence[tuple[int, NodeType]], node_type: NodeType, slot: int
) -> None:
    placement = next_pod(holding(*held))
    assert (placement.node_type, placement.slot, placement.rule) == (node_type, slot, "share")


def test_without_a_free_slot_of_its_type_a_pod_takes_the_lowest_free_slot() -> None:
    # At 100 % only slots 0 and 1 are on-demand, for the floor, and both are held by spot pods.
    slots = [(0, SPOT), (1, SPOT), (2, SPOT), (4, SPOT)]
    placement = next_pod(holding(*slots, percent=100))
    assert (placement.node_type, placement.slot) == (ON_DEMAND, 3)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"deleting_at": LONG_AGO}, id="terminating"),
        pytest.param({"phase": "Failed"}, id="failed"),
        pytest.param({"phase": "Succeeded"}, id="succeeded"),
        pytest.param({"on_terminating_node": True}, id="on a terminating node"),
        pytest.param({"counts_as_gone": True}, id="evicted a moment ago"),
    ],
)
def test_the_slot_of_a_terminating_pod_is_free(change: Mapping[str, Any]) -> None:
    observed = with_replicas(holding(*right(*range(10))), 1, **change)
    placement = next_pod(observed)
    assert (placement.node_type, placement.slot) == (ON_DEMAND, 1)


def test_a_pod_that_is_not_ready_holds_its_slot() -> None:
    observed = with_replicas(holding(*right(0, 1)), 1, ready=False, phase="Pending")
    assert next_pod(observed).slot == 2


def test_pods_of_unknown_type_are_subtracted_and_keep_their_slots() -> None:
    observed = holding((0, UNKNOWN), (1, ON_DEMAND))
    placement = next_pod(observed)
    # One replica has a known type: the next is the second, and on-demand for the floor.
    assert (placement.node_type, placement.slot) == (ON_DEMAND, 6)
    assert (placement.have_spot, placement.have_on_demand) == (0, 1)


def test_each_replicaset_is_split_by_itself() -> None:
    observed = with_replicas(
        a_workload(spot=7, on_demand=3), lambda r: True, owner=owner_of(STATEFUL_SET)
    )
    placement = next_pod(observed)
    assert (placement.node_type, placement.slot) == (ON_DEMAND, 0)
    assert (placement.have_spot, placement.have_on_demand) == (0, 0)


def test_a_pod_without_an_owner_does_not_count() -> None:
    assert next_pod(with_replicas(holding(*right(0)), 0, owner=None)).slot == 0


def test_reservations_hold_slots_until_their_pods_are_seen() -> None:
    reservations = reserved(a_reservation(0, ON_DEMAND), a_reservation(2, SPOT))
    observed = holding(*right(1), reservations=reservations)
    placement = next_pod(observed)
    assert (placement.node_type, placement.slot) == (SPOT, 3)
    assert (placement.have_on_demand, placement.have_spot, placement.reserved) == (2, 1, 2)
    assert (placement.want_on_demand, placement.want_spot) == (3, 7)


def test_reservations_of_another_replicaset_do_not_count() -> None:
    other = msgspec.structs.replace(a_reservation(0, ON_DEMAND), owner=OTHER_SET)
    placement = next_pod(holding(reservations=reserved(other)))
    assert (placement.slot, placement.reserved) == (0, 0)


@given(
    size=st.integers(0, 40),
    percent=st.integers(0, 100),
    floor=st.integers(0, 10),
    seen=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_a_deployments_pods_take_slots_in_order(
    size: int, percent: int, floor: int, seen: list[bool]
) -> None:
    observed = a_workload(replicas=size, percent=percent, floor=floor)
    taken: set[int] = set()
    on_spot = 0
    for number in range(size):
        placement = next_pod(observed)
        assert placement.slot not in taken
        taken.add(placement.slot)
        assert slot_type(placement.slot, percent, floor) is placement.node_type
        on_spot += placement.node_type is SPOT
        assert on_spot == desired_spot(number + 1, percent, floor)
        observed = admitted(observed, placement, number, seen=seen[number])
    assert taken == set(range(size))


def admitted(observed: Observed, placement: Placement, number: int, *, seen: bool) -> Observed:
    if not seen:
        slots = observed.reservations.get(REPLICA_SET, ReservedSlots())
        slots = slots.with_slot(placement.node_type, placement.slot)
        return dataclasses.replace(observed, reservations={REPLICA_SET: slots})
    born = a_replica(name=f"p{number}", slot=placement.slot, node_type=placement.node_type)
    return dataclasses.replace(observed, replicas=(*observed.replicas, born))


def without(observed: Observed, *numbers: int) -> Observed:
    gone = {f"api-{number}" for number in numbers}
    left = tuple(r for r in observed.replicas if r.pod.name not in gone)
    return dataclasses.replace(observed, replicas=left)


def a_set(**changes: Any) -> Observed:
    fields: dict[str, Any] = {"kind": STATEFUL_SET, "spot": 7, "on_demand": 3}
    return a_workload(**(fields | changes))


@pytest.mark.parametrize("number", range(10))
def test_a_recreated_ordinal_returns_to_its_type(number: int) -> None:
    placement = ordinal(without(a_set(), number), number)
    assert placement.node_type is slot_type(number, 70, 2)
    assert (placement.slot, placement.rule) == (number, "slot")


@pytest.mark.parametrize(
    ("observed", "number", "node_type", "rule"),
    [
        pytest.param(a_set(spot=0, on_demand=0, replicas=10), 9, SPOT, "slot", id="none is there"),
        pytest.param(
            without(a_set(spot=10, on_demand=0), 9), 9, ON_DEMAND, "share", id="spot is full"
        ),
        pytest.param(
            without(a_set(spot=0, on_demand=10), 0), 0, SPOT, "share", id="on-demand is full"
        ),
        pytest.param(
            without(a_set(spot=10, on_demand=0), 6), 6, ON_DEMAND, "slot", id="its own is short"
        ),
        pytest.param(
            with_replicas(without(a_set(spot=10, on_demand=0), 9), range(4), counts_as_gone=True),
            9,
            SPOT,
            "slot",
            id="a leaving pod does not count",
        ),
        pytest.param(
            with_replicas(without(a_set(), 9), [2], node_type=UNKNOWN),
            9,
            SPOT,
            "slot",
            id="a replica of unknown type does not matter with a smaller percentage",
        ),
        pytest.param(
            with_replicas(a_set(), [9], on_terminating_node=False),
            9,
            SPOT,
            "slot",
            id="its own predecessor, not seen to be gone, does not either",
        ),
        pytest.param(
            without(a_set(spot=2, on_demand=1), 2),
            2,
            ON_DEMAND,
            "share",
            id="a small set's share is small",
        ),
    ],
)
def test_an_ordinal_goes_to_the_type_whose_share_is_free(
    observed: Observed, number: int, node_type: NodeType, rule: str
) -> None:
    placement = ordinal(observed, number)
    assert (placement.node_type, placement.rule, placement.slot) == (node_type, rule, number)


@given(
    percent=st.integers(0, 100),
    floor=st.integers(0, 8),
    replicas=st.integers(0, 60),
    taken=st.lists(st.tuples(st.integers(0, 130), st.sampled_from([SPOT, ON_DEMAND])), max_size=25),
)
def test_a_pod_takes_the_lowest_free_slot_of_its_type_among_those_that_are_wanted(
    percent: int, floor: int, replicas: int, taken: list[tuple[int, NodeType]]
) -> None:
    slots = dict(taken)
    observed = dataclasses.replace(
        a_workload(replicas=replicas, percent=percent, floor=floor),
        replicas=tuple(
            a_replica(name=f"api-{slot}", slot=slot, node_type=node_type)
            for slot, node_type in slots.items()
        ),
    )
    placement = place(observed, NewPod(owner=owner_of(DEPLOYMENT).uid))
    highest = max(2 * len(slots), replicas) + 1
    free = [slot for slot in range(highest + 1) if slot not in slots]
    of_type = [slot for slot in free if slot_type(slot, percent, floor) is placement.node_type]
    assert placement.slot == (of_type or free)[0]


MAX_INT32 = 2**31 - 1
"""The largest ``spec.replicas`` that the API server accepts."""


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("percent", [0, 1, 70, 100])
def test_a_placement_takes_the_same_memory_for_any_number_of_desired_replicas(
    kind: str, percent: int
) -> None:
    def peak_bytes(replicas: int) -> int:
        observed = a_workload(kind=kind, replicas=replicas, spot=7, on_demand=3, percent=percent)
        name = "api-10" if kind == STATEFUL_SET else ""
        tracemalloc.start()
        try:
            place(observed, NewPod(owner=owner_of(kind).uid, name=name))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(MAX_INT32) < peak_bytes(11) + 4096


def test_reserved_ordinals_fill_their_share() -> None:
    observed = without(a_set(), 7, 8, 9)
    extra = reserved(*(a_reservation(k, SPOT, kind=STATEFUL_SET) for k in (7, 8)))
    full = with_replicas(observed, [0], node_type=SPOT)
    placement = ordinal(dataclasses.replace(full, reservations=extra), 9)
    assert (placement.node_type, placement.rule, placement.reserved) == (ON_DEMAND, "share", 2)


def test_several_reservations_for_one_pod_name_count_once() -> None:
    observed = without(a_set(), 8, 9)
    tries = reserved(
        *(
            a_reservation(8, SPOT, kind=STATEFUL_SET, request_uid=f"try-{number}")
            for number in range(5)
        )
    )
    placement = ordinal(dataclasses.replace(observed, reservations=tries), 9)
    assert (placement.node_type, placement.reserved) == (SPOT, 1)
    seen = dataclasses.replace(without(a_set(), 9), reservations=tries)
    assert ordinal(seen, 9).node_type is SPOT
    assert ordinal(seen, 9).reserved == 0


def test_a_pods_own_reservation_does_not_count() -> None:
    mine = reserved(a_reservation(9, SPOT, kind=STATEFUL_SET))
    placement = ordinal(dataclasses.replace(without(a_set(), 9), reservations=mine), 9)
    assert (placement.node_type, placement.reserved) == (SPOT, 0)


def test_an_ordinal_reveals_a_scale_up_that_no_watch_has_shown() -> None:
    placement = ordinal(a_set(spot=4, on_demand=2), 7)
    assert (placement.node_type, placement.rule) == (SPOT, "slot")


def test_ordinals_may_start_anywhere() -> None:
    observed = with_workload(a_set(spot=0, on_demand=0, replicas=10), first_ordinal=100)
    assert ordinal(observed, 100).slot == 0
    assert ordinal(observed, 100).node_type is ON_DEMAND
    assert ordinal(observed, 102).node_type is SPOT


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_the_planner_does_not_move_what_the_webhook_places(kind: str) -> None:
    for percent in range(0, 101, 3):
        for floor in (0, 1, 2, 5):
            observed = a_workload(kind=kind, replicas=0, percent=percent, floor=floor)
            for number in range(21):
                assert isinstance(decision_of(observed, NOW), Hold), (number, percent, floor)
                observed = grown(observed, kind)


def grown(observed: Observed, kind: str) -> Observed:
    """Return a copy with one more desired replica, placed and ready."""
    number = observed.workload.replicas
    wanted = with_workload(observed, replicas=number + 1, status_replicas=number + 1)
    wanted = with_workload(wanted, updated_replicas=number + 1)
    name = f"api-{number}"
    new = NewPod(owner=owner_of(kind).uid, name=name if kind == STATEFUL_SET else "")
    placement = place(wanted, new)
    born = a_replica(
        name=name, owner=owner_of(kind), slot=placement.slot, node_type=placement.node_type
    )
    return dataclasses.replace(wanted, replicas=(*wanted.replicas, born))


def test_a_pod_evicted_from_the_surplus_type_returns_on_the_other() -> None:
    for kind in BOTH_KINDS:
        for present in range(11):
            observed = a_workload(kind=kind, spot=present, on_demand=10 - present)
            surplus_type = observed.state.surplus_type
            if surplus_type is None:
                continue
            for position, replica in enumerate(observed.replicas):
                if replica.node_type is not surplus_type:
                    continue
                left = with_replicas(observed, position, counts_as_gone=True)
                name = replica.pod.name if kind == STATEFUL_SET else ""
                placement = place(left, NewPod(owner=owner_of(kind).uid, name=name))
                assert placement.node_type is surplus_type.other, (kind, present, position)
