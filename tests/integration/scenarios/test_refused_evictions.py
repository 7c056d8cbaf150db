"""Admission control refuses evictions, or the API server fails while it handles them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.eviction_refusals import POLICY, UNKNOWN, WEBHOOK, refusing_evictions
from tests.support.scenarios import on_both_beds, only_embedded

TO_50 = {"spot-percentage": "50"}
BY = pytest.mark.parametrize("by", [POLICY, WEBHOOK])


@pytest.mark.both
@on_both_beds
@BY
async def test_if_the_eviction_of_one_pod_is_refused_the_next_candidates_move(
    cluster: TestCluster, by: str
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 4, policy(0))
        await cluster.wait_for_split("db", 4, 0)
        async with refusing_evictions(cluster, "db-3", by):
            await cluster.annotate("StatefulSet", "db", TO_50)
            # Slot 3 belongs to spot and would move first. Slots 1 and 2 move in its place.
            await cluster.wait_for_split("db", 2, 2)
            await cluster.assert_unchanged("db")
            assert cluster.evictions() == ["db-1", "db-2"]
            assert 1 <= cluster.count_refused_evictions() <= 2
    assert cluster.evictions() == ["db-1", "db-2"]


@on_both_beds
@BY
async def test_refused_evictions_back_off_per_pod_are_named_and_leave_other_workloads_alone(
    cluster: TestCluster, by: str
) -> None:
    """The limit for the whole cluster is one open move."""

    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator("--max-moves-in-flight=1"):
        for name in ("web", "other"):
            await cluster.create_stateful_set(name, 4, policy(0))
            await cluster.wait_for_split(name, 4, 0)
        async with refusing_evictions(cluster, "web-", by):
            await cluster.annotate("StatefulSet", "web", TO_50)
            await cluster.wait_for_status("web", "EvictionRefused")
            await incidents.told(cluster, "web", "MoveBlocked")
            (note,) = await incidents.notes(cluster, "web", "MoveBlocked")
            assert "eviction of web-3 was refused" in note
            await cluster.annotate("StatefulSet", "other", TO_50)
            await cluster.wait_for_split("other", 2, 2)
            assert cluster.evictions() == ["other-3", "other-1"]
            await asyncio.sleep(25)
            # Each of the four pods is asked after 0 s, 10 s, 30 s, 70 s.
            assert 4 <= cluster.count_refused_evictions() <= 12
            assert await cluster.get_status_reason("web") == "EvictionRefused"
            assert await cluster.split("web") == (4, 0)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert len(cluster.evictions()) == 4


@only_embedded
async def test_an_eviction_without_clear_outcome_backs_off_is_named_and_gives_its_place_back(
    cluster: TestCluster,
) -> None:
    """A real API server does not fail like this on request."""

    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator("--max-moves-in-flight=1"):
        for name in ("web", "other"):
            await cluster.create_stateful_set(name, 4, policy(0))
            await cluster.wait_for_split(name, 4, 0)
        async with refusing_evictions(cluster, "web-", UNKNOWN):
            await cluster.annotate("StatefulSet", "web", TO_50)
            await cluster.wait_for_status("web", "EvictionRefused")
            await incidents.told(cluster, "web", "MoveBlocked")
            await cluster.annotate("StatefulSet", "other", TO_50)
            await cluster.wait_for_split("other", 2, 2)
            await asyncio.sleep(60)
            # The one pod whose eviction may have taken place is asked after 0, 2, 6, 14, 30, 62 s.
            assert 5 <= cluster.count_refused_evictions() <= 7
            assert await cluster.get_status_reason("web") == "EvictionRefused"
            assert await cluster.split("web") == (4, 0)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert len(cluster.evictions()) == 4


@on_both_beds
async def test_a_refused_fallback_is_named_backs_off_and_happens_when_it_is_allowed(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    (spot,) = await cluster.add_nodes(spot=1)
    await incidents.cordon(cluster, spot)
    async with cluster.operator():
        async with refusing_evictions(cluster, "db-", POLICY):
            await cluster.create_stateful_set("db", 4, policy(50, spot_fallback="2s"))
            await cluster.wait_for_status("db", "EvictionRefused")
            await incidents.told(cluster, "db", "MoveBlocked")
            await asyncio.sleep(25)
            # The two Pending pods are asked after 0 s, 10 s, 30 s.
            assert 2 <= cluster.count_refused_evictions() <= 6
            assert cluster.evictions() == []
        await cluster.wait_for_split("db", 4, 0)
    # Later evictions are probes.
    assert sorted(cluster.evictions()[:2]) == ["db-1", "db-3"]
