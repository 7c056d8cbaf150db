"""When a view is not to be trusted."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.controller.cache_health import SuspectLists, stale_watch
from spotalis.kube.store import Store
from spotalis.kube.watch import Relist


def a_list(*, lost: int, total: int, added: int = 0, first: bool = False) -> Relist[Any]:
    return Relist(added=added, changed=0, vanished=tuple(range(lost)), total=total, is_first=first)


@pytest.mark.parametrize(
    ("relist", "doubted"),
    [
        pytest.param(a_list(lost=3, total=0), False, id="three are few, though it is all"),
        pytest.param(a_list(lost=4, total=0), True, id="four of four"),
        pytest.param(a_list(lost=4, total=35), True, id="four of 39 are more than a tenth"),
        pytest.param(a_list(lost=4, total=36), False, id="four of 40 are a tenth"),
        pytest.param(a_list(lost=4, total=40, added=5), True, id="new ones make up for none"),
        pytest.param(a_list(lost=0, total=0, first=True), False, id="the first list of all"),
    ],
)
def test_what_is_lost_in_bulk_is_doubted(relist: Relist[Any], doubted: bool) -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", relist, 100.0)
    assert bool(suspect_lists.message(399.0)) is doubted
    assert not suspect_lists.message(400.0)


def test_a_doubt_names_the_kind_and_the_numbers_and_ends_with_the_next_list() -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", a_list(lost=5, total=5), 0.0)
    assert suspect_lists.message(1.0).startswith("a list of pods shows 5 of 10,")
    suspect_lists.on_relist("nodes", a_list(lost=0, total=5), 1.0)
    assert suspect_lists.message(1.0)
    suspect_lists.on_relist("pods", a_list(lost=0, total=10, added=5), 2.0)
    assert not suspect_lists.message(2.0)


def test_the_kind_that_was_silent_longest_is_named_once_that_is_too_long() -> None:
    stores: dict[str, Store[Any]] = {"pods": Store(), "nodes": Store(), "never": Store()}
    for plural, at in (("pods", 10.0), ("nodes", 20.0)):
        stores[plural].synced, stores[plural].fresh_at = True, at
    assert not stale_watch(stores, 80.0)
    assert stale_watch(stores, 81.0) == "nothing has been heard of pods for 71 s"
    assert not stale_watch({"never": Store()}, 1000.0)
