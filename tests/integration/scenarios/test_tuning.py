"""Settings that decide how workloads are treated, with a real API server as well.

tests/integration/test_every_setting.py covers all settings on the embedded API server. Settings of
a namespace are in test_policies.py, those of storms and interruptions in test_interruptions.py,
``pdbOverride`` in test_budgets.py.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import on_both_beds

TO_50 = {"spot-percentage": "50"}
ENABLED = policy(enabled="true")


async def create_on_on_demand(cluster: TestCluster, *names: str) -> None:
    for name in names:
        await cluster.create_deployment(name, 4, policy(0))
    for name in names:
        await cluster.wait_for_split(name, 4, 0)


async def one_move_at_a_time(cluster: TestCluster) -> None:
    """Each of two workloads may have one replica in flight, but the whole cluster only one."""
    async with cluster.operator("--max-moves-in-flight=1"):
        await create_on_on_demand(cluster, "one", "two")
        async with (
            cluster.track_minimum_ready("one") as one,
            cluster.track_minimum_ready("two") as two,
        ):
            await cluster.annotate("Deployment", "one", TO_50)
            await cluster.annotate("Deployment", "two", TO_50)
            await cluster.wait_for_split("one", 2, 2)
            await cluster.wait_for_split("two", 2, 2)
        assert (one(), two()) == (3, 3)
    gaps = [after - before for before, after in itertools.pairwise(cluster.eviction_times())]
    # A move starts when the replacement of the last one is Ready, which takes a pod a second.
    assert len(gaps) == 3
    assert min(gaps) >= timedelta(seconds=1)


async def cooldown_after_each_move(cluster: TestCluster) -> None:
    async with cluster.operator("--cooldown=1h"):
        await create_on_on_demand(cluster, "rests")
        before = len(cluster.evictions())
        await cluster.annotate("Deployment", "rests", TO_50)
        await cluster.wait_for_split("rests", 3, 1)
        await cluster.wait_for_status("rests", "Cooldown")
        await cluster.assert_unchanged("rests", seconds=5)
        assert len(cluster.evictions()) == before + 1


async def defaults_without_annotations(cluster: TestCluster) -> None:
    flags = ("--default-spot-percentage=50", "--default-min-on-demand=3")
    async with cluster.operator(*flags, "--default-paused-until=forever"):
        await cluster.create_deployment("defaulted", 5, ENABLED)
        await cluster.wait_for_split("defaulted", 3, 2)
        before = len(cluster.evictions())
        await cluster.annotate("Deployment", "defaulted", {"min-on-demand": "5"})
        await cluster.wait_for_status("defaulted", "Paused")
        await cluster.assert_unchanged("defaulted", seconds=5)
        assert len(cluster.evictions()) == before


async def several_moves_at_once(cluster: TestCluster) -> None:
    async with cluster.operator("--default-max-moves-in-flight=4", "--status-conditions=false"):
        await create_on_on_demand(cluster, "fast")
        before = len(cluster.writes())
        async with cluster.track_minimum_ready("fast") as minimum:
            await cluster.annotate("Deployment", "fast", {"spot-percentage": "100"})
            await cluster.wait_for_split("fast", 0, 4)
        assert minimum() <= 2  # one at a time would leave 3
        assert ("patch", "deployments/status") not in cluster.writes()[before:]


@pytest.mark.check
@on_both_beds
async def test_settings_change_the_behaviour_of_a_restarted_operator(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    await one_move_at_a_time(cluster)
    await cooldown_after_each_move(cluster)
    await defaults_without_annotations(cluster)
    await several_moves_at_once(cluster)
