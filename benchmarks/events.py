"""Throughput of the watch: events decoded, stored and indexed per second on one core."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import msgspec

from benchmarks.figure import Figure
from benchmarks.objects import pod
from spotalis.app.clock import SystemClock
from spotalis.controller.cluster import Cluster
from spotalis.controller.reservations import Reservations
from spotalis.kube.client import Client
from spotalis.kube.resources import PODS
from spotalis.kube.store import StoreWriter
from spotalis.kube.watch import reflect
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, Response

PODS_LISTED = 10_000
EVENTS = 40_000
CHUNK_BYTES = 64 * 1024


class RecordedServer:
    """Streams prebuilt bytes as an API server would: an initial list, changes, then nothing."""

    def __init__(self, initial: bytes, changes: bytes, done: asyncio.Event) -> None:
        self._initial = initial
        self._changes = changes
        self._done = done
        self.listed_at = 0.0

    async def send(self, request: Request) -> Response:
        return Response(status=404)

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        for start in range(0, len(self._initial), CHUNK_BYTES):
            yield self._initial[start : start + CHUNK_BYTES]
            await asyncio.sleep(0)
        self.listed_at = time.perf_counter()
        for start in range(0, len(self._changes), CHUNK_BYTES):
            yield self._changes[start : start + CHUNK_BYTES]
            await asyncio.sleep(0)
        self._done.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        return


def measure() -> list[Figure]:
    """List 10,000 pods of 6 kB each, then apply 40,000 changes to them."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    pods = [
        pod(number, f"web-{number // 10}", f"uid-{number // 10}") for number in range(PODS_LISTED)
    ]
    initial = b"".join(_event("ADDED", each) for each in pods)
    initial += _event("BOOKMARK", _bookmark(20_000))
    changes = []
    for number in range(EVENTS):
        changed = pods[number % PODS_LISTED]
        metadata = {**changed["metadata"], "resourceVersion": str(30_000 + number)}
        changes.append(_event("MODIFIED", {**changed, "metadata": metadata}))
    done = asyncio.Event()
    server = RecordedServer(initial, b"".join(changes), done)
    clock = SystemClock()
    rng = random.Random(0)
    cluster = Cluster(ControllerConfiguration(), Reservations(clock), lambda key: None, clock)
    writer: StoreWriter[Pod] = StoreWriter(cluster.pods)
    client = Client(server, clock=clock, rng=rng)
    began = time.perf_counter()
    task = asyncio.create_task(reflect(client, PODS, writer, on_change=cluster.on_pod_change))
    await done.wait()
    ended = time.perf_counter()
    assert len(cluster.pods) == PODS_LISTED
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    size = len(initial) / PODS_LISTED
    return [
        Figure(
            name="initial list of 10,000 pods",
            value=server.listed_at - began,
            unit="s",
            how=f"WatchList, {size / 1000:.1f} kB per pod, in memory, no network",
        ),
        Figure(
            name="watch events applied",
            value=EVENTS / (ended - server.listed_at),
            unit="/s",
            at_least=30_000,
            how="one core; decoding, store, indices, wake-ups; no network",
        ),
    ]


def _event(kind: str, document: object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": document}) + b"\n"


def _bookmark(version: int) -> dict[str, object]:
    annotations = {"k8s.io/initial-events-end": "true"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(version), "annotations": annotations},
    }
