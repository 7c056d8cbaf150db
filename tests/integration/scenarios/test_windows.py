"""Disruption windows: replicas move only inside a window, also when clocks change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.model.controller_configuration import LeaderElection
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster, run_scenario
from tests.support.scenarios import on_both_beds

MINUTE = 60.0
TO_70 = {"spot-percentage": "70"}


def berlin(schedule: str, duration: str) -> dict[str, str]:
    return {
        "disruption-schedule": schedule,
        "disruption-duration": duration,
        "disruption-timezone": "Europe/Berlin",
    }


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHT = berlin("30 2 * * *", "2m")
MIDNIGHT = berlin("59 23 * * *", "2m")

OVER_A_CHANGE = [
    pytest.param(
        "2026-03-28T22:30",
        # 02:30 does not exist on the 29th: the window opens at 03:00, which is 01:00 UTC.
        [("2026-03-29T01:00", "2026-03-29T01:02"), ("2026-03-30T00:30", "2026-03-30T00:32")],
        [("2026-03-28T22:59", "2026-03-28T23:01"), ("2026-03-29T21:59", "2026-03-29T22:01")],
        id="in spring",
    ),
    pytest.param(
        "2026-10-24T21:30",
        # 02:30 exists twice on the 25th, at 00:30 and 01:30 UTC: only the first counts.
        [("2026-10-25T00:30", "2026-10-25T00:32"), ("2026-10-26T01:30", "2026-10-26T01:32")],
        [("2026-10-24T21:59", "2026-10-24T22:01"), ("2026-10-25T22:59", "2026-10-25T23:01")],
        id="in autumn",
    ),
]


@pytest.mark.parametrize(("epoch", "night", "midnight"), OVER_A_CHANGE)
def test_all_moves_stay_inside_the_window_when_clocks_change(
    epoch: str, night: list[tuple[str, str]], midnight: list[tuple[str, str]]
) -> None:
    """Takes a day. Pods start slowly, so that a rebalance takes longer than one window."""

    async def scenario(cluster: TestCluster) -> None:
        assert isinstance(cluster, EmbeddedTestCluster)
        await cluster.add_nodes(spot=4, on_demand=4)
        slow = {"metadata": {"annotations": {"embedded.spotalis.io/start-seconds": "20"}}}
        # A Lease would be renewed 50,000 times, which takes most of the time of the test.
        cluster.settings = {"leader_election": LeaderElection(enabled=False)}
        async with cluster.operator():
            for name, annotations in (("night", NIGHT), ("midnight", MIDNIGHT)):
                await cluster.create_deployment(name, 10, policy(0, **annotations))
                await incidents.change(cluster, "Deployment", name, {"template": slow})
                await incidents.rolled_out(cluster, "Deployment", name, within=10 * MINUTE)
                await cluster.wait_for_split(name, 10, 0)
                await cluster.annotate("Deployment", name, TO_70)
            await asyncio.sleep(28 * 60 * MINUTE)
            await cluster.wait_for_split("night", 3, 7)
            await cluster.wait_for_split("midnight", 3, 7)
        for name, spans in (("night", night), ("midnight", midnight)):
            moved = [
                entry.at
                for entry in cluster.embedded.audit.find(user=cluster.user)
                if entry.subresource == "eviction" and entry.name.startswith(f"{name}-")
            ]
            inside = [[at for at in moved if utc(start) <= at < utc(end)] for start, end in spans]
            # One after the other, 21 s each: 6 in the first 2 minutes, the last one a day later.
            assert [len(here) for here in inside] == [6, 1]
            assert len(moved) == 7
            for here, (start, _) in zip(inside, spans, strict=True):
                # The first move does not wait for the resync: it starts when the window opens.
                assert here[0] - utc(start) < timedelta(seconds=1)

    run_scenario(scenario, epoch=utc(epoch))


@pytest.mark.check
@on_both_beds
async def test_a_workload_moves_only_inside_its_window(
    cluster: TestCluster,
) -> None:
    """One window never opens during the test, the other is longer than its period."""

    await cluster.add_nodes(spot=3, on_demand=3)
    never = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1m"}
    always = {"disruption-schedule": "*/5 * * * *", "disruption-duration": "10m"}
    async with cluster.operator():
        await cluster.create_deployment("rests", 4, policy(0, **never))
        await cluster.create_deployment("moves", 4, policy(0, **always))
        await cluster.wait_for_split("rests", 4, 0)
        await cluster.wait_for_split("moves", 4, 0)
        await cluster.annotate("Deployment", "rests", TO_70)
        await cluster.annotate("Deployment", "moves", TO_70)
        await cluster.wait_for_split("moves", 2, 2)
        await cluster.assert_unchanged("rests")
        assert len(cluster.evictions()) == 2
        await cluster.annotate("Deployment", "rests", dict.fromkeys(never))
        await cluster.wait_for_split("rests", 2, 2)
    assert len(cluster.evictions()) == 4


def next_minute(now: datetime, *, minimum: float) -> datetime:
    """Return the first full minute that is at least ``minimum`` seconds away."""
    return (now + timedelta(seconds=minimum + MINUTE)).replace(second=0, microsecond=0)


@on_both_beds
async def test_the_first_move_starts_when_the_window_opens(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        opens = next_minute(await cluster.now(), minimum=15)
        window = {
            "disruption-schedule": f"{opens.minute} {opens.hour} {opens.day} {opens.month} *",
            "disruption-duration": "1h",
        }
        await cluster.annotate("Deployment", "web", {**TO_70, **window})
        await cluster.wait_for_status("web", "OutsideWindow")
        assert cluster.evictions() == []
        await cluster.wait_for_split("web", 2, 2, within=180)
        await cluster.assert_unchanged("web", seconds=5)
    first, second = cluster.eviction_times()
    assert opens <= first < second
