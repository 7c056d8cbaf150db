"""An API server without storage that shows a large cluster: ``python -m benchmarks.synthetic``.

It answers watches with invented objects that never change, and counts what the operator writes. It
runs in a process of its own, so that its work takes no time of the operator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from benchmarks.objects import deployment, node, pod

PODS_EACH = 10
BOOKMARK_SECONDS = 30.0
CHUNK_BYTES = 64 * 1024
KINDS = {
    "nodes": "Node",
    "namespaces": "Namespace",
    "deployments": "Deployment",
    "replicasets": "ReplicaSet",
    "pods": "Pod",
    "statefulsets": "StatefulSet",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "configmaps": "ConfigMap",
}


class SyntheticServer:
    """Shows balanced Deployments; every second node is spot."""

    def __init__(self, workloads: int, nodes: int, replicas: int, pods_each: int) -> None:
        """With more desired ``replicas`` than pods exist, admission requests can follow."""
        self._workloads = workloads
        self._nodes = nodes
        self._replicas = replicas
        self._pods_each = pods_each
        self._writes: Counter[str] = Counter()

    def application(self) -> web.Application:
        """The server for aiohttp."""
        app = web.Application()
        app.router.add_get("/writes", self._show_writes)
        app.router.add_get("/version", self._show_version)
        app.router.add_get("/api/v1/namespaces/{name}", self._show_namespace)
        kinds = "{plural:" + "|".join(KINDS) + "}"
        app.router.add_get("/api/v1/" + kinds, self._watch)
        app.router.add_get("/api/v1/namespaces/{namespace}/" + kinds, self._watch)
        app.router.add_get("/apis/{group}/v1/" + kinds, self._watch)
        app.router.add_post("/{path:.*}", self._create)
        return app

    async def _show_writes(self, request: web.Request) -> web.Response:
        return web.json_response(self._writes)

    async def _show_version(self, request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})

    async def _show_namespace(self, request: web.Request) -> web.Response:
        return web.json_response(_namespace(request.match_info["name"]))

    async def _create(self, request: web.Request) -> web.Response:
        self._writes[request.path.rpartition("/")[2]] += 1
        return web.json_response(await request.json(), status=201)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """Stream all objects of a kind if asked for, then bookmarks until the client's timeout.

        Without ``watch``, list them: all in one page.
        """
        kind = KINDS[request.match_info["plural"]]
        if "watch" not in request.query:
            page = '{"kind":"List","metadata":{"resourceVersion":"1000"},"items":[%s]}'
            text = page % ",".join(self._objects(kind))
            return web.Response(text=text, content_type="application/json")
        response = web.StreamResponse()
        await response.prepare(request)
        if request.query.get("sendInitialEvents") == "true":
            chunk = bytearray()
            for text in self._objects(kind):
                chunk += b'{"type":"ADDED","object":%s}\n' % text.encode()
                if len(chunk) > CHUNK_BYTES:
                    await response.write(bytes(chunk))
                    chunk.clear()
            await response.write(bytes(chunk) + _bookmark(kind, is_initial=True))
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while True:
                    await asyncio.sleep(BOOKMARK_SECONDS)
                    await response.write(_bookmark(kind, is_initial=False))
        except TimeoutError:
            return response

    def _objects(self, kind: str) -> Iterator[str]:
        match kind:
            case "Node":
                for number in range(self._nodes):
                    found = node(number)
                    found["metadata"] |= {"name": f"node-{number}", **_identity(f"node-{number}")}
                    yield json.dumps(found)
            case "Namespace":
                for name in ("default", "spotalis-system"):
                    yield json.dumps(_namespace(name))
            case "Deployment":
                for number in range(self._workloads):
                    yield json.dumps(_deployment(number, self._replicas, self._pods_each))
            case "ReplicaSet":
                for number in range(self._workloads):
                    yield json.dumps(_replica_set(number, self._replicas))
            case "Pod":
                yield from self._pods()

    def _pods(self) -> Iterator[str]:
        """Pods of 6 kB each, from a template: encoding each would take most of the time."""
        found = pod(0, "web-OWNER", "set-OWNER")
        found["metadata"] |= {"name": "web-OWNER-NUMBER", **_identity("pod-NUMBER")}
        found["spec"]["nodeName"] = "node-PLACE"
        template = json.dumps(found)
        for number in range(self._workloads * self._pods_each):
            text = template.replace("NUMBER", str(number))
            text = text.replace("OWNER", str(number // self._pods_each))
            yield text.replace("PLACE", str(number % self._nodes))


def _identity(uid: str) -> dict[str, str]:
    return {"uid": uid, "resourceVersion": "1000"}


def _namespace(name: str) -> dict[str, Any]:
    return {"kind": "Namespace", "metadata": {"name": name, **_identity(name)}}


def _deployment(number: int, desired: int, present: int) -> dict[str, Any]:
    found = deployment(f"web-{number}", desired)
    found["metadata"] |= {"namespace": "default", **_identity(f"web-{number}"), "generation": 1}
    found["metadata"]["annotations"]["spotalis.io/spot-percentage"] = "50"
    replicas = {"replicas": present, "updatedReplicas": present}
    # As an earlier leader has left it: a new one need not write it.
    balanced = {"type": "spotalis.io/Balanced", "status": "True", "reason": "Balanced"}
    return found | {"status": {"observedGeneration": 1, **replicas, "conditions": [balanced]}}


def _replica_set(number: int, desired: int) -> dict[str, Any]:
    name = f"web-{number}"
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": name}
    identity = {"namespace": "default", "name": name, **_identity(f"set-{number}")}
    return {
        "metadata": {**identity, "ownerReferences": [owner | {"controller": True}]},
        "spec": {"replicas": desired},
    }


def _bookmark(kind: str, *, is_initial: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": "1000"}
    if is_initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    event = {"type": "BOOKMARK", "object": {"kind": kind, "metadata": metadata}}
    return json.dumps(event).encode() + b"\n"


def main() -> None:
    """Serve until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthetic", description=__doc__)
    for name in ("port", "workloads", "nodes", "replicas", "pods_each"):
        parser.add_argument(name, type=int)
    arguments = parser.parse_args()
    server = SyntheticServer(
        arguments.workloads, arguments.nodes, arguments.replicas, arguments.pods_each
    )
    web.run_app(server.application(), host="127.0.0.1", port=arguments.port, print=None)


if __name__ == "__main__":
    main()
