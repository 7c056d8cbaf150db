"""The nodes and the pods that compete for them, collected from the stores for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.volumes import Volumes
from spotalis.model.classification import Pin
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, Pod, PodShape
from spotalis.model.provider_groups import KARPENTER_API
from spotalis.planner.spot_capacity import next_pod_shape


class StoreNodesView:
    """Implements :class:`spotalis.planner.spot_capacity.NodesView` on the stores."""

    def __init__(self, cluster: Cluster, ledgers: Ledgers, volumes: Volumes) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._volumes = volumes

    @property
    def shows_all_pods(self) -> bool:
        """Whether the pods of all namespaces are watched."""
        return not self._cluster.settings.namespaces.watched

    @property
    def serves_karpenter(self) -> bool:
        """Whether the API server serves the API of Karpenter."""
        return self._cluster.nodes.served.get(KARPENTER_API, False)

    def all(self) -> Iterable[Node]:
        """All nodes."""
        return self._cluster.nodes.store

    def of_type(self, node_type: NodeType) -> Sequence[Node]:
        """The nodes of a type."""
        return self._cluster.nodes.of_type(node_type)

    def pin(self, node_type: NodeType) -> Pin | None:
        """What the webhook adds to pods of this type."""
        return self._cluster.nodes.pin(node_type)

    def pinned_to(self, shape: PodShape) -> NodeType:
        """The only type on whose nodes a pod of this shape may run."""
        return self._cluster.nodes.pinned_to(shape)

    def bound_shapes(self, nodes: Iterable[Node]) -> Mapping[str, Sequence[PodShape]]:
        """The shapes of the pods that use resources, by node name."""
        return self._cluster.bound_shapes(nodes)

    def coming_shapes(self, pin: Pin) -> Iterator[PodShape]:
        """The shapes of all Pending pods and of the replacements that open moves bring to spot."""
        for pod in self._cluster.pending_pods():
            yield pod.shape.restricted_to(self._volumes.affinity(pod))
        for held in self._ledgers.store:
            if held.ledger is not None and held.ledger.intents:
                yield from self._replacement_shapes(held.ledger, pin)

    def pods_in(self, namespace: str) -> Iterator[tuple[Pod, Node]]:
        """The bound pods of a namespace with their nodes."""
        for pod in self._cluster.pods.in_namespace(namespace):
            if (node := self._cluster.nodes.get(pod.node)) is not None:
                yield pod, node

    def _replacement_shapes(self, ledger: Ledger, pin: Pin) -> Iterator[PodShape]:
        """The shapes of the pods that the open moves of a ledger will bring to spot."""
        workload = self._cluster.find_workload(WorkloadKey.of(ledger))
        if workload is None:
            return
        pods = list(self._cluster.pods_of(workload))
        intended = {intent.pod for intent in ledger.intents}
        living = sum(not (pod.deleting_at or pod.finished or pod.uid in intended) for pod in pods)
        replaced = {pod.move for pod in pods}
        coming = [i for i in ledger.intents if i.target is NodeType.SPOT]
        coming.sort(key=lambda intent: intent.move in replaced)
        shape = next_pod_shape(workload, pods)
        shape = msgspec.structs.replace(shape, tolerations=shape.tolerations + pin.tolerations)
        for intent in coming[: max(0, workload.replicas - living)]:
            yield shape.restricted_to(self._volumes.affinity_of(intent.pod))
