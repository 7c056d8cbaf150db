"""After any sequence of events, a workload reaches its exact split, and no replica moves then."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotalis.model.decision import Decision, Evict, Hold, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot, slot_type
from spotalis.planner.observed import Observed
from spotalis.planner.placement import NewPod, Placement, place
from tests.support.builders import (
    BOTH_KINDS,
    DEPLOYMENT,
    NOW,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    UNKNOWN,
    decision_of,
)
from tests.support.histories import History, Step, StillMovingError, is_exact

KINDS = st.sampled_from(BOTH_KINDS)
PERCENTS = st.one_of(st.sampled_from((0, 30, 50, 60, 70, 73, 90, 100)), st.integers(0, 100))
FLOORS = st.integers(0, 6)
SIZES = st.integers(0, 16)
NODE_TYPES = st.lists(st.sampled_from((SPOT, ON_DEMAND)), max_size=16)
POLICIES = st.fixed_dictionaries(
    {"kind": KINDS, "percent": PERCENTS, "floor": FLOORS, "moves": st.integers(1, 4)}
)


def steps(*names: str) -> st.SearchStrategy[list[Step]]:
    numbers = {"scale": SIZES, "percent": PERCENTS, "floor": FLOORS}
    one = st.one_of(
        *(st.tuples(st.just(name), numbers.get(name, st.integers(0, 15))) for name in names)
    )
    return st.lists(one, max_size=50)


ANYTHING = steps(
    "create", "create", "create", "refuse", "see", "see", "ready", "ready", "lose", "evict",
    "evict", "scale", "percent", "floor",
)  # fmt: skip


@given(policy=POLICIES, adopted=NODE_TYPES, events=ANYTHING)
def test_after_any_history_the_split_becomes_exact_with_the_fewest_moves(
    policy: dict[str, Any], adopted: list[NodeType], events: list[Step]
) -> None:
    history = History(adopted=adopted, **policy)
    history.play(events)
    history.wait()
    before = list(history.evicted)
    # Missing replicas are placed correctly when they are created; only surplus ones must move.
    on_spot, on_demand = (types_of(history).count(one) for one in (SPOT, ON_DEMAND))
    too_many_on_demand = on_demand - (history.wanted - wanted_on_spot(history))
    wrong = max(0, on_spot - wanted_on_spot(history), too_many_on_demand)
    decision = history.come_to_rest()
    assert decision == Hold(Reason.BALANCED, decision.message)
    assert types_of(history).count(SPOT) == wanted_on_spot(history)
    assert len(history.living) == history.wanted
    assert len(history.evicted) - len(before) == wrong
    # Further decisions move nothing.
    assert history.decide() == history.decide() == decision


@given(policy=POLICIES, adopted=NODE_TYPES)
def test_enabling_a_workload_takes_one_eviction_per_replica_on_the_wrong_type(
    policy: dict[str, Any], adopted: list[NodeType]
) -> None:
    history = History(adopted=adopted, **policy)
    assert is_exact(history.come_to_rest())
    assert len(history.evicted) == abs(adopted.count(SPOT) - wanted_on_spot(history))


@example(  # the two lost replicas hold slots of different types
    policy={"percent": 70, "floor": 2}, sizes_and_losses=[(10, [("lose", 6), ("lose", 2)]), (6, [])]
)
@given(
    policy=POLICIES,
    sizes_and_losses=st.lists(
        st.tuples(SIZES, steps("lose", "create", "see")), min_size=1, max_size=8
    ),
)
def test_scaling_and_losses_alone_never_need_an_eviction(
    policy: dict[str, Any], sizes_and_losses: list[tuple[int, list[Step]]]
) -> None:
    history = History(replicas=0, **policy)
    for size, losses in sizes_and_losses:
        history.scale(size)
        assert is_exact(history.come_to_rest())
        history.play(losses)
        assert is_exact(history.come_to_rest())
    assert history.evicted == []


@given(
    policy=POLICIES,
    size=st.integers(1, 30),
    seen=st.lists(st.tuples(st.just("see"), st.integers(0, 3)), max_size=30),
)
def test_a_burst_is_split_at_creation_however_late_pods_are_seen(
    policy: dict[str, Any], size: int, seen: list[Step]
) -> None:
    history = History(replicas=size, **policy)
    for number in range(size):
        history.create()
        history.play(seen[number : number + 1])
    assert types_of(history).count(SPOT) == wanted_on_spot(history)
    assert is_exact(history.come_to_rest())
    assert history.evicted == []


@given(policy=POLICIES, size=st.integers(1, 16), refusals=st.integers(0, 3))
def test_rejected_pods_do_not_distort_the_split(
    policy: dict[str, Any], size: int, refusals: int
) -> None:
    history = History(replicas=size, refusals=refusals, **policy)
    assert is_exact(history.come_to_rest())
    assert types_of(history).count(SPOT) == wanted_on_spot(history)


@given(policy=POLICIES, adopted=NODE_TYPES, unknown=st.integers(0, 4))
def test_replicas_of_unknown_type_do_not_distort_the_split(
    policy: dict[str, Any], adopted: list[NodeType], unknown: int
) -> None:
    history = History(adopted=[*adopted, *[UNKNOWN] * unknown], **policy)
    assert is_exact(history.come_to_rest())
    expected = desired_spot(len(adopted), history.percent, history.floor)
    assert types_of(history).count(SPOT) == expected
    assert types_of(history).count(UNKNOWN) == unknown


def test_adopting_20_spot_replicas_at_70_percent_and_floor_2_takes_6_evictions() -> None:
    history = History(adopted=[SPOT] * 20)
    assert is_exact(history.come_to_rest())
    assert len(history.evicted) == 6


@pytest.mark.parametrize("moves", [1, 2, 20])
def test_enabling_a_statefulset_evicts_these_ordinals_in_this_order(moves: int) -> None:
    history = History(kind=STATEFUL_SET, adopted=[SPOT] * 20, moves=moves)
    assert is_exact(history.come_to_rest())
    assert history.evicted == [f"api-{ordinal}" for ordinal in (16, 13, 10, 6, 1, 0)]


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_from_0_to_70_to_30_percent_10_replicas_take_7_and_then_4_evictions(kind: str) -> None:
    history = History(kind=kind, replicas=10, percent=0, floor=0)
    assert is_exact(history.come_to_rest())
    assert types_of(history) == [ON_DEMAND] * 10
    for percent, evictions in ((70, 7), (30, 4)):
        before = len(history.evicted)
        history.percent = percent
        assert is_exact(history.come_to_rest())
        assert len(history.evicted) - before == evictions


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("sizes", [(6, 2, 12), (1, 10), (5, 15, 8), (20, 0, 20)])
def test_scaling_needs_no_eviction(kind: str, sizes: tuple[int, ...]) -> None:
    history = History(kind=kind, replicas=0, percent=80)
    for size in sizes:
        history.scale(size)
        assert is_exact(history.come_to_rest())
        assert types_of(history).count(SPOT) == desired_spot(size, 80, 2)
    assert history.evicted == []


def highest_ordinal_first(observed: Observed, now: datetime) -> Decision:
    """A planner that ignores slots."""
    decision = decision_of(observed, now)
    if not isinstance(decision, Evict):
        return decision
    target = decision.moves[0].target
    surplus_type = [r for r in observed.active if r.node_type is target.other]
    highest = max(surplus_type, key=lambda r: int(r.pod.name.rpartition("-")[2]))
    return dataclasses.replace(decision, moves=(Move(highest.pod, target),))


def type_of_the_ordinal(observed: Observed, pod: NewPod) -> Placement:
    """A webhook that ignores the slots of other replicas."""
    placement = place(observed, pod)
    percent, floor = observed.configuration.percent, observed.configuration.floor
    return dataclasses.replace(placement, node_type=slot_type(placement.slot, percent, floor))


def test_highest_ordinal_first_with_a_fixed_type_per_ordinal_moves_forever() -> None:
    history = History(
        kind=STATEFUL_SET,
        adopted=[SPOT] * 20,
        plan=highest_ordinal_first,
        place=type_of_the_ordinal,
    )
    with pytest.raises(StillMovingError):
        history.come_to_rest()
    assert set(history.evicted) == {"api-19"}


def test_each_of_the_two_rules_alone_reaches_the_split() -> None:
    for naive in ({"plan": highest_ordinal_first}, {"place": type_of_the_ordinal}):
        history = History(kind=STATEFUL_SET, adopted=[SPOT] * 20, **naive)
        assert is_exact(history.come_to_rest())
        assert len(history.evicted) == 6


def counting_the_unknown(observed: Observed, pod: NewPod) -> Placement:
    """A webhook that counts replicas of unknown type, unlike the planner."""
    placement = place(observed, pod)
    n = placement.have_spot + placement.have_on_demand + observed.state.unknown
    is_spot = placement.have_spot < desired_spot(
        n + 1, observed.configuration.percent, observed.configuration.floor
    )
    return dataclasses.replace(placement, node_type=SPOT if is_spot else ON_DEMAND)


def test_counting_unknown_replicas_on_one_side_only_moves_forever() -> None:
    adopted = [*[SPOT] * 7, ON_DEMAND, UNKNOWN, UNKNOWN]
    with pytest.raises(StillMovingError):
        History(adopted=adopted, place=counting_the_unknown).come_to_rest()
    history = History(adopted=adopted)
    assert is_exact(history.come_to_rest())
    assert len(history.evicted) == 2


def test_reservations_that_are_never_removed_move_pods_forever() -> None:
    # One surplus replica on on-demand, and a quota that rejects each pod once.
    adopted = [*[SPOT] * 6, *[ON_DEMAND] * 4]
    with pytest.raises(StillMovingError):
        History(adopted=adopted, refusals=1, gives_back=False).come_to_rest()
    history = History(adopted=adopted, refusals=1)
    assert is_exact(history.come_to_rest())
    assert len(history.evicted) == 1


def types_of(history: History) -> list[NodeType]:
    return [replica.node_type for replica in history.living]


def wanted_on_spot(history: History) -> int:
    return desired_spot(history.wanted, history.percent, history.floor)


def test_a_history_deletes_pods_in_the_order_of_a_replicaset() -> None:
    history = History(kind=DEPLOYMENT, replicas=3, percent=0, floor=0)
    history.come_to_rest()
    history.scale(4)
    history.create()
    history.see(1)
    history.scale(3)
    assert sorted(replica.pod.slot or 0 for replica in history.living) == [0, 1, 2]
    history.scale(2)
    assert sorted(replica.pod.slot or 0 for replica in history.living) == [0, 1]
    assert history.observed.missing(NOW) == 0
