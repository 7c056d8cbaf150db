"""Where pods are: on which node, or waiting for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spotalis.controller.index import index
from spotalis.kube.store import StoreChange
from spotalis.model.objects import Pod, PodShape
from spotalis.planner.anti_affinity import AvoidingPods


class PlacedPods:
    """The pods of the cluster by node, as the scheduler counts them."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, Pod]] = {}
        self._unbound: dict[str, Pod] = {}
        self._avoiding: dict[str, dict[int, AvoidingPods]] = {}
        """The bound pods with required anti-affinity, by namespace and identity of their shape."""
        self._avoiding_others: dict[tuple[str, int], AvoidingPods] = {}
        """Those of them with terms that name namespaces."""
        self.changes = 0
        """Counts the changes on which the free capacity of nodes depends."""

    def count_on(self, node: str) -> int:
        """The number of pods on a node."""
        return len(self._by_node.get(node, ()))

    def pods_on(self, node: str) -> Iterable[Pod]:
        """The pods on a node."""
        return self._by_node.get(node, {}).values()

    def shapes_on(self, node: str) -> list[PodShape]:
        """The shapes of the pods that use resources of a node."""
        pods = self._by_node.get(node, {}).values()
        return [pod.shape for pod in pods if not pod.finished]

    def waiting(self) -> Iterator[Pod]:
        """The pods that the scheduler has not bound to a node and may bind to one."""
        return (
            pod
            for pod in self._unbound.values()
            if not (pod.deleting_at or pod.finished or pod.gated)
        )

    def avoiding(self, namespace: str) -> list[AvoidingPods]:
        """The bound pods whose required anti-affinity may concern pods of a namespace: its own, and
        those of other namespaces whose terms name namespaces."""
        own = self._avoiding.get(namespace, {}).values()
        others = self._avoiding_others.values()
        return [*own, *(pods for pods in others if pods.namespace != namespace)]

    def on_change(self, change: StoreChange[Pod]) -> None:
        """Update the indexes."""
        for pod in (change.old, change.new):
            if pod is None:
                continue
            present = pod is change.new
            if pod.node:
                index(self._by_node, pod.node, pod.uid, pod, present)
                if pod.shape.anti_affinity:
                    self._index_avoiding(pod, present and not pod.finished)
            if present and not pod.node:
                self._unbound[pod.uid] = pod
            else:
                self._unbound.pop(pod.uid, None)
        if _scheduling_fields(change.old) != _scheduling_fields(change.new):
            self.changes += 1

    def _index_avoiding(self, pod: Pod, present: bool) -> None:
        """Add a pod to those with its shape and namespace, or remove it; drop empty groups."""
        shape, key = pod.shape, id(pod.shape)
        groups = self._avoiding.setdefault(pod.namespace, {})
        group = groups.get(key)
        if present:
            if group is None:
                group = AvoidingPods(namespace=pod.namespace, terms=shape.anti_affinity)
                groups[key] = group
                if any(term.names_namespaces for term in shape.anti_affinity):
                    self._avoiding_others[pod.namespace, key] = group
            group.nodes[pod.uid] = pod.node
            return
        if group is not None:
            group.nodes.pop(pod.uid, None)
            if not group.nodes:
                del groups[key]
                self._avoiding_others.pop((pod.namespace, key), None)
        if not groups:
            del self._avoiding[pod.namespace]


def _scheduling_fields(pod: Pod | None) -> tuple[object, ...] | None:
    """The fields of a pod on which the free capacity of nodes depends."""
    if pod is None:
        return None
    return (pod.node, id(pod.shape), pod.finished, bool(pod.deleting_at), pod.gated, pod.move)
