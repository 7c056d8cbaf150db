"""Load generator for the webhook, a separate process: ``python -m benchmarks.load < plan.json``.

An open loop: admission requests are sent at a fixed rate, answered or not. Latency counts from the
time at which a request was due, so a stall counts for every request that it delays. With a rate of
0 it is a closed loop: each connection sends its next request once the last one is answered. Each
connection sends a request at once, as the API server does, whose latency does not count: its client
is known from then on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import time
import uuid
from typing import Any

from benchmarks.objects import pod_spec


def admission_request(namespace: str, owner: dict[str, str]) -> bytes:
    """The API server's admission request for a pod that a ReplicaSet creates."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    resource = {"group": "", "version": "v1", "resource": "pods"}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    document: dict[str, Any] = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "generateName": owner["name"] + "-",
                    "labels": {"app": owner["name"]},
                    "ownerReferences": [reference],
                },
                "spec": pod_spec(),
            },
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


async def run(plan: dict[str, Any]) -> list[float]:
    """Run the load that the plan describes; return the latency of each request in seconds.

    Exits the process if a response has another status than 200.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    due_times: asyncio.Queue[float | None] = asyncio.Queue()
    latencies: list[float] = []
    owners, rate = plan["owners"], plan["rate"]
    total = int(rate * plan["seconds"]) if rate else plan["requests"]
    namespace, path = plan.get("namespace", "default"), plan.get("path", "/mutate")
    connections = plan["connections"]
    bodies = [
        admission_request(namespace, owners[n % len(owners)]) for n in range(total + connections)
    ]

    async def connection(known: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", plan["port"], ssl=context)
        await _send(reader, writer, path, bodies.pop())
        known.set()
        while (due := await due_times.get()) is not None:
            at = due or time.perf_counter()
            await _send(reader, writer, path, bodies.pop())
            latencies.append(time.perf_counter() - at)
        writer.close()

    async with asyncio.TaskGroup() as group:
        events = [asyncio.Event() for _ in range(connections)]
        for known in events:
            group.create_task(connection(known))
        for known in events:
            await known.wait()
        began = time.perf_counter()
        for number in range(total):
            at = began + number / rate if rate else 0.0
            if (ahead := at - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            due_times.put_nowait(at)
        for _ in range(connections):
            due_times.put_nowait(None)
    return latencies


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"unexpected response: {answer[:200]!r}")
    lines = answer.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(length)


if __name__ == "__main__":
    gc.disable()  # a collection here would count as latency of the webhook
    print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
