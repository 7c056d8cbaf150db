"""The nodes and the pods that compete for them, collected from the stores for the planner."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.volumes import Volumes
from spotalis.model.classification import Pin
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, NodeTerms, Pod, PodShape
from spotalis.model.provider_groups import KARPENTER_API
from spotalis.planner.anti_affinity import AvoidingPods
from spotalis.planner.free_capacity import FreeCapacity, Memo, WaitingPods, assign
from spotalis.planner.spot_capacity import next_pod_shape


class StoreNodesView:
    """Implements :class:`spotalis.planner.spot_capacity.NodesView` on the stores."""

    def __init__(self, cluster: Cluster, ledgers: Ledgers, volumes: Volumes) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._volumes = volumes
        self._free = FreeCapacity()
        self._version = -1
        """The version that ``_free`` was computed of, at least."""
        self._memo: Memo = {}
        self._memo_version = -1
        self._lock = asyncio.Lock()

    @property
    def shows_all_pods(self) -> bool:
        """Whether the pods of all namespaces are watched."""
        return not self._cluster.settings.namespaces.watched

    @property
    def has_provisioner(self) -> bool:
        """Whether the API server serves the API of Karpenter, or a node is Karpenter's."""
        nodes = self._cluster.nodes
        return nodes.served.get(KARPENTER_API, False) or nodes.has_node_pool

    def all(self) -> Iterable[Node]:
        """All nodes."""
        return self._cluster.nodes.store

    def of_type(self, node_type: NodeType) -> Sequence[Node]:
        """The nodes of a type."""
        return self._cluster.nodes.of_type(node_type)

    def opened_at(self, name: str) -> datetime | None:
        """When the node last changed so that it might take more pods."""
        return self._cluster.nodes.opened_at(name)

    def pin(self, node_type: NodeType) -> Pin | None:
        """What the webhook adds to pods of this type."""
        return self._cluster.nodes.pin(node_type)

    def pinned_to(self, shape: PodShape) -> NodeType:
        """The only type on whose nodes a pod of this shape may run."""
        return self._cluster.nodes.pinned_to(shape)

    def without_pins(self, shape: PodShape) -> PodShape:
        """The shape of an admitted pod without what the webhook has added."""
        return self._cluster.nodes.without_pins(shape)

    def free_capacity(self) -> FreeCapacity:
        """What is free on the spot nodes, as of the last :meth:`update`."""
        return self._free

    @property
    def version(self) -> int:
        """Increases with every change of what free capacity depends on: nodes, pods, ledgers and
        volumes. The other properties are current at each call."""
        cluster = self._cluster
        own = self._ledgers.store.changes + self._volumes.reads
        return cluster.placed.changes + cluster.nodes.changes + own

    async def update(self, version: int) -> bool:
        """Compute the free capacity again unless it is at least of this version.

        One computation serves all workloads. It lets other tasks run after each slice of work.

        Returns:
            Whether it was computed, so that earlier observations may be out of date.
        """
        async with self._lock:
            if self._version >= version:
                return False
            self._version = self.version
            if self._memo_version != self._cluster.nodes.changes:
                self._memo_version = self._cluster.nodes.changes
                self._memo.clear()
            pin = self.pin(NodeType.SPOT) or Pin()
            steps = assign(self._spot_nodes(), self._waiting(pin), self._memo)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    self._free = end.value
                    return True
                await asyncio.sleep(0)

    def _spot_nodes(self) -> Iterator[tuple[Node, Sequence[PodShape]]]:
        for node in self.of_type(NodeType.SPOT):
            yield node, self._cluster.placed.shapes_on(node.name)

    def _waiting(self, pin: Pin) -> list[WaitingPods]:
        """All Pending pods, and the replacements that open moves bring to spot, grouped."""
        counts: Counter[tuple[str, int, NodeTerms]] = Counter()
        shapes: dict[int, PodShape] = {}
        for pod in self._cluster.placed.waiting():
            shape = pod.shape
            shapes[id(shape)] = shape
            terms = self._volumes.affinity(pod) if pod.claims else ()
            counts[pod.namespace if shape.anti_affinity else "", id(shape), terms] += 1
        waiting = [
            WaitingPods(shape=shapes[key].restricted_to(terms), count=count, namespace=namespace)
            for (namespace, key, terms), count in counts.items()
        ]
        for held in self._ledgers.store:
            if held.ledger is not None and held.ledger.intents:
                waiting += self._replacements(held.ledger, pin)
        return waiting

    def spot_pods_since(self, since: datetime) -> int:
        """Number of pods that the webhook sent to spot and that run on newer spot nodes."""
        return sum(
            bool(pod.rule) and not pod.finished
            for node in self.of_type(NodeType.SPOT)
            if node.created_at is not None and node.created_at >= since
            for pod in self._cluster.placed.pods_on(node.name)
        )

    def pods_in(self, namespace: str) -> Iterator[tuple[Pod, Node]]:
        """The bound pods of a namespace with their nodes."""
        for pod in self._cluster.pods.in_namespace(namespace):
            if (node := self._cluster.nodes.get(pod.node)) is not None:
                yield pod, node

    def pods_avoiding(self, namespace: str) -> Sequence[AvoidingPods]:
        """The bound pods whose anti-affinity may concern pods of a namespace."""
        return self._cluster.placed.avoiding(namespace)

    def find(self, name: str) -> Node | None:
        """The node with this name."""
        return self._cluster.nodes.get(name)

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace."""
        found = self._cluster.namespaces.get("", namespace)
        return found.labels if found is not None else {}

    def _replacements(self, ledger: Ledger, pin: Pin) -> Iterator[WaitingPods]:
        """The pods that the open moves of a ledger will bring to spot."""
        workload = self._cluster.find_workload(WorkloadKey.of(ledger))
        if workload is None:
            return
        workload, _ = self._cluster.with_replica_sets(workload)
        pods = list(self._cluster.pods_of(workload))
        intended = {intent.pod for intent in ledger.intents}
        living = sum(not (pod.deleting_at or pod.finished or pod.uid in intended) for pod in pods)
        replaced = {pod.move for pod in pods}
        coming = [i for i in ledger.intents if i.target is NodeType.SPOT]
        coming.sort(key=lambda intent: intent.move in replaced)
        shape = next_pod_shape(workload, pods, self.without_pins)
        shape = msgspec.structs.replace(shape, tolerations=shape.tolerations + pin.tolerations)
        for intent in coming[: max(0, workload.replicas - living)]:
            restricted = shape.restricted_to(self._volumes.affinity_of(intent.pod))
            yield WaitingPods(shape=restricted, namespace=workload.namespace)
