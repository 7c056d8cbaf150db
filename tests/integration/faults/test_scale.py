"""More of everything: ten times the cluster, and a storm of changes (safety.md B.1: 51, 52; L5)."""

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
from tests.integration.faults.simulated import count_evictions, wait_for_split, workload_spec
from tests.simulation.history import History
from tests.simulation.runner import run_script
from tests.simulation.world import World
from tests.support.api_objects import a_bookmark, a_pod, event, metadata, text
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import ScriptedTransport, Stream
from tests.support.virtual_time import LoopClock, in_virtual_time

PODS_OF_EACH = 10


def workload(number: int) -> bytes:
    wishes = {"spotalis.io/enabled": "true", "spotalis.io/spot-percentage": "50"}
    labels = {"app": f"w{number}"}
    return text(
        {
            "metadata": metadata(f"w{number}", annotations=wishes),
            "spec": {
                "replicas": PODS_OF_EACH,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": []}},
            },
        }
    )


def lines_of(workloads: int) -> Iterator[bytes]:
    """A streamed list of all their pods."""
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


class Lazy(Stream):
    """Lines that are made as they are read, so that only their reader holds them."""

    def __init__(self, workloads: int) -> None:
        super().__init__()
        self._workloads = workloads

    def __iter__(self) -> Iterator[Any]:
        return lines_of(self._workloads)


def read_in(workloads: int) -> tuple[int, int, int]:
    """Bytes held in the end, bytes at the most beyond that, and how many workloads wait."""

    async def run() -> tuple[int, int, int]:
        async def work(key: WorkloadKey) -> None:
            return None

        clock, rng = LoopClock(), LoadedRandom()
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
        client = Client(ScriptedTransport([Lazy(workloads)]), clock=clock, rng=rng)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        following = asyncio.create_task(
            reflect(
                client,
                PODS,
                StoreWriter(cluster.pods),
                on_change=cluster.on_pod_change,
                clock=clock,
                rng=rng,
            )
        )
        while not cluster.pods.synced:
            await asyncio.sleep(0)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        following.cancel()
        await asyncio.wait([following])
        assert len(cluster.pods) == workloads * PODS_OF_EACH
        return held - before, peak - held, len(queue)

    return in_virtual_time(run())


def test_row_51_ten_times_the_pods_cost_ten_times_the_memory_and_one_place_each_in_line() -> None:
    read_in(10)  # what is made once
    small, _, waiting = read_in(100)
    large, beyond, ten_times = read_in(1000)
    assert (waiting, ten_times) == (100, 1000)
    assert large < 10.5 * small
    assert large / 10_000 < 1000  # bytes a pod, indices and all
    assert beyond < 2**20, "the list is streamed: no more of it is held than a few events"


def test_row_52_a_storm_of_changes_costs_twenty_turns_a_second_and_nobody_the_lead() -> None:
    """10,000 changes of one workload's pods in a second, in 100 bursts; another beside it."""

    async def script(world: World) -> None:
        (process,) = world.processes
        turns: Counter[str] = Counter()
        reconcile = process.operator.reconcile_loop.reconciler.reconcile
        longest = 0

        async def counted(key: WorkloadKey) -> Any:
            turns[key.name] += 1
            return await reconcile(key)

        process.operator.reconcile_loop.reconciler.reconcile = counted  # type: ignore[method-assign]
        names = [pod["metadata"]["name"] for pod in world.oracle.pods_of("w0")]
        await asyncio.sleep(1)
        turns.clear()
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
        assert turns == {"w0": round(1 / PAUSE_SECONDS)}
        assert (longest, count_evictions(world)) == (1, 0), "in line: the workload itself, when due"
        await world.apply("percent", value=100)
        await wait_for_split(world, 3)

    two = History(
        seed=1, spot=2, on_demand=2, workloads=(workload_spec(), workload_spec(name="w1"))
    )
    outcome = run_script(two, script)
    assert not outcome.violations, outcome.violations
