"""The write-ahead protocol: which evictions may be written, sent and withdrawn."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.ledger import authorize, drop_unsent, prepare, withdraw
from tests.support.builders import ON_DEMAND, SPOT


def intent(pod: str, instance: str = "me", **changes: Any) -> Intent:
    return Intent(pod=pod, name=f"api-{pod}", instance=instance, **{"target": SPOT, **changes})


def ledger(*intents: Intent) -> Ledger:
    return Ledger(workload="Deployment/shop/api", intents=intents)


# Which intents are written.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(intent("a"), intent("a", attempts=2), id="sent again by the same instance"),
        pytest.param(intent("a", attempts=2), intent("a", attempts=3), id="sent a third time"),
        pytest.param(
            intent("a", "them"),
            intent("a", "me", attempts=2, taken_over=True),
            id="taken over from another instance",
        ),
        pytest.param(
            intent("a", "me", attempts=2, taken_over=True),
            intent("a", "me", attempts=3, taken_over=True),
            id="stays marked as taken over",
        ),
    ],
)
def test_an_intent_whose_pod_has_not_ended_is_sent_again(before: Intent, after: Intent) -> None:
    assert prepare(ledger(before), instance="me") == ledger(after)


def test_an_intent_whose_pod_has_ended_is_not_sent_again() -> None:
    before = ledger(intent("a", "them"), intent("b"))
    after = prepare(before, instance="me", terminated={"a", "c"})
    assert after == ledger(intent("a", "them"), intent("b", attempts=2))


def test_new_intents_are_appended_and_a_pod_has_one_intent() -> None:
    wanted = [intent("b"), intent("a"), intent("c")]
    after = prepare(ledger(intent("a", "them")), instance="me", wanted=wanted)
    assert after == ledger(intent("a", attempts=2, taken_over=True), intent("b"), intent("c"))


def test_prepare_keeps_the_rest_of_the_ledger() -> None:
    before = Ledger(
        spot_availability=SpotAvailability.EXHAUSTED,
        failed_probes=2,
        futile_moves=1,
        intents=(intent("a"),),
    )
    after = prepare(before, instance="me", terminated={"a"})
    assert after == before


# Which evictions are authorized. Pods a to d are live; ``floor_pods`` count toward the floor.


@pytest.mark.parametrize(
    ("intents", "floor_pods", "floor", "allowed"),
    [
        pytest.param([intent("a")], "abc", 2, "a", id="one above the floor"),
        pytest.param([intent("a")], "abc", 3, "", id="none at the floor"),
        pytest.param([intent("a")], "abc", 9, "", id="none below the floor"),
        pytest.param([intent("a"), intent("b")], "abc", 1, "ab", id="two above the floor"),
        pytest.param([intent("a"), intent("b")], "abc", 2, "a", id="only the first of two"),
        pytest.param(
            [intent("a", attempts=2), intent("b")], "abc", 2, "a",
            id="one that may have been sent counts: it is sent again, and no new one",
        ),
        pytest.param(
            [intent("a", attempts=2), intent("b", attempts=2)], "abc", 2, "",
            id="two that may have been sent: neither is sent again before one has ended",
        ),
        pytest.param(
            [intent("a", taken_over=True), intent("b")], "abc", 2, "a",
            id="one that was taken over counts, too",
        ),
        pytest.param(
            [intent("a", attempts=2), intent("b")], "ab", 1, "a",
            id="one that was not sent counts for the earlier ones, too",
        ),
        pytest.param([intent("x"), intent("a")], "abc", 2, "a", id="one that has ended is ignored"),
        pytest.param([intent("d")], "abc", 3, "d", id="an unready pod at the floor"),
        pytest.param(
            [intent("d")], "abc", 4, "",
            id="an unready pod below the floor may be ready when the eviction arrives",
        ),
        pytest.param(
            [intent("a", "me", attempts=2, taken_over=True), intent("d")], "ab", 2, "",
            id="an unready pod, when another eviction leaves less than the floor",
        ),
        pytest.param(
            [intent("d", target=ON_DEMAND)], "", 4, "d", id="a pod on spot does not need the floor"
        ),
    ],
)  # fmt: skip
def test_authorized_evictions_keep_the_floor_with_any_request_in_progress(
    intents: list[Intent], floor_pods: str, floor: int, allowed: str
) -> None:
    answer = authorize(ledger(*intents), live=set("abcd"), floor_pods=set(floor_pods), floor=floor)
    assert [one.pod for one in answer] == list(allowed)
    assert set(answer) <= set(intents)


# Which intents are withdrawn after a refusal.


@pytest.mark.parametrize(
    ("refused", "stays"),
    [
        pytest.param(intent("a", "me"), False, id="its own, from this reconcile"),
        pytest.param(intent("a", "me", attempts=2), True, id="its own, perhaps sent earlier"),
        pytest.param(
            intent("a", "me", taken_over=True), True, id="taken over, perhaps sent before"
        ),
        pytest.param(intent("a", "them"), True, id="taken over by another instance meanwhile"),
    ],
)
def test_only_intents_that_no_other_instance_can_have_sent_are_withdrawn(
    refused: Intent, stays: bool
) -> None:
    other = intent("b")
    after = withdraw(ledger(refused, other), instance="me", refused=["a", "x"])
    assert after == ledger(*([refused] * stays), other)


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        pytest.param(intent("a"), False, id="written and never sent"),
        pytest.param(intent("a", attempts=2), False, id="written twice and never sent"),
        pytest.param(intent("sent"), True, id="may have been sent"),
        pytest.param(intent("a", "them"), True, id="of another instance, which may have sent it"),
        pytest.param(
            intent("a", taken_over=True), True, id="taken over: the other instance may have sent it"
        ),
    ],
)
def test_only_intents_that_were_never_sent_are_dropped(before: Intent, kept: bool) -> None:
    after = drop_unsent(ledger(before), instance="me", sent={"sent"})
    assert after == (ledger(before) if kept else ledger())
