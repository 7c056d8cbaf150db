"""The webhook of an operator on an embedded cluster, called with hand-made AdmissionReviews."""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
import random  # noqa: TID251  # seeded
from typing import Any

from spotalis.app.build import build_operator
from spotalis.app.clock import SystemClock
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.nodes import EKS, GKE, Provider, make_node
from spotalis.embedded.server.patches import json_patch
from spotalis.model.controller_configuration import ControllerConfiguration, LeaderElection
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Owner
from spotalis.planner.reserved_slots import ReservedSlots
from spotalis.web.connections import Stage
from spotalis.webhook.server import WebhookServer
from tests.support.cluster import NO_POLICY, policy, workload_body
from tests.support.held_time import held_time
from tests.support.http_caller import Caller, Reply, ask

Json = Any
REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
REPLICAS = 10
"""Desired replicas of each workload but ``empty``; none of them exists."""
WORKLOADS = (
    ("Deployment", "api", "shop", policy(70, 1)),
    ("StatefulSet", "db", "shop", policy(50, 1)),
    ("Deployment", "plain", "shop", NO_POLICY),
    ("Deployment", "dns", "kube-system", policy(70, 1)),
    ("Deployment", "empty", "shop", policy(70, 1)),
)
PROVIDERS: tuple[Provider, ...] = (GKE, EKS)
NODES = [
    (node_type, provider.labels(node_type) | {"disk": disk})
    for provider in PROVIDERS
    for node_type in (NodeType.SPOT, NodeType.ON_DEMAND)
    for disk in ("ssd", "hdd")
]
"""The capacity type and the labels of each node."""


def node_name(number: int) -> str:
    """The name of a node by its position in NODES."""
    return f"{NODES[number][0]}-{number}"


