"""What the scheduler knows: the free resources of each node, and which pods run where.

The cache is updated event by event. It looks at all pods only when a selector is used for the
first time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from spotalis.embedded.controllers.pod_requirements import (
    AntiAffinity,
    PodRequirements,
    requirements_of,
)
from spotalis.embedded.objects.conditions import is_true
from spotalis.embedded.objects.owners import deleting, uid_of
from spotalis.embedded.objects.pods import is_finished, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import LabelSelector, Taint, taints_of
from spotalis.model.objects import HostPort
from spotalis.model.quantity import parse_resource_list

_MAX_SELECTORS = 256
"""Selectors with cached counts; the counts are dropped when there are more."""
NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")


@dataclass(slots=True, kw_only=True)
class NodeInfo:
    """A node and the resources that its pods use."""

    name: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    """A node that is not Ready counts as tainted even before a controller has tainted it."""
    cordoned: bool
    cpu: int
    memory: int
    pods: int
    other: dict[str, int]
    used_cpu: int = 0
    used_memory: int = 0
    used_pods: int = 0
    scoring_cpu: int = 0
    """As ``used_cpu``, with the defaults of containers without a request."""
    scoring_memory: int = 0
    used_other: Counter[str] = field(default_factory=Counter)
    used_ports: Counter[HostPort] = field(default_factory=Counter)

    def add(self, pod: PodRequirements, times: int = 1) -> None:
        """Add a pod (``times`` 1) or remove it (-1)."""
        self.used_cpu += times * pod.cpu
        self.used_memory += times * pod.memory
        self.used_pods += times
        self.scoring_cpu += times * pod.scoring_cpu
        self.scoring_memory += times * pod.scoring_memory
        for name, amount in pod.other:
            self.used_other[name] += times * amount
        for port in pod.host_ports:
            self.used_ports[port] += times


class PodChange(Enum):
    """What a pod event means for pods that could not be scheduled."""

    NONE = auto()
    FREED = auto()
    """The pod gave resources back."""
    MOVED = auto()
    """The pod was bound or began to terminate, so the spread of pods changed."""


@dataclass(frozen=True, slots=True)
class _BoundPod:
    node: str
    requirements: PodRequirements
    terminating: bool


class SchedulerCache:
    """All nodes, and the pods that are bound and not finished."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.version = 0
        """Changes whenever the result for a pod might."""
        self._bound: dict[str, _BoundPod] = {}
        """By pod uid."""
        self._on_node: dict[str, dict[str, PodRequirements]] = {}
        self._matching: dict[tuple[str, LabelSelector], Counter[str]] = {}
        """By namespace and selector: matching pods per node."""
        self._anti_affinity: dict[tuple[str, AntiAffinity], Counter[str]] = {}
        """By namespace and term: pods with that term per node."""
        self._owned: dict[str, Counter[str]] = {}
        """By uid of the controlling owner: pods per node that are not terminating."""

    def update_node(self, change: str, node: Object) -> bool:
        """Record a change of a node.

        Returns:
            Whether more pods may fit now.
        """
        name = node["metadata"]["name"]
        old = self.nodes.get(name)
        if change == "DELETED":
            self.version += old is not None
            self.nodes.pop(name, None)
            return False
        new = node_info(node)
        if old is not None and _offer(old) == _offer(new):
            return False
        for pod in self._on_node.get(name, {}).values():
            new.add(pod)
        self.nodes[name] = new
        self.version += 1
        return True

    def update_pod(self, change: str, pod: Object) -> PodChange:
        """Record a change of a pod."""
        uid, node = uid_of(pod), node_of(pod)
        is_bound = change != "DELETED" and bool(node) and not is_finished(pod)
        old = self._bound.get(uid)
        if not is_bound:
            if old is None:
                return PodChange.NONE
            self._remove(uid, old)
            return PodChange.FREED
        if old is not None and old.node == node and old.terminating == deleting(pod):
            return PodChange.NONE
        if old is not None:
            self._remove(uid, old)
        requirements = old.requirements if old is not None else requirements_of(pod)
        self._add(uid, _BoundPod(node, requirements, deleting(pod)))
        return PodChange.MOVED

    def matching_pods(self, namespace: str, selector: LabelSelector) -> Counter[str]:
        """The number of matching pods that are not terminating, per node."""
        key = (namespace, selector)
        found = self._matching.get(key)
        if found is None:
            if len(self._matching) >= _MAX_SELECTORS:
                self._matching.clear()
            found = self._matching[key] = Counter()
            for pod in self._bound.values():
                if pod.requirements.namespace == namespace and not pod.terminating:
                    found[pod.node] += selector.matches(dict(pod.requirements.labels))
        return found

    def pods_of_owner(self, uid: str) -> Counter[str]:
        """The number of pods of a controller that are not terminating, per node."""
        return self._owned.get(uid) or Counter()

    def anti_affinity_terms(self, namespace: str) -> list[tuple[AntiAffinity, Counter[str]]]:
        """The anti-affinity terms of the pods of a namespace, and the pods per node of each."""
        return [
            (term, nodes) for (where, term), nodes in self._anti_affinity.items()
            if where == namespace
        ]  # fmt: skip

    def _add(self, uid: str, pod: _BoundPod) -> None:
        self._bound[uid] = pod
        self._on_node.setdefault(pod.node, {})[uid] = pod.requirements
        self._count(pod, 1)

    def _remove(self, uid: str, pod: _BoundPod) -> None:
        del self._bound[uid]
        self._on_node[pod.node].pop(uid)
        self._count(pod, -1)

    def _count(self, pod: _BoundPod, times: int) -> None:
        self.version += 1
        requirements = pod.requirements
        if pod.node in self.nodes:
            self.nodes[pod.node].add(requirements, times)
        for term in requirements.anti_affinity:
            key = (requirements.namespace, term)
            self._anti_affinity.setdefault(key, Counter())[pod.node] += times
        if pod.terminating:
            return
        if requirements.owner:
            self._count_owned(pod, times)
        labels = dict(requirements.labels)
        for (namespace, selector), counts in self._matching.items():
            if namespace == requirements.namespace and selector.matches(labels):
                counts[pod.node] += times

    def _count_owned(self, pod: _BoundPod, times: int) -> None:
        owner = pod.requirements.owner
        counts = self._owned.setdefault(owner, Counter())
        counts[pod.node] += times
        if not counts[pod.node]:
            del counts[pod.node]
        if not counts:
            del self._owned[owner]


def node_info(node: Object) -> NodeInfo:
    """Read a node; no pod is counted yet."""
    status = node.get("status") or {}
    offered = parse_resource_list(status.get("allocatable") or status.get("capacity"))
    taints = taints_of(node)
    if not is_true(node, "Ready") and not any(one.key == NOT_READY.key for one in taints):
        taints = (*taints, NOT_READY)
    return NodeInfo(
        name=node["metadata"]["name"],
        labels=dict(node["metadata"].get("labels") or {}),
        taints=taints,
        cordoned=bool((node.get("spec") or {}).get("unschedulable")),
        cpu=offered.pop("cpu", 0),
        memory=offered.pop("memory", 0),
        pods=offered.pop("pods", 110),
        other=offered,
    )


def _offer(info: NodeInfo) -> tuple[object, ...]:
    return (
        info.labels, info.taints, info.cordoned, info.cpu, info.memory, info.pods, info.other,
    )  # fmt: skip
