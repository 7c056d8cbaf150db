"""How much info each node has, and which pods are where: the scheduler's cache.

Kept event by event; nothing here looks at all pods, but the first time a selector is asked about.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from spotalis.embedded.controllers.pod_requirements import (
    AntiAffinity,
    PodRequirements,
    requirements_of,
)
from spotalis.embedded.objects.amounts import millis, whole
from spotalis.embedded.objects.conditions import is_true
from spotalis.embedded.objects.owners import deleting, uid_of
from spotalis.embedded.objects.pods import is_finished, node_of
from spotalis.embedded.objects.resources import Object
from spotalis.model.objects import LabelSelector, Taint

_MOST_SELECTORS = 256
"""Selectors counted for at a time; they are counted anew when there are more."""
NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")


@dataclass(slots=True, kw_only=True)
class NodeInfo:
    """One node, and what its pods have taken of it."""

    name: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    """A node that is not Ready counts as tainted, whether or not somebody has tainted it yet."""
    cordoned: bool
    cpu: int
    memory: int
    pods: int
    other: dict[str, int]
    used_cpu: int = 0
    used_memory: int = 0
    used_pods: int = 0
    scoring_cpu: int = 0
    """As ``used_cpu``, but pods without a request count as well: for scores only."""
    scoring_memory: int = 0
    used_other: Counter[str] = field(default_factory=Counter)
    crowd: Counter[str] = field(default_factory=Counter)
    """Pods by the uid of their controlling owner."""

    def take(self, requirements: PodRequirements, times: int = 1) -> None:
        """Count a pod in (``times`` 1) or out (-1)."""
        self.used_cpu += times * requirements.cpu
        self.used_memory += times * requirements.memory
        self.used_pods += times
        self.scoring_cpu += times * requirements.scoring_cpu
        self.scoring_memory += times * requirements.scoring_memory
        for name, amount in requirements.other:
            self.used_other[name] += times * amount
        self.crowd[requirements.owner] += times
        if not self.crowd[requirements.owner]:
            del self.crowd[requirements.owner]


class SchedulerCache:
    """All nodes, and the bound pods that are not finished."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.version = 0
        """Changes whenever a verdict on a pod might."""
        self._bound: dict[str, tuple[str, PodRequirements, bool]] = {}
        """By pod uid: node, requirements, terminating."""
        self._on_node: dict[str, dict[str, PodRequirements]] = {}
        self._matches: dict[tuple[str, LabelSelector], Counter[str]] = {}
        """Per namespace and selector: matching pods by node."""
        self._anti: dict[tuple[str, AntiAffinity], Counter[str]] = {}
        """Per namespace and anti-affinity term: pods that carry it by node."""

    def node(self, change: str, node: Object) -> bool:
        """Take note of a node.

        Returns:
            Whether more pods may fit now.
        """
        name = node["metadata"]["name"]
        old = self.nodes.get(name)
        if change == "DELETED":
            self.version += old is not None
            self.nodes.pop(name, None)
            return False
        new = _room(node)
        if old is not None and _offer(old) == _offer(new):
            return False
        for requirements in self._on_node.get(name, {}).values():
            new.take(requirements)
        self.nodes[name] = new
        self.version += 1
        return True

    def pod(self, change: str, pod: Object) -> str:
        """Take note of a pod.

        Returns:
            ``"freed"`` when it gave room back, ``"moved"`` when others' balance changed, or ``""``.
        """
        uid, node = uid_of(pod), node_of(pod)
        there = change != "DELETED" and bool(node) and not is_finished(pod)
        old = self._bound.get(uid)
        if not there:
            if old is None:
                return ""
            self._leave(uid, *old)
            return "freed"
        if old is not None and old[0] == node and old[2] == deleting(pod):
            return ""
        if old is not None:
            self._leave(uid, *old)
        self._enter(uid, node, old[1] if old is not None else requirements_of(pod), deleting(pod))
        return "moved"

    def matches(self, namespace: str, selector: LabelSelector) -> Counter[str]:
        """How many pods that are not terminating match, by node."""
        key = (namespace, selector)
        found = self._matches.get(key)
        if found is None:
            if len(self._matches) >= _MOST_SELECTORS:
                self._matches.clear()
            found = self._matches[key] = Counter()
            for node, requirements, terminating in self._bound.values():
                if requirements.namespace == namespace and not terminating:
                    found[node] += selector.matches(dict(requirements.labels))
        return found

    def carried(self, namespace: str) -> list[tuple[AntiAffinity, Counter[str]]]:
        """The anti-affinity terms of the pods of a namespace, and how many carry each by node."""
        return [(term, nodes) for (where, term), nodes in self._anti.items() if where == namespace]

    def _enter(self, uid: str, node: str, requirements: PodRequirements, terminating: bool) -> None:
        self._bound[uid] = (node, requirements, terminating)
        self._on_node.setdefault(node, {})[uid] = requirements
        self._count(node, requirements, terminating, 1)

    def _leave(self, uid: str, node: str, requirements: PodRequirements, terminating: bool) -> None:
        del self._bound[uid]
        self._on_node[node].pop(uid)
        self._count(node, requirements, terminating, -1)

    def _count(
        self, node: str, requirements: PodRequirements, terminating: bool, times: int
    ) -> None:
        self.version += 1
        if node in self.nodes:
            self.nodes[node].take(requirements, times)
        for term in requirements.anti_affinity:
            self._anti.setdefault((requirements.namespace, term), Counter())[node] += times
        if terminating or not self._matches:
            return
        labels = dict(requirements.labels)
        for (namespace, selector), counts in self._matches.items():
            if namespace == requirements.namespace and selector.matches(labels):
                counts[node] += times


def _room(node: Object) -> NodeInfo:
    spec = node.get("spec") or {}
    status = node.get("status") or {}
    offered = dict(status.get("allocatable") or status.get("capacity") or {})
    taints = tuple(
        Taint(key=one["key"], value=one.get("value") or "", effect=one["effect"])
        for one in spec.get("taints") or ()
    )
    if not is_true(node, "Ready") and not any(one.key == NOT_READY.key for one in taints):
        taints = (*taints, NOT_READY)
    return NodeInfo(
        name=node["metadata"]["name"],
        labels=dict(node["metadata"].get("labels") or {}),
        taints=taints,
        cordoned=bool(spec.get("unschedulable")),
        cpu=millis(offered.pop("cpu", 0)),
        memory=whole(offered.pop("memory", 0)),
        pods=whole(offered.pop("pods", 110)),
        other={name: whole(amount) for name, amount in offered.items()},
    )


def _offer(info: NodeInfo) -> tuple[object, ...]:
    return (
        info.labels,
        info.taints,
        info.cordoned,
        info.cpu,
        info.memory,
        info.pods,
        info.other,
    )
