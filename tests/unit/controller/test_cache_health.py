"""Caches that must not be used for decisions: missing, denied and suspect lists, silent watches."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.controller.cache_health import CacheHealth, SuspectLists
from spotalis.kube.store import Store, StoreWriter
from spotalis.kube.watch import Relist
from tests.support.builders import DEPLOYMENT, STATEFUL_SET, a_pod
from tests.support.manual_clock import ManualClock

PODS = frozenset({"pods"})
NAMESPACED = ("pods", "replicasets", "deployments", "statefulsets", "poddisruptionbudgets")


def a_list(*, lost: int, total: int, added: int = 0, first: bool = False) -> Relist[Any]:
    vanished = [a_pod(f"api-{number}", namespace=f"shop-{number % 2}") for number in range(lost)]
    return Relist(added=added, changed=0, vanished=tuple(vanished), total=total, is_first=first)


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
    suspect_lists.on_relist("pods", "", relist, 100.0)
    assert bool(suspect_lists.message(PODS, "shop-0", 399.0)) is is_suspect
    assert not suspect_lists.message(PODS, "shop-0", 400.0)


def test_the_next_list_of_the_same_kind_clears_the_suspicion() -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", "", a_list(lost=5, total=5), 0.0)
    message = suspect_lists.message(PODS, "shop-0", 1.0)
    assert message.startswith("a list of pods shows 5 of 10 objects,")
    suspect_lists.on_relist("nodes", "", a_list(lost=0, total=5), 1.0)
    assert suspect_lists.message(PODS, "shop-0", 1.0)
    suspect_lists.on_relist("pods", "", a_list(lost=0, total=10, added=5), 2.0)
    assert not suspect_lists.message(PODS, "shop-0", 2.0)


def test_a_suspect_list_concerns_its_kind_and_the_namespace_that_lost_most() -> None:
    suspect_lists = SuspectLists()
    in_one = [a_pod(f"api-{number}", namespace="shop") for number in range(5)]
    vanished = (*in_one, a_pod("web-0", namespace="data"))
    relist = Relist(added=0, changed=0, vanished=vanished, total=5, is_first=False)
    suspect_lists.on_relist("pods", "", relist, 0.0)
    assert suspect_lists.message(PODS, "shop", 1.0)
    assert not suspect_lists.message(PODS, "data", 1.0)
    assert not suspect_lists.message(frozenset({"nodes"}), "shop", 1.0)


def test_a_list_that_lacks_many_objects_of_several_namespaces_concerns_all() -> None:
    suspect_lists = SuspectLists()
    suspect_lists.on_relist("pods", "", a_list(lost=10, total=10), 0.0)
    assert suspect_lists.message(PODS, "data", 1.0)


class Caches:
    """The caches of an operator that watches the namespaces ``shop`` and ``data``."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.writers: dict[tuple[str, str], StoreWriter[Any]] = {}
        stores: dict[str, Store[Any]] = {}
        for plural in ("namespaces", "nodes", "configmaps", *NAMESPACED):
            stores[plural] = Store()
            for scope in ("shop", "data") if plural in NAMESPACED else ("",):
                self.writers[plural, scope] = StoreWriter(stores[plural], scope)
        self.health = CacheHealth(stores, self.clock)

    def list_all(self, *, but: tuple[str, str] = ("", "")) -> None:
        """Complete all lists but one."""
        for each, writer in self.writers.items():
            if each != but:
                writer.end_relist()
        self.hear(but=but)

    def hear(self, *, but: tuple[str, str]) -> None:
        """All watches but one deliver something now."""
        for each, writer in self.writers.items():
            if each != but:
                writer.mark_fresh(self.clock.monotonic())


def test_before_the_first_lists_nothing_is_placed_or_moved() -> None:
    health = Caches().health
    assert not health.can_place(DEPLOYMENT, "shop")
    assert "pods in shop" in health.missing_lists()
    assert not health.is_settled()
    assert not health.is_cut_off()


@pytest.mark.parametrize(
    ("denied", "can_place", "can_move"),
    [
        pytest.param(("pods", "data"), "DS", "DS", id="pods of the other namespace"),
        pytest.param(("pods", "shop"), "", "", id="pods"),
        pytest.param(("statefulsets", "shop"), "D", "D", id="StatefulSets"),
        pytest.param(("replicasets", "shop"), "S", "S", id="ReplicaSets"),
        pytest.param(("poddisruptionbudgets", "shop"), "DS", "", id="PodDisruptionBudgets"),
    ],
)
def test_a_denied_list_concerns_its_namespace_and_the_kinds_that_need_it(
    denied: tuple[str, str], can_place: str, can_move: str
) -> None:
    caches, plural, scope = Caches(), *denied
    caches.list_all(but=denied)
    health = caches.health
    assert health.missing_lists() == [f"{plural} in {scope}"]
    health.on_denied(plural, scope)
    assert health.is_settled()
    assert health.denied_lists() == [f"{plural} in {scope}"]
    for kind in (DEPLOYMENT, STATEFUL_SET):
        assert health.can_place(kind, "shop") is (kind[0] in can_place)
        assert health.can_move(kind, "shop") is (kind[0] in can_move)
        message = (
            "" if kind[0] in can_move else f"the API server denies the list of {plural} in shop"
        )
        assert health.denied_list(kind, "shop") == message


@pytest.mark.parametrize("denied", [("nodes", ""), ("namespaces", ""), ("configmaps", "")])
def test_an_instance_that_can_place_no_pod_waits_for_the_denied_list(
    denied: tuple[str, str],
) -> None:
    caches = Caches()
    caches.list_all(but=denied)
    caches.health.on_denied(*denied)
    assert caches.health.missing_lists() == [denied[0]]


def test_the_watch_that_was_silent_for_longest_is_named_where_it_matters() -> None:
    caches = Caches()
    caches.list_all()
    silent = ("pods", "shop")
    caches.clock.advance(70)
    assert not caches.health.stale_watch(DEPLOYMENT, "shop")
    caches.hear(but=silent)
    caches.clock.advance(1)
    message = "the watch of pods has been silent for 71 s"
    assert caches.health.stale_watch(DEPLOYMENT, "shop") == message
    assert not caches.health.stale_watch(DEPLOYMENT, "data")
    assert not caches.health.is_cut_off()
    caches.clock.advance(70)
    assert caches.health.is_cut_off()
