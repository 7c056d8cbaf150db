"""How long provider groups are remembered."""

from __future__ import annotations

from datetime import date, timedelta

from spotalis.model.group_memory import merge, remembered, renew

TODAY = date(2026, 11, 23)


def before(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_a_group_is_remembered_for_30_days_after_its_last_node() -> None:
    memory = {"eks": before(30), "karpenter": before(31), "ocean": TODAY}
    assert remembered(memory, TODAY) == {"eks", "ocean"}


def test_the_memory_is_renewed_by_nodes_and_drops_what_has_expired() -> None:
    memory = {"eks": before(29), "karpenter": before(31), "ocean": before(5)}
    assert renew(memory, ["eks"], TODAY) == {"eks": TODAY, "ocean": before(5)}
    assert renew(renew(memory, ["eks"], TODAY), ["eks"], TODAY) == renew(memory, ["eks"], TODAY)


def test_two_memories_together_have_the_later_day_of_each_group() -> None:
    one, other = {"eks": before(3), "ocean": before(9)}, {"eks": before(1), "gke": before(2)}
    assert merge(one, other) == {"eks": before(1), "ocean": before(9), "gke": before(2)}
    assert merge(other, one) == merge(one, other)


def test_clocks_that_differ_do_not_forget_a_group() -> None:
    assert remembered({"eks": TODAY + timedelta(days=1)}, TODAY) == {"eks"}