class AdmissionWebhook:
    """A served webhook on an event loop of its own, for tests that are not coroutines."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._owners: dict[str, Json] = {}
        """ReplicaSets and StatefulSets by the name of their workload."""
        self._cluster = EmbeddedCluster(clock=SystemClock(), rng=random.Random(5))
        self._runner = asyncio.Runner()
        self._runner.run(self._start())

    def close(self) -> None:
        self._runner.run(self._stop())
        self._runner.close()

    def request(self, workload: str, pod: Json, **fields: Json) -> Json:
        """An AdmissionReview for a new pod of the workload."""
        owner = self._owners[workload]
        metadata = owner["metadata"]
        reference = {"apiVersion": "apps/v1", "kind": owner["kind"], "controller": True}
        reference |= {"name": metadata["name"], "uid": metadata["uid"]}
        pod = copy.deepcopy(pod)
        pod["metadata"] = {**pod["metadata"], "ownerReferences": [reference]}
        request = {
            "uid": f"request-{next(self._numbers)}",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": metadata["namespace"],
            "object": pod,
        }
        return REVIEW | {"request": request | fields}

    def post(self, body: bytes) -> Reply:
        return self._runner.run(self._caller.ask("POST", "/mutate", body))

    def post_beside(self, body: bytes, crowd: list[bytes]) -> tuple[Reply, float, int]:
        """Send a request while a crowd of others is in progress, and time is held.

        Returns the response, the time that had to pass for it, and how many of the others wait.
        """
        return self._runner.run(self._post_beside(body, crowd))

    async def _post_beside(self, body: bytes, crowd: list[bytes]) -> tuple[Reply, float, int]:
        with held_time() as time:
            began = time.seconds()
            others = [
                asyncio.create_task(ask(self._port, "POST", "/mutate", each)) for each in crowd
            ]
            while len(self._server._requests) + sum(each.done() for each in others) < len(crowd):
                await asyncio.sleep(0)
            reply = await self._caller.ask("POST", "/mutate", body)
            passed, waiting = time.seconds() - began, len(self._server._requests)
            while not all(each.done() for each in others):
                time.advance(0.01)
                await asyncio.sleep(0)
        assert {(await each).status for each in others} == {200}
        return reply, passed, waiting

    def stage_after(self, body: bytes) -> Stage:
        """Send a request on a connection of its own; returns the stage of the connection."""
        return self._runner.run(self._stage_after(body))

    async def _stage_after(self, body: bytes) -> Stage:
        assert self._server._listener is not None
        before = set(self._server._listener._open)
        async with Caller(self._port) as caller:
            await caller.ask("POST", "/mutate", body)
            (connection,) = self._server._listener._open - before
            return connection.stage

    def admit(self, review: Json) -> tuple[Json, list[Json], str]:
        """Send a request; returns the pod after admission, the patch and the decision."""
        reply = self.post(json.dumps(review).encode())
        assert reply.status == 200, reply.body
        response = reply.json()["response"]
        assert {key: reply.json()[key] for key in REVIEW} == REVIEW
        assert (response["uid"], response["allowed"]) == (review["request"]["uid"], True)
        patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
        pod = copy.deepcopy(review["request"]["object"])
        return json_patch(pod, patch), patch, response["auditAnnotations"]["decision"]

    def reservations(self, workload: str) -> ReservedSlots:
        """The slots of admitted pods that do not exist yet."""
        return self._operator.admission._reservations.of(*self._owner(workload))

    def count_reservations(self, workload: str) -> int:
        """The number of these reservations; the pods of these tests have no ordinal."""
        return self._operator.admission._reservations.count(*self._owner(workload))

    def drop_reservations(self, workload: str) -> None:
        self._operator.admission._reservations.trim(*self._owner(workload), 0)

    def _owner(self, workload: str) -> tuple[str, str]:
        """Namespace and UID of the owner of a workload's pods."""
        metadata = self._owners[workload]["metadata"]
        return metadata["namespace"], metadata["uid"]

    async def _start(self) -> None:
        cluster, clock = self._cluster, SystemClock()
        await cluster.start()
        for name in ("shop", "spotalis-system"):
            await cluster.api.create("namespaces", {"metadata": {"name": name}})
        for number, (_, labels) in enumerate(NODES):
            await cluster.fleet.register(make_node(node_name(number), labels=labels))
        settings = ControllerConfiguration(leader_election=LeaderElection(enabled=False))
        self._operator = build_operator(
            cluster.transport("operator"), settings=settings, clock=clock, rng=random.Random(6)
        )
        self._running = asyncio.create_task(self._operator.run())
        await self._operator.synced.wait()
        # The owners exist, but not their pods: every slot is free.
        await cluster.stop_controller("replicaset")
        await cluster.stop_controller("statefulset")
        for kind, name, namespace, policy_annotations in WORKLOADS:
            replicas = 0 if name == "empty" else REPLICAS
            body = workload_body(kind, name, replicas, policy_annotations)
            body["metadata"]["namespace"] = namespace
            await cluster.api.create(f"{kind.lower()}s", body)
        async with asyncio.timeout(60):
            while not self._has_owners():
                await asyncio.sleep(0.01)
        self._server = WebhookServer(self._operator.admission.handle, clock=clock)
        self._port = await self._server.start("127.0.0.1", 0, None)
        self._caller = Caller(self._port)
        await self._caller.__aenter__()
        await self._caller.ask("POST", "/mutate", b"{}")  # keeps the connection open

    def _has_owners(self) -> bool:
        """Whether the operator knows the owner of every workload; records the owners."""
        for kind in ("ReplicaSet", "StatefulSet"):
            for found in self._cluster.store.list(f"{kind.lower()}s"):
                workload = found["metadata"]["name"].split("-")[0]
                self._owners[workload] = found | {"kind": kind}
        return len(self._owners) == len(WORKLOADS) and all(
            self._operator.cluster.find_owner(
                owner["metadata"]["namespace"],
                Owner("apps", owner["kind"], owner["metadata"]["name"], owner["metadata"]["uid"]),
            )
            for owner in self._owners.values()
        )

    async def _stop(self) -> None:
        await self._caller.__aexit__(None, None, None)
        await self._server.stop(1)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._cluster.stop()
