"""CPU time of decisions, without a network: admissions of a burst, reconciles, and the resync."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import uuid
from typing import Any

from benchmarks.figure import Figure
from benchmarks.load import admission_request
from spotalis.app.build import build_operator
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Owner, ReplicaSet
from tests.support.builders import (
    a_namespace,
    a_node,
    a_pod,
    annotated,
    workload_named_api,
)
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

BURST = 5_000
GROUP = 250
"""Admissions that are measured together; the fastest of the groups counts."""
WORKLOADS = 1_000
PODS_EACH = 10
NODES = 200
NOTE_BYTES = 6_500
"""Of annotations, so that an admission request has 10 kB."""


class World:
    """An operator without a network, and what its caches show."""

    def __init__(self) -> None:
        # No request is answered: nothing that is measured may send one.
        self.operator = build_operator(
            ScriptedTransport([]),
            settings=ControllerConfiguration(),
            clock=ManualClock(),
            rng=random.Random(1),
        )
        self.cluster = cluster = self.operator.cluster
        self._writers = {name: StoreWriter(store) for name, store in cluster.stores().items()}
        for writer in self._writers.values():
            writer.end_relist()
            writer.mark_fresh(0.0)
        self._version = 0
        self.apply("namespaces", a_namespace(), cluster.on_namespace_change)
        for number in range(NODES):
            node_type = NodeType.SPOT if number % 2 else NodeType.ON_DEMAND
            node = a_node(f"node-{number}", node_type=node_type)
            self.apply("nodes", node, cluster.on_node_change)

    def apply(self, plural: str, record: Any, on_change: Any) -> None:
        """A watch shows a record."""
        on_change(self._writers[plural].apply(Event(EventType.MODIFIED, record)))

    def add_workload(self, number: int, replicas: int, percent: int) -> Owner:
        """Add a Deployment; return the owner of its pods."""
        name, cluster = f"web-{number}", self.cluster
        policy = annotated(enabled="true", spot_percentage=str(percent), min_on_demand="1")
        workload = workload_named_api(
            name=name, uid=f"{name}-uid", replicas=replicas, annotations=policy
        )
        self.apply("deployments", workload, cluster.on_workload_change)
        owner = Owner(group="apps", kind="ReplicaSet", name=f"{name}-1", uid=f"{name}-1-uid")
        parent = Owner(group="apps", kind="Deployment", name=name, uid=workload.uid)
        replica_set = ReplicaSet(
            namespace="shop", name=owner.name, uid=owner.uid, owner=parent, replicas=replicas
        )
        self.apply("replicasets", replica_set, cluster.on_replica_set_change)
        return owner

    def add_pod(self, owner: Owner, **fields: Any) -> None:
        """Add a running pod; every second one is on spot."""
        self._version += 1
        pod = a_pod(
            f"{owner.name}-{self._version}",
            owner=owner,
            node=f"node-{self._version % NODES}",
            resource_version=str(self._version),
            **fields,
        )
        self.apply("pods", pod, self.cluster.on_pod_change)


def measure() -> list[Figure]:
    """Measure a burst of 5,000 pods, and 1,000 workloads of 10 pods."""
    return [*asyncio.run(_burst()), *asyncio.run(_reconciles())]


async def _burst() -> list[Figure]:
    """Watches show the pods of a group after all of them were admitted."""
    world = World()
    owner = world.add_workload(0, BURST, 70)
    handle = world.operator.admission.handle
    milliseconds = []
    for _ in range(BURST // GROUP):
        requests = {uid: _body(owner, uid) for uid in (str(uuid.uuid4()) for _ in range(GROUP))}
        began = time.process_time()
        responses = {uid: await handle(body) for uid, body in requests.items()}
        milliseconds.append((time.process_time() - began) / GROUP * 1000)
        for uid, response in responses.items():
            world.add_pod(owner, request_uid=uid, rule="share", slot=_slot(response.body))
    first, last = min(milliseconds[:4]), min(milliseconds[-4:])
    return [
        Figure(
            name="CPU per admission: first 1,000 pods of a burst",
            value=first,
            unit="ms",
            how="decode 10 kB, decide and patch; no TLS and no HTTP; fastest 250 pods",
        ),
        Figure(
            name=f"last 1,000 of {BURST:,}, relative to them",
            value=last / first,
            unit="times",
            at_most=1.2,
        ),
    ]


def _body(owner: Owner, uid: str) -> bytes:
    document = json.loads(admission_request("shop", {"name": owner.name, "uid": owner.uid}))
    document["request"]["uid"] = uid
    document["request"]["object"]["metadata"]["annotations"] = {"note": "x" * NOTE_BYTES}
    return json.dumps(document, separators=(",", ":")).encode()


def _slot(response: bytes) -> int:
    patch = json.loads(base64.b64decode(json.loads(response)["response"]["patch"]))
    key = "/metadata/annotations/spotalis.io~1slot"
    return next(int(one["value"]) for one in patch if one["path"] == key)


async def _reconciles() -> list[Figure]:
    how = f"{PODS_EACH} pods each, {NODES} nodes; snapshot and decision, nothing is sent"
    drifted, balanced = _filled(percent=90), _filled(percent=50)
    began = time.process_time()
    for key in balanced.cluster.managed_keys():
        balanced.operator.reconcile_loop.reconciler.versions(key)
    at_rest = time.process_time() - began
    return [
        Figure(
            name="decisions for 1,000 workloads off target: CPU",
            value=await _decide(drifted),
            unit="s",
            at_most=1.0,
            how=how,
        ),
        Figure(
            name="decisions for 1,000 balanced workloads: CPU",
            value=await _decide(balanced),
            unit="s",
        ),
        Figure(
            name="resync of 1,000 workloads at rest: CPU",
            value=at_rest,
            unit="s",
            at_most=0.1,
            how="twice a minute",
        ),
    ]


def _filled(percent: int) -> World:
    world = World()
    for number in range(WORKLOADS):
        owner = world.add_workload(number, PODS_EACH, percent)
        for _ in range(PODS_EACH):
            world.add_pod(owner)
    return world


async def _decide(world: World) -> float:
    """The CPU seconds of a decision for each workload."""
    cluster, reconciler = world.cluster, world.operator.reconcile_loop.reconciler
    began = time.process_time()
    for key in cluster.managed_keys():
        workload, configuration = cluster.find_workload(key), cluster.find_configuration(key)
        assert workload is not None
        assert configuration is not None
        await reconciler.plan(workload, configuration, None)
    return time.process_time() - began
