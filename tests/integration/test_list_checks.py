"""Checks against the list of pods that authorizes evictions, and before a ledger is deleted.

The state changes between the plan and this list. On the embedded cluster, where a test can delay
the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from spotalis.controller.ledgers import Ledgers
from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.kube.client import Client, Conflict, PatchType
from spotalis.kube.store import Store
from spotalis.model.ledger import Intent, Ledger, LedgerObject
from spotalis.model.nodes import NodeType
from spotalis.model.transport import Request
from tests.support import incidents
from tests.support.builders import a_workload
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.eventually import until
from tests.support.loaded_rng import LoadedRandom
from tests.support.recorded_requests import RecordedRequests, is_quorum_list
from tests.support.scenarios import only_embedded

LIST_SECONDS = 1.0


async def set_ready(cluster: TestCluster, name: str, *, ready: bool) -> None:
    """Change the readiness of a pod; the embedded kubelet reacts at once."""
    annotation = {"embedded.spotalis.io/ready": None if ready else "never"}
    body = {"metadata": {"annotations": annotation}}
    path = f"/api/v1/namespaces/default/pods/{name}"
    answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200


def is_write(request: Request) -> bool:
    """Whether the request creates or replaces a ledger."""
    return request.method in ("POST", "PUT") and b"spotalis-ledger-" in (request.body or b"")


def during_the_first_list(
    recorded: RecordedRequests, change: Callable[[], Awaitable[None]]
) -> asyncio.Event:
    """Make a change while the next list that authorizes evictions is on its way.

    Returns:
        Set once the change is made.
    """
    done = asyncio.Event()
    running: list[asyncio.Task[None]] = []

    async def make() -> None:
        await change()
        done.set()

    def inject(request: Request) -> NetworkFault:
        if not is_quorum_list(request) or running:
            return DELIVER
        running.append(asyncio.create_task(make()))
        return NetworkFault(delay_seconds=LIST_SECONDS)

    recorded.inject = inject
    return done


@only_embedded
async def test_pods_that_become_ready_between_plan_and_list_move_one_at_a_time(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 0, max_moves_in_flight="1"))
        await cluster.wait_for_split("web", 6, 0)
        unready = [pod.name for pod in await cluster.pods("web")][:3]
        for name in unready:
            await set_ready(cluster, name, ready=False)

        async def become_ready() -> None:
            for name in unready:
                await set_ready(cluster, name, ready=True)

        done = during_the_first_list(recorded, become_ready)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await until(done.is_set, within=60)
        await asyncio.sleep(LIST_SECONDS)
        # Three pods that were not ready were to be evicted at once. They are ready in the list.
        assert len(recorded.evictions()) == 1


@only_embedded
async def test_a_node_announced_between_plan_and_list_does_not_count_toward_the_minimum(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.add_nodes(spot=2, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 3, policy(0, 2, max_moves_in_flight="3"))
        await cluster.wait_for_split("web", 3, 0)

        async def reclaim_another() -> None:
            written = [request.body or b"" for request in recorded.requests if is_write(request)]
            staying = [
                pod for pod in await cluster.pods("web") if pod.uid.encode() not in written[-1]
            ]
            await incidents.warn(cluster, staying[0].node, incidents.KARPENTER)

        done = during_the_first_list(recorded, reclaim_another)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "34"})
        await until(done.is_set, within=60)
        await asyncio.sleep(LIST_SECONDS)
        # Of three ready pods one is on a node that is being reclaimed; two are the minimum.
        assert recorded.evictions() == []


def an_intent(pod: str) -> Intent:
    return Intent(pod=pod, name="api-1", target=NodeType.SPOT, instance="another")


WORKLOAD = a_workload().workload


async def an_extended_ledger(cluster: TestCluster) -> tuple[Ledgers, LedgerObject, LedgerObject]:
    """An instance, the ledger that it knows, and the same after another instance's write."""
    assert isinstance(cluster, EmbeddedTestCluster)

    def instance(user: str) -> Ledgers:
        transport = cluster.embedded.transport(user)
        client = Client(transport, clock=cluster.api.clock, rng=LoadedRandom())
        store: Store[LedgerObject] = Store()
        return Ledgers(client, store, cluster.namespace)

    slow, fast = instance("slow"), instance("fast")
    first = await slow.write(WORKLOAD, None, Ledger(intents=(an_intent("old"),)))
    assert first is not None
    extended = Ledger(intents=(an_intent("old"), an_intent("new")))
    second = await fast.write(WORKLOAD, first, extended)
    assert second is not None
    return slow, first, second


@pytest.mark.parametrize("is_sweep", [False, True], ids=["nothing left in it", "swept"])
@only_embedded
async def test_a_ledger_that_another_instance_has_extended_is_not_deleted(
    cluster: TestCluster, is_sweep: bool
) -> None:
    slow, first, extended = await an_extended_ledger(cluster)
    if is_sweep:
        await slow.remove(first)
    else:
        with pytest.raises(Conflict):
            await slow.write(WORKLOAD, first, Ledger())
    assert await slow.read(WORKLOAD.uid) == extended


@only_embedded
async def test_a_ledger_that_another_instance_has_extended_is_not_overwritten(
    cluster: TestCluster,
) -> None:
    slow, first, extended = await an_extended_ledger(cluster)
    with pytest.raises(Conflict):
        await slow.write(WORKLOAD, first, Ledger(intents=(an_intent("mine"),)))
    assert await slow.read(WORKLOAD.uid) == extended
