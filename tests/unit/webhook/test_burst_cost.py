"""An admission costs the same however many pods of the burst were admitted before."""

from __future__ import annotations

import asyncio
import base64
import json
import random  # noqa: TID251  # seeded
from typing import Any

import msgspec
import pytest

from spotalis.app.build import build_operator
from spotalis.app.operator import Operator
from spotalis.kube.store import Event, EventType, StoreWriter
from spotalis.model.configuration import POD_CAPACITY_TYPE
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.objects import Owner, Pod, ReplicaSet
from tests.support.builders import (
    BOTH_KINDS,
    DEPLOYMENT,
    ON_DEMAND,
    SPOT,
    STATEFUL_SET,
    a_namespace,
    a_node,
    a_pod,
    annotated,
    owner_of,
    workload_named_api,
)
from tests.support.executed_lines import executed_lines
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

BURST = 1000
UNSEEN = 20
"""Pods that are admitted and that no watch has shown yet."""
STARTING = 10
"""Pods that a watch has shown and that no scheduler has bound yet."""
EARLY, LATE = range(60, 80), range(BURST - 20, BURST)
"""Pods whose cost is compared. From the first of them on, as many pods change from one admission to
the next as later."""


class Burst:
    """An operator, and a workload whose pods are created one after the other."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.owner = owner_of(kind)
        self.operator: Operator = build_operator(
            ScriptedTransport([]),
            settings=ControllerConfiguration(),
            clock=ManualClock(),
            rng=random.Random(1),
        )
        self.pods: list[Pod] = []
        self.version = 0
        cluster = self.operator.cluster
        self.writers = {name: StoreWriter(store) for name, store in cluster.stores().items()}
        for writer in self.writers.values():
            writer.end_relist()
        self.apply("namespaces", a_namespace(), cluster.on_namespace_change)
        for name, node_type in (("spot-1", SPOT), ("on-demand-1", ON_DEMAND)):
            self.apply("nodes", a_node(name, node_type=node_type), cluster.on_node_change)
        policy = annotated(enabled="true", spot_percentage="70", min_on_demand="2")
        workload = workload_named_api(kind=kind, replicas=BURST, annotations=policy)
        self.apply(f"{kind.lower()}s", workload, cluster.on_workload_change)
        if kind == DEPLOYMENT:
            replica_set = ReplicaSet(
                namespace="shop",
                name=self.owner.name,
                uid=self.owner.uid,
                owner=Owner(group="apps", kind=kind, name="api", uid=workload.uid),
                replicas=BURST,
            )
            self.apply("replicasets", replica_set, cluster.on_replica_set_change)

    def apply(self, plural: str, record: Any, on_change: Any) -> None:
        """A watch shows a record."""
        change = self.writers[plural].apply(Event(EventType.MODIFIED, record))
        on_change(change)

    async def admit(self, number: int) -> None:
        """Admit a pod."""
        metadata: dict[str, Any] = {
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": self.owner.kind,
                    "name": self.owner.name,
                    "uid": self.owner.uid,
                    "controller": True,
                }
            ],
        }
        is_named = self.kind == STATEFUL_SET
        metadata |= {"name": f"api-{number}"} if is_named else {"generateName": "api-"}
        request = {
            "uid": f"request-{number}",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "shop",
            "name": metadata.get("name", ""),
            "object": {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}},
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        body = json.dumps(review | {"request": request}).encode()
        response = await self.operator.admission.handle(body)
        patch = json.loads(base64.b64decode(json.loads(response.body)["response"]["patch"]))
        added = {part["path"]: part["value"] for part in patch}
        pod = a_pod(
            f"api-{number}",
            owner=self.owner,
            labels={"app": "api", **added["/metadata/labels"]},
            slot=int(added["/metadata/annotations"]["spotalis.io/slot"]),
            rule="share",
            request_uid=f"request-{number}",
        )
        self.pods.append(pod)

    def show(self, number: int, *, is_bound: bool) -> None:
        """A watch shows a pod, waiting for a node or bound to one."""
        if number >= 0:
            self.version += 1
            pod = self.pods[number]
            node = f"{pod.labels[POD_CAPACITY_TYPE]}-1" if is_bound else ""
            pod = msgspec.structs.replace(pod, node=node, resource_version=str(self.version))
            self.apply("pods", pod, self.operator.cluster.on_pod_change)


@pytest.mark.parametrize("unseen", [UNSEEN, BURST], ids=["seen", "unseen"])
@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_the_last_pod_of_a_burst_costs_as_much_as_an_early_one(kind: str, unseen: int) -> None:
    async def cost_of(number: int) -> int:
        with executed_lines() as lines:
            await burst.admit(number)
        return lines.count

    async def play() -> None:
        for number in range(BURST):
            if number in (*EARLY, *LATE):
                costs[number] = await cost_of(number)
            else:
                await burst.admit(number)
            burst.show(number - unseen, is_bound=False)
            burst.show(number - unseen - STARTING, is_bound=True)

    burst, costs = Burst(kind), dict[int, int]()
    asyncio.run(play())
    # The two capacity types differ by a few lines. The garbage collector may run in any call.
    early, late = ([costs[number] for number in numbers] for numbers in (EARLY, LATE))
    assert min(late) <= min(early) + 10
    types = [pod.labels[POD_CAPACITY_TYPE] for pod in burst.pods]
    assert (types.count(SPOT), types.count(ON_DEMAND)) == (700, 300)
