"""The work for one workload does not grow with the number of nodes, ledgers and workloads."""

from __future__ import annotations

import sys
from types import FrameType

from spotalis.app.inspection import ClusterConnection, inspect
from spotalis.model.controller_configuration import ControllerConfiguration
from tests.support.loaded_rng import LoadedRandom
from tests.support.stored_cluster import stored_cluster
from tests.support.virtual_time import in_virtual_time, virtual_clock


async def calls_of_a_plan(size: int) -> int:
    """Calls of Python functions that a plan takes in a cluster of a size, on average."""
    connection = ClusterConnection(
        transport=stored_cluster(size), clock=virtual_clock(), rng=LoadedRandom()
    )
    inspection = await inspect(connection, ControllerConfiguration())
    workloads = list(inspection.cluster.workloads())
    first = await inspection.plan(workloads[0])  # computes what all of them share
    assert first.observed.spot.free == 1
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for workload in workloads:
            await inspection.plan(workload)
    finally:
        sys.setprofile(None)
    return calls // len(workloads)


@in_virtual_time
async def test_the_work_for_a_workload_does_not_depend_on_the_size_of_the_cluster() -> None:
    few, many = await calls_of_a_plan(10), await calls_of_a_plan(60)
    assert many <= few + 2, f"{few} calls with 10 workloads, {many} with 60"
