"""Which of the nodes that can run a pod is best (upstream: the scheduler's Score plugins, v1.36).

Left out: image locality, and preferred pod affinity.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from spotalis.embedded.controllers.pod_requirements import PodRequirements, SpreadConstraint
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache
from spotalis.embedded.objects.selectors import LabelSelector

_ZONE: Final = "topology.kubernetes.io/zone"
_HOSTNAME: Final = "kubernetes.io/hostname"
_DEFAULT_SPREAD = ((_HOSTNAME, 3), (_ZONE, 5))
"""Topology key and maxSkew of the constraints of pods that have none (systemDefaultConstraints)."""
_MAX = 100
"""The highest score of a plugin (MaxNodeScore)."""


def best_nodes(
    cache: SchedulerCache, pod: PodRequirements, nodes: list[NodeInfo]
) -> list[NodeInfo]:
    """The nodes with the highest score, in the order given."""
    if len(nodes) == 1:
        return nodes
    scores = _scores(cache, pod, nodes)
    top = max(scores)
    return [info for info, score in zip(nodes, scores, strict=True) if score == top]


def _scores(cache: SchedulerCache, pod: PodRequirements, nodes: list[NodeInfo]) -> list[int]:
    """The weighted sum of the plugins; the weights are upstream's defaults."""
    zeros = [0] * len(nodes)
    parts = (
        (1, [_least_allocated(info, pod) for info in nodes]),
        (1, [_balanced_allocation(info, pod) for info in nodes]),
        (2, _spread(cache, pod, nodes)),
        (2, _normalized([_affinity(pod, info) for info in nodes]) if pod.preferred else zeros),
        (3, _normalized([_avoided_taints(pod, info) for info in nodes], reverse=True)),
    )
    return [sum(weight * scores[at] for weight, scores in parts) for at in range(len(nodes))]


def _normalized(scores: list[int], *, reverse: bool = False) -> list[int]:
    """Scale to 0-100 (upstream: DefaultNormalizeScore); ``reverse``: less is better."""
    highest = max(scores)
    if highest == 0:
        return [_MAX if reverse else 0] * len(scores)
    scaled = [_MAX * score // highest for score in scores]
    return [_MAX - score for score in scaled] if reverse else scaled


def _least_allocated(info: NodeInfo, pod: PodRequirements) -> int:
    """The mean free share of CPU and memory once the pod runs there."""
    shares = [
        max(0, (total - used) * _MAX // total)
        for total, used in (
            (info.cpu, info.scoring_cpu + pod.scoring_cpu),
            (info.memory, info.scoring_memory + pod.scoring_memory),
        )
        if total
    ]
    return sum(shares) // len(shares) if shares else 0


def _balanced_allocation(info: NodeInfo, pod: PodRequirements) -> int:
    """How much closer the used shares of CPU and memory get; 0 for pods without requests."""
    if not pod.cpu and not pod.memory:
        return 0
    after = _balance(info, info.used_cpu + pod.cpu, info.used_memory + pod.memory)
    before = _balance(info, info.used_cpu, info.used_memory)
    return _MAX // 2 + (_MAX // 2 + after - before) // 2


def _balance(info: NodeInfo, cpu: int, memory: int) -> int:
    if not info.cpu or not info.memory:
        return _MAX
    deviation = abs(min(1.0, cpu / info.cpu) - min(1.0, memory / info.memory)) / 2
    return int((1 - deviation) * _MAX)


def _spread(cache: SchedulerCache, pod: PodRequirements, nodes: list[NodeInfo]) -> list[int]:
    """Few matching pods are better, per ``ScheduleAnyway`` constraint or per default one."""
    if pod.spread:
        constraints = [one for one in pod.spread if not one.required]
        counted = [(one, cache.matching_pods(pod.namespace, one.selector)) for one in constraints]
    else:
        own = cache.pods_of_owner(pod.owner)
        counted = [(_default(key, skew), own) for key, skew in _DEFAULT_SPREAD if pod.owner]
    if not counted:
        return [0] * len(nodes)
    keys = {one.key for one, _ in counted} if pod.spread else set()
    scored = [info for info in nodes if keys <= info.labels.keys()]
    raw: dict[str, float] = {info.name: 0.0 for info in scored}
    for constraint, counts in counted:
        for name, score in _spread_by(cache, pod, scored, constraint, counts).items():
            raw[name] += score
    rounded = {name: math.floor(score + 0.5) for name, score in raw.items()}
    highest, lowest = max(rounded.values(), default=0), min(rounded.values(), default=0)
    return [
        0
        if info.name not in rounded
        else _MAX
        if not highest
        else _MAX * (highest + lowest - rounded[info.name]) // highest
        for info in nodes
    ]


def _default(key: str, max_skew: int) -> SpreadConstraint:
    return SpreadConstraint(key=key, max_skew=max_skew, required=False, selector=LabelSelector())


def _spread_by(
    cache: SchedulerCache,
    pod: PodRequirements,
    scored: list[NodeInfo],
    constraint: SpreadConstraint,
    counts: Counter[str],
) -> dict[str, float]:
    """The weighted count of one constraint for each node that has its topology key."""
    key = constraint.key
    if key == _HOSTNAME:
        weight = math.log(len(scored) + 2)
        found = {info.name: counts[info.name] for info in scored if key in info.labels}
    else:
        domains = {info.labels.get(key, ""): 0 for info in scored}
        for name, count in counts.items():
            info = cache.nodes.get(name)
            domain = info.labels.get(key, "") if info is not None else None
            if info is not None and domain in domains and _is_counted(info, pod, constraint):
                domains[domain] += count
        weight = math.log(len(domains) + 2)
        found = {info.name: domains[info.labels[key]] for info in scored if key in info.labels}
    return {name: count * weight + constraint.max_skew - 1 for name, count in found.items()}


def _is_counted(info: NodeInfo, pod: PodRequirements, constraint: SpreadConstraint) -> bool:
    return not constraint.honor_affinity or pod.matches_node(info.name, info.labels)


def _affinity(pod: PodRequirements, info: NodeInfo) -> int:
    return sum(weight for weight, term in pod.preferred if term.matches(info.name, info.labels))


def _avoided_taints(pod: PodRequirements, info: NodeInfo) -> int:
    if not info.taints:
        return 0
    return sum(
        1 for taint in info.taints
        if taint.effect == "PreferNoSchedule" and not pod.tolerates((taint,), taint.effect)
    )  # fmt: skip
