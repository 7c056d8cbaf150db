"""Which nodes can run a pod, and why the others cannot (upstream: the scheduler's Filter plugins).

The order of the checks and the wording are upstream's: a node is counted under the first check
that rejects it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from spotalis.embedded.controllers.pod_requirements import PodRequirements, SpreadConstraint
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache
from spotalis.embedded.objects.selectors import Taint

CORDONED = "node(s) were unschedulable"
TAINTED = "node(s) had untolerated taint(s)"
WRONG_NODE = "node(s) didn't match Pod's node affinity/selector"
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
"""The affinity names nodes, and this is not one of them (upstream: a PreFilter result)."""
SKEWED = "node(s) didn't match pod topology spread constraints"
NO_DOMAIN = SKEWED + " (missing required label)"
UNREACHABLE_VOLUME = "node(s) didn't match PersistentVolume's node affinity"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
NO_FREE_PORTS = "node(s) didn't have free ports for the requested pod ports"
TOO_SMALL = ""
"""Added to "Insufficient ..." if even the empty node would be too small; not part of a message."""
_UNRESOLVABLE = frozenset(
    (NOT_NAMED, CORDONED, TAINTED, WRONG_NODE, UNREACHABLE_VOLUME, NO_DOMAIN, TOO_SMALL)
)
"""Reasons that preemption cannot resolve."""
_UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


@dataclass(frozen=True, slots=True)
class _Spread:
    """A required spread constraint with the pods in each domain of the nodes that it counts."""

    constraint: SpreadConstraint
    domains: dict[str, int]
    minimum: int
    own: int
    """1 if the pod itself matches the selector."""

    def reject(self, info: NodeInfo) -> str:
        domain = info.labels.get(self.constraint.key)
        if domain is None:
            return NO_DOMAIN
        skew = self.domains.get(domain, 0) + self.own - self.minimum
        return SKEWED if skew > self.constraint.max_skew else ""


class NodeFilter:
    """Filters nodes for one pod."""

    def __init__(self, cache: SchedulerCache, requirements: PodRequirements) -> None:
        self._requirements = requirements
        self._nodes = cache.nodes
        affinity = requirements.affinity
        self._named = affinity.node_names if affinity is not None else None
        self._tolerated: dict[tuple[Taint, ...], bool] = {}
        self._labels = dict(requirements.labels)
        self._spread = [
            self._count_domains(cache, one) for one in requirements.spread if one.required
        ]
        self._anti_affinity = self._occupied_domains(
            (term.key, cache.matching_pods(requirements.namespace, term.selector))
            for term in requirements.anti_affinity
        )
        self._existing_anti_affinity = self._occupied_domains(
            (term.key, nodes)
            for term, nodes in cache.anti_affinity_terms(requirements.namespace)
            if term.selector.matches(self._labels)
        )

    def reasons(self, info: NodeInfo) -> tuple[str, ...]:
        """Why this node cannot run the pod; empty if it can."""
        pod = self._requirements
        if self._named is not None and info.name not in self._named:
            return (NOT_NAMED,)
        if info.cordoned and not any(one.tolerates(_UNSCHEDULABLE) for one in pod.tolerations):
            return (CORDONED,)
        if not self._tolerates(info.taints):
            return (TAINTED,)
        if not pod.matches_node(info.name, info.labels):
            return (WRONG_NODE,)
        if pod.host_ports and _has_port_conflict(info, pod):
            return (NO_FREE_PORTS,)
        insufficient = _insufficient(info, pod)
        if insufficient:
            return insufficient
        if not pod.reaches_volumes(info.name, info.labels):
            return (UNREACHABLE_VOLUME,)
        for spread in self._spread:
            rejected = spread.reject(info)
            if rejected:
                return (rejected,)
        if self._anti_affinity and _is_in(info, self._anti_affinity):
            return (ANTI_AFFINITY,)
        if self._existing_anti_affinity and _is_in(info, self._existing_anti_affinity):
            return (EXISTING_ANTI_AFFINITY,)
        return ()

    def _tolerates(self, taints: tuple[Taint, ...]) -> bool:
        known = self._tolerated.get(taints)
        if known is None:
            known = self._requirements.tolerates(taints, "NoSchedule", "NoExecute")
            self._tolerated[taints] = known
        return known

    def _count_domains(self, cache: SchedulerCache, constraint: SpreadConstraint) -> _Spread:
        pod = self._requirements
        counts = cache.matching_pods(pod.namespace, constraint.selector)
        keys = [one.key for one in pod.spread if one.required]
        domains: dict[str, int] = {}
        for info in self._nodes.values():
            if not all(key in info.labels for key in keys):
                continue
            if constraint.honor_affinity and not pod.matches_node(info.name, info.labels):
                continue
            domain = info.labels[constraint.key]
            domains[domain] = domains.get(domain, 0) + counts.get(info.name, 0)
        return _Spread(
            constraint=constraint,
            domains=domains,
            minimum=min(domains.values(), default=0),
            own=int(constraint.selector.matches(self._labels)),
        )

    def _occupied_domains(self, terms: Iterable[tuple[str, Counter[str]]]) -> set[tuple[str, str]]:
        """Topology key and value of every domain with a pod that one of the terms counts."""
        return {
            (key, info.labels[key])
            for key, nodes in terms
            for name, count in nodes.items()
            if count > 0 and (info := self._nodes.get(name)) is not None and key in info.labels
        }


def _has_port_conflict(info: NodeInfo, pod: PodRequirements) -> bool:
    used = [port for port, count in info.used_ports.items() if count > 0]
    return any(port.conflicts_with(other) for port in pod.host_ports for other in used)


def _is_in(info: NodeInfo, domains: set[tuple[str, str]]) -> bool:
    return any(info.labels.get(key) == value for key, value in domains)


def _insufficient(info: NodeInfo, pod: PodRequirements) -> tuple[str, ...]:
    reasons = []
    if info.used_pods + 1 > info.pods:
        reasons.append("Too many pods")
    if pod.cpu > info.cpu - info.used_cpu and pod.cpu:
        reasons.append("Insufficient cpu")
    if pod.memory > info.memory - info.used_memory and pod.memory:
        reasons.append("Insufficient memory")
    reasons.extend(
        f"Insufficient {name}"
        for name, amount in pod.other
        if amount > info.other.get(name, 0) - info.used_other[name]
    )
    too_small = any(amount > info.other.get(name, 0) for name, amount in pod.other)
    if pod.cpu > info.cpu or pod.memory > info.memory or too_small:
        reasons.append(TOO_SMALL)
    return tuple(reasons)


def unschedulable_message(rejections: list[tuple[str, ...]]) -> str:
    """The scheduler's message about a pod that no node can run.

    Args:
        rejections: the reasons of each node.
    """
    if not rejections:
        return "no nodes available to schedule pods"
    unresolvable = sum(1 for reasons in rejections if not _UNRESOLVABLE.isdisjoint(reasons))
    preemption = Counter[str]()
    preemption["Preemption is not helpful for scheduling"] = unresolvable
    preemption["No preemption victims found for incoming pod"] = len(rejections) - unresolvable
    why = Counter(reason for reasons in rejections for reason in reasons if reason)
    nodes = f"0/{len(rejections)} nodes are available:"
    return (
        f"{nodes} {_histogram(why)}. no new claims to deallocate, "
        f"preemption: {nodes} {_histogram(preemption)}."
    )


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count))
