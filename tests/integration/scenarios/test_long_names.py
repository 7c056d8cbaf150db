"""Workloads whose names are as long as the API allows."""

from __future__ import annotations

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import on_both_beds


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("length", [253, 237, 236])
async def test_a_workload_with_a_long_name_is_split_and_gets_its_events(
    cluster: TestCluster, length: int
) -> None:
    name = "w" * length
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment(name, 4, policy(50))
        await cluster.wait_for_split(name, 2, 2)
        await cluster.annotate("Deployment", name, {"spot-percentage": "75"})
        await cluster.wait_for_split(name, 1, 3)
        await incidents.told(cluster, name, "SplitReached")
        written = await incidents.events(cluster, name)
        assert sorted(written) == ["ReplicaMoved", "SplitReached", "SplitTargetChanged"]
        found = await incidents.event_names(cluster, name)
        assert {(one[:236], len(one)) for one in found} == {(name[:236], 253)}
        assert len(found) == 3
    assert len(cluster.evictions()) == 1
