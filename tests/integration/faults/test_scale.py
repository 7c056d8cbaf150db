"""Large clusters and bursts of changes (docs/contributing/faults.md: 51, 52)."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.queue import PAUSE_SECONDS, WorkQueue
from spotalis.controller.reservations import Reservations
from spotalis.kube import decode
from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.kube.watch import reflect
from spotalis.model.controller_configuration import ControllerConfiguration
from tests.integration.faults.simulated import (
    count_evictions,
    simulated,
    wait_for_split,
    workload_spec,
)
from tests.simulation.world import World
from tests.support.api_objects import a_bookmark, a_pod, event, metadata, text
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport, Stream
from tests.support.virtual_time import run_in_virtual_time, virtual_clock

PODS_OF_EACH = 10


def workload(number: int) -> bytes:
    annotations = {"spotalis.io/enabled": "true", "spotalis.io/spot-percentage": "50"}
    labels = {"app": f"w{number}"}
    return text(
        {
            "metadata": metadata(f"w{number}", annotations=annotations),
            "spec": {
                "replicas": PODS_OF_EACH,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": []}},
            },
        }
    )


def pod_events(workloads: int) -> Iterator[bytes]:
    """A WatchList of the pods of these workloads."""
    for number in range(workloads * PODS_OF_EACH):
        of = number // PODS_OF_EACH
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "controller": True}
        owner |= {"name": f"w{of}", "uid": f"uid-w{of}"}
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": None}]
        yield event(
            "ADDED",
            a_pod(
                f"w{of}-{number % PODS_OF_EACH}",
                version=number + 1,
                labels={"app": f"w{of}"},
                ownerReferences=[owner],
                conditions=conditions,
            ),
        )
    yield a_bookmark(10**9, ends_list=True)


class LazyStream(Stream):
    """Creates lines as they are read, so that only the reader holds them in memory."""

    def __init__(self, workloads: int) -> None:
        super().__init__()
        self._workloads = workloads

    def __iter__(self) -> Iterator[Any]:
        return pod_events(self._workloads)


def measure_list(workloads: int) -> tuple[int, int, int]:
    """Returns bytes in use at the end, the peak above that, and the length of the queue."""

    async def run() -> tuple[int, int, int]:
        async def work(key: WorkloadKey) -> None:
            return None

        clock, rng = virtual_clock(), LoadedRandom()
        queue = WorkQueue(work, clock=clock, rng=rng)
        cluster = Cluster(ControllerConfiguration(), Reservations(clock), queue.add, clock)
        shop = decode.namespace(text({"metadata": metadata("shop", namespace="")}))
        StoreWriter(cluster.namespaces).apply(Event(EventType.ADDED, shop))
        sets = StoreWriter(cluster.stateful_sets)
        for number in range(workloads):
            added = Event(EventType.ADDED, decode.stateful_set(workload(number)))
            change = sets.apply(added)
            assert change is not None
            cluster.on_workload_change(change)
        client = Client(ScriptedTransport([LazyStream(workloads)]), clock=clock, rng=rng)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        watching = asyncio.create_task(
            reflect(
                client,
                PODS,
                StoreWriter(cluster.pods),
                on_change=cluster.on_pod_change,
            )
        )
        while not cluster.pods.synced:
            await asyncio.sleep(0)
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        watching.cancel()
        await asyncio.wait([watching])
        assert len(cluster.pods) == workloads * PODS_OF_EACH
        return used - before, peak - used, len(queue)

    return run_in_virtual_time(run())


def test_row_51_memory_grows_linearly_and_each_workload_has_one_queue_entry() -> None:
    measure_list(10)  # allocates what is shared
    small, _, queued = measure_list(100)
    large, peak, queued_ten_times = measure_list(1000)
    assert (queued, queued_ten_times) == (100, 1000)
    assert large < 10.5 * small
    assert large / 10_000 < 1000  # bytes per pod, with indices
    assert peak < 2**20, "the list is streamed: only a few events are in memory at a time"


@simulated(workload_spec(), workload_spec(name="w1"))
async def test_row_52_a_burst_of_changes_causes_twenty_reconciles_per_second(
    world: World,
) -> None:
    """10,000 changes of one workload's pods in a second, next to another workload."""
    (process,) = world.processes
    reconciles: Counter[str] = Counter()
    reconcile = process.operator.reconcile_loop.reconciler.reconcile
    longest = 0

    async def count(key: WorkloadKey) -> Any:
        reconciles[key.name] += 1
        return await reconcile(key)

    process.operator.reconcile_loop.reconciler.reconcile = count  # type: ignore[method-assign]
    names = [pod["metadata"]["name"] for pod in world.oracle.pods_of("w0")]
    await asyncio.sleep(1)
    reconciles.clear()
    for burst in range(100):
        for number in range(100):
            pod = world.cluster.store.get("pods", "default", names[number % 5])
            assert pod is not None
            labels = {**pod["metadata"]["labels"], "churn": f"{burst}-{number}"}
            changed = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
            world.cluster.store.put("pods", changed)
        await asyncio.sleep(0.01)
        longest = max(longest, len(process.operator.reconcile_loop.queue))
        assert process.operator.elector.leads
    assert reconciles == {"w0": round(1 / PAUSE_SECONDS)}
    assert (longest, count_evictions(world)) == (1, 0), "only the workload itself is queued"
    await world.apply("percent", value=100)
    await wait_for_split(world, 3)
