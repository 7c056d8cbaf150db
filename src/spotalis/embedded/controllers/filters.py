"""Which nodes may take a pod, and why not the others (upstream: the scheduler's Filter plugins).

The order of the checks, and the words, are upstream's: a node is counted under the first check
that refuses it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from spotalis.embedded.controllers.pod_requirements import PodRequirements, Spread
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache
from spotalis.model.objects import Taint

CORDONED = "node(s) were unschedulable"
TAINTED = "node(s) had untolerated taint(s)"
OTHER_NODE = "node(s) didn't match Pod's node affinity/selector"
SKEWED = "node(s) didn't match pod topology spread constraints"
NO_DOMAIN = SKEWED + " (missing required label)"
OUT_OF_REACH = "node(s) didn't match PersistentVolume's node affinity"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
TOO_LARGE = ""
"""Stands beside "Insufficient ..." where the empty node, too, would be too small."""
_NEVER = frozenset((CORDONED, TAINTED, OTHER_NODE, OUT_OF_REACH, NO_DOMAIN, TOO_LARGE))
"""Reasons that no preemption could remove."""
_UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


@dataclass(frozen=True, slots=True)
class _Balance:
    """One hard spread constraint, counted over the nodes that it looks at."""

    spread: Spread
    domains: dict[str, int]
    least: int
    own: int
    """1 where the pod itself matches the selector."""

    def refuses(self, info: NodeInfo) -> str:
        domain = info.labels.get(self.spread.key)
        if domain is None:
            return NO_DOMAIN
        skew = self.domains.get(domain, 0) + self.own - self.least
        return SKEWED if skew > self.spread.skew else ""


class NodeFilter:
    """One pod against all nodes."""

    def __init__(self, cache: SchedulerCache, requirements: PodRequirements) -> None:
        self._requirements = requirements
        self._nodes = cache.nodes
        self._tolerable: dict[tuple[Taint, ...], bool] = {}
        self._labels = dict(requirements.labels)
        self._balances = [self._balance(cache, one) for one in requirements.spreads if one.hard]
        self._apart = self._occupied(
            (term.key, cache.matches(requirements.namespace, term.selector))
            for term in requirements.anti_affinity
        )
        self._kept_off = self._occupied(
            (term.key, nodes)
            for term, nodes in cache.carried(requirements.namespace)
            if term.selector.matches(self._labels)
        )

    def reasons(self, info: NodeInfo) -> tuple[str, ...]:
        """Why this node cannot take the pod; empty when it can."""
        requirements = self._requirements
        if info.cordoned and not any(
            one.tolerates(_UNSCHEDULABLE) for one in requirements.tolerations
        ):
            return (CORDONED,)
        if not self._tolerates(info.taints):
            return (TAINTED,)
        if not requirements.affine(info.name, info.labels):
            return (OTHER_NODE,)
        missing = _missing(info, requirements)
        if missing:
            return missing
        if not requirements.reaches(info.labels):
            return (OUT_OF_REACH,)
        for balance in self._balances:
            refused = balance.refuses(info)
            if refused:
                return (refused,)
        if any((key, info.labels.get(key)) in self._apart for key, _ in self._apart):
            return (ANTI_AFFINITY,)
        if any((key, info.labels.get(key)) in self._kept_off for key, _ in self._kept_off):
            return (EXISTING,)
        return ()

    def _tolerates(self, taints: tuple[Taint, ...]) -> bool:
        verdict = self._tolerable.get(taints)
        if verdict is None:
            verdict = self._tolerable[taints] = all(
                any(one.tolerates(taint) for one in self._requirements.tolerations)
                for taint in taints
                if taint.effect in ("NoSchedule", "NoExecute")
            )
        return verdict

    def _balance(self, cache: SchedulerCache, spread: Spread) -> _Balance:
        counts = cache.matches(self._requirements.namespace, spread.selector)
        keys = [one.key for one in self._requirements.spreads if one.hard]
        domains: dict[str, int] = {}
        for info in self._nodes.values():
            if not all(key in info.labels for key in keys):
                continue
            if spread.honor_affinity and not self._requirements.affine(info.name, info.labels):
                continue
            if spread.honor_taints and not self._tolerates(info.taints):
                continue
            domain = info.labels[spread.key]
            domains[domain] = domains.get(domain, 0) + counts.get(info.name, 0)
        enough = len(domains) >= spread.least_domains
        return _Balance(
            spread=spread,
            domains=domains,
            least=min(domains.values(), default=0) if enough else 0,
            own=int(spread.selector.matches(self._labels)),
        )

    def _occupied(self, terms: Iterable[tuple[str, Counter[str]]]) -> set[tuple[str, str]]:
        """Topology key and value of every domain that holds a pod of one of the terms."""
        return {
            (key, info.labels[key])
            for key, nodes in terms
            for name, count in nodes.items()
            if count > 0 and (info := self._nodes.get(name)) is not None and key in info.labels
        }


def _missing(info: NodeInfo, requirements: PodRequirements) -> tuple[str, ...]:
    reasons = []
    if info.used_pods + 1 > info.pods:
        reasons.append("Too many pods")
    if requirements.cpu > info.cpu - info.used_cpu and requirements.cpu:
        reasons.append("Insufficient cpu")
    if requirements.memory > info.memory - info.used_memory and requirements.memory:
        reasons.append("Insufficient memory")
    reasons.extend(
        f"Insufficient {name}"
        for name, amount in requirements.other
        if amount > info.other.get(name, 0) - info.used_other[name]
    )
    others = any(amount > info.other.get(name, 0) for name, amount in requirements.other)
    if requirements.cpu > info.cpu or requirements.memory > info.memory or others:
        reasons.append(TOO_LARGE)
    return tuple(reasons)


def verdict(refusals: list[tuple[str, ...]]) -> str:
    """The scheduler's message about a pod that no node can take.

    Args:
        refusals: for each node its reasons.
    """
    if not refusals:
        return "no nodes available to schedule pods"
    hopeless = sum(1 for reasons in refusals if not _NEVER.isdisjoint(reasons))
    preemption = Counter[str]()
    preemption["Preemption is not helpful for scheduling"] = hopeless
    preemption["No preemption victims found for incoming pod"] = len(refusals) - hopeless
    why = Counter(reason for reasons in refusals for reason in reasons if reason)
    nodes = f"0/{len(refusals)} nodes are available:"
    return (
        f"{nodes} {_histogram(why)}. no new claims to deallocate, "
        f"preemption: {nodes} {_histogram(preemption)}."
    )


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count))
