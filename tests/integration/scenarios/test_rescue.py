"""All instances end while spot is exhausted: the rescue releases the pods that wait for spot."""

from __future__ import annotations

import asyncio

from spotalis.controller.rescue import rescue
from spotalis.model.configuration import POD_CAPACITY_TYPE
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import only_embedded

NAMESPACE, LEASE = "spotalis-system", "spotalis"


async def names_of_pending(cluster: TestCluster) -> set[str]:
    return {pod.name for pod in await cluster.pods("web") if not pod.node}


async def run_rescue(cluster: TestCluster) -> int:
    return len((await rescue(cluster.api, namespace=NAMESPACE, lease=LEASE)).released)


@only_embedded
async def test_20_minutes_after_all_instances_ended_in_a_drought_no_pod_waits(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    on_spot = await cluster.add_nodes(spot=2)
    await cluster.add_nodes(on_demand=4)
    async with cluster.operators(2) as operators:
        await cluster.create_deployment("web", 8, policy(50, spot_fallback="never"))
        await cluster.wait_for_split("web", 4, 4)
        await cluster.reclaim(*on_spot)

        async def waiting() -> bool:
            return len(await names_of_pending(cluster)) == 4

        await cluster.wait_until(waiting, "the 4 spot replicas wait")
        # An instance leads: nothing is released, however long the pods wait.
        await asyncio.sleep(900)
        assert await run_rescue(cluster) == 0
        for instance in list(operators.instances):
            await instance.kill()
    cluster.webhook_unreachable = True
    for minute in range(20):
        released = await run_rescue(cluster) if minute % 5 == 0 else 0
        assert released == (4 if minute == 10 else 0), minute
        await asyncio.sleep(60)
    assert await names_of_pending(cluster) == set()
    pods = await cluster.pods("web")
    assert sum(pod.ready for pod in pods) == 8
    assert sum(POD_CAPACITY_TYPE in pod.labels for pod in pods) == 4
