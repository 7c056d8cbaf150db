"""Reservations of pods that were admitted and that no watch has shown yet."""

from __future__ import annotations

import gc

import pytest

from spotalis.controller.reservations import LIFETIME_SECONDS, Reservations
from spotalis.planner.observed import Observed
from spotalis.planner.placement import NewPod, place
from spotalis.planner.reserved_slots import NO_RESERVED_SLOTS, Reservation, ReservedSlots
from tests.support.builders import (
    BOTH_KINDS,
    DEPLOYMENT,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_reservation,
    a_workload,
    owner_of,
)
from tests.support.executed_lines import executed_lines
from tests.support.manual_clock import ManualClock

OWNER = ("shop", owner_of(DEPLOYMENT).uid)
SET = ("shop", owner_of(STATEFUL_SET).uid)
BURST = 1000


def admit(reservations: Reservations, kind: str, number: int) -> None:
    """Place and reserve the next pod of a workload of which no pod is visible."""
    owner = owner_of(kind).uid
    observed: Observed = a_workload(
        kind=kind,
        replicas=BURST,
        spot=0,
        on_demand=0,
        percent=70,
        floor=2,
        reservations={owner: reservations.of("shop", owner)},
    )
    pod = NewPod(owner=owner, name=f"api-{number}" if kind == STATEFUL_SET else "")
    reservations.trim("shop", owner, BURST - 1)
    placement = place(observed, pod)
    reservations.add(
        a_reservation(
            placement.slot, placement.node_type, kind=kind, request_uid=f"request-{number}"
        )
    )


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_the_cost_of_an_admission_does_not_grow_with_the_number_of_reservations(kind: str) -> None:
    reservations = Reservations(ManualClock())
    costs = []
    for number in range(BURST):
        with executed_lines() as lines:
            admit(reservations, kind, number)
        costs.append(lines.count)
    # The two capacity types differ by a few lines. The garbage collector may run in any call.
    assert min(costs[-10:]) <= min(costs[:10]) + 10
    slots = reservations.of("shop", owner_of(kind).uid)
    assert (slots.spot.bit_count(), slots.on_demand.bit_count()) == (700, 300)


def test_the_slots_of_open_reservations_are_counted_by_owner_and_type() -> None:
    reservations = Reservations(ManualClock())
    reservations.add(a_reservation(0, ON_DEMAND))
    reservations.add(a_reservation(3, SPOT))
    reservations.add(a_reservation(5, SPOT, kind=STATEFUL_SET))
    assert reservations.of(*OWNER) == ReservedSlots(spot=0b1000, on_demand=0b1)
    assert reservations.of(*SET) == ReservedSlots(spot=0b100000)
    assert (reservations.count(*OWNER), reservations.count(*SET)) == (2, 1)
    reservations.remove(*OWNER, "request-3")
    reservations.remove(*OWNER, "request-3")
    assert reservations.of(*OWNER) == ReservedSlots(on_demand=0b1)
    assert reservations.find(*OWNER, "request-3") is None


def test_the_pod_of_another_namespace_that_names_the_owner_ends_no_reservation() -> None:
    reservations = Reservations(ManualClock())
    reservations.add(a_reservation(3, SPOT))
    reservations.remove("intruder", OWNER[1], "request-3")
    assert reservations.find("intruder", OWNER[1], "request-3") is None
    assert reservations.of(*OWNER) == ReservedSlots(spot=0b1000)


def test_a_second_reservation_for_a_pod_name_replaces_the_first() -> None:
    reservations = Reservations(ManualClock())
    reservations.add(a_reservation(8, SPOT, kind=STATEFUL_SET, request_uid="try-1"))
    reservations.add(a_reservation(8, ON_DEMAND, kind=STATEFUL_SET, request_uid="try-2"))
    assert reservations.of(*SET) == ReservedSlots(on_demand=1 << 8)
    reservations.remove(*SET, "try-1")
    assert reservations.count(*SET) == 1


def test_reservations_expire_and_the_oldest_are_trimmed_first() -> None:
    clock = ManualClock()
    reservations = Reservations(clock)
    for slot in range(5):
        reservations.add(a_reservation(slot, SPOT))
        clock.advance(1)
    assert reservations.trim(*OWNER, 3)
    assert reservations.of(*OWNER) == ReservedSlots(spot=0b11100)
    assert not reservations.trim(*OWNER, 3)
    clock.advance(LIFETIME_SECONDS - 2)
    assert reservations.of(*OWNER) == ReservedSlots(spot=0b11000)
    clock.advance(2)
    assert reservations.of(*OWNER) == NO_RESERVED_SLOTS


def test_an_ordinal_beyond_the_limit_is_not_reserved() -> None:
    # A user can create a pod of any name with the owner reference of a StatefulSet.
    reservations = Reservations(ManualClock())
    reservations.add(a_reservation(5_000_000, SPOT, kind=STATEFUL_SET))
    assert reservations.of(*SET) == NO_RESERVED_SLOTS


def test_reservations_of_owners_that_are_never_asked_about_again_are_forgotten() -> None:
    """The owners were deleted while another instance led."""
    clock = ManualClock()
    reservations = Reservations(clock)
    for number in range(100):
        reservations.add(
            Reservation(
                request_uid=f"request-{number}",
                namespace="shop",
                owner=f"gone-{number}",
                slot=0,
                node_type=SPOT,
            )
        )
    clock.advance(LIFETIME_SECONDS + 1)
    reservations.add(a_reservation(0, SPOT))
    held = [each for each in gc.get_objects() if isinstance(each, Reservation)]
    assert [each.owner for each in held if each.owner.startswith("gone")] == []
