"""Caches that must not be used for decisions: suspect lists and silent watches."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.controller.cache_health import SuspectLists, stale_watch
from spotalis.kube.store import Store
from spotalis.kube.watch import Relist


def a_list(*, lost: int, total: int, added: int = 0, first: bool = False) -> Relist[Any]:
    return Relist(added=added, changed=0, vanished=tuple(range(lost)), total=total, is_first=first)


@pytest.mark.parametrize(
    ("relist", "is_suspect"),
    [
        pytest.param(a_list(lost=3, total=0), False, id="three of three: too few to be suspect"),
        pytest.param(a_list(lost=4, total=0), True, id="four of four"),
        pytest.param(a_list(lost=4, total=35), True, id="four of 39: more than a tenth"),
        pytest.param(a_list(lost=4, total=36), False, id="four of 40: a tenth"),
        pytest.param(
            a_list(lost=4, total=40, added=5),
            True,
            id="new objects do not count",
        ),
        pytest.param(a_list(lost=0, total=0, first=True), False, id="the first list"),
    ],
)
def test_a_list_that_lacks_many_objects_is_suspect_for_5_minutes(
    relist: Relist[Any], is_suspect: bool
) -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", relist, 100.0)
    assert bool(suspect_lists.message(399.0)) is is_suspect
    assert not suspect_lists.message(400.0)


def test_the_next_list_of_the_same_kind_clears_the_suspicion() -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", a_list(lost=5, total=5), 0.0)
    assert suspect_lists.message(1.0).startswith("a list of pods shows 5 of 10 objects,")
    suspect_lists.on_relist("nodes", a_list(lost=0, total=5), 1.0)
    assert suspect_lists.message(1.0)
    suspect_lists.on_relist("pods", a_list(lost=0, total=10, added=5), 2.0)
    assert not suspect_lists.message(2.0)


def test_the_watch_that_was_silent_for_longest_is_named() -> None:
    stores: dict[str, Store[Any]] = {"pods": Store(), "nodes": Store(), "never": Store()}
    for plural, at in (("pods", 10.0), ("nodes", 20.0)):
        stores[plural].synced, stores[plural].fresh_at = True, at
    assert not stale_watch(stores, 80.0)
    assert stale_watch(stores, 81.0) == "the watch of pods has been silent for 71 s"
    assert not stale_watch({"never": Store()}, 1000.0)
