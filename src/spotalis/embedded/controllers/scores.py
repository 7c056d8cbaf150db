"""Which of the nodes that fit is best (upstream: the scheduler's Score plugins and weights).

Left out: balanced allocation, image locality, preferred pod affinity.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from spotalis.embedded.controllers.pod_requirements import PodRequirements
from spotalis.embedded.controllers.scheduler_cache import NodeInfo, SchedulerCache

_ZONE: Final = "topology.kubernetes.io/zone"


def best(
    cache: SchedulerCache, requirements: PodRequirements, nodes: list[NodeInfo]
) -> list[NodeInfo]:
    """The nodes with the highest score, in the order given."""
    if len(nodes) == 1:
        return nodes
    scores = _scores(cache, requirements, nodes)
    top = max(scores)
    return [info for info, score in zip(nodes, scores, strict=True) if score == top]


def _scores(
    cache: SchedulerCache, requirements: PodRequirements, nodes: list[NodeInfo]
) -> list[int]:
    """Least allocated (weight 1), spread (2), preferred affinity (2), taints to avoid (3)."""
    spread = _crowding(cache, requirements, nodes)
    affinity = [_preference(requirements, info) for info in nodes]
    avoided = [_avoided(requirements, info) for info in nodes]
    most_affinity, most_avoided = max(affinity), max(avoided)
    most, least = max(spread), min(spread)
    return [
        _free(info, requirements)
        + (200 * (most + least - crowd) // most if most > least else 200)
        + (200 * liked // most_affinity if most_affinity else 0)
        + (300 - 300 * taints // most_avoided if most_avoided else 0)
        for info, crowd, liked, taints in zip(nodes, spread, affinity, avoided, strict=True)
    ]


def _free(info: NodeInfo, requirements: PodRequirements) -> int:
    """0 to 100: the mean free share of cpu and memory once the pod is there."""
    cpu = info.scoring_cpu + requirements.scoring_cpu
    memory = info.scoring_memory + requirements.scoring_memory
    shares = [
        max(0, (total - used) * 100 // total)
        for total, used in ((info.cpu, cpu), (info.memory, memory))
        if total
    ]
    return sum(shares) // len(shares) if shares else 0


def _crowding(
    cache: SchedulerCache, requirements: PodRequirements, nodes: list[NodeInfo]
) -> list[int]:
    """Smaller is better: matching pods per soft constraint, else pods of the same owner.

    Without constraints of its own a pod gets upstream's default ones: by zone and by node.
    """
    soft = [one for one in requirements.spreads if not one.hard]
    if soft:
        parts = []
        for one in soft:
            counts = cache.matches(requirements.namespace, one.selector)
            parts.append(_by_domain(cache, nodes, one.key, counts))
        return [sum(columns) for columns in zip(*parts, strict=True)]
    if requirements.spreads or not requirements.owner:
        return [0] * len(nodes)
    own = Counter(
        {name: info.crowd[requirements.owner] for name, info in cache.nodes.items() if info.crowd}
    )
    zones = _by_domain(cache, nodes, _ZONE, own)
    return [zone + own[info.name] for zone, info in zip(zones, nodes, strict=True)]


def _by_domain(
    cache: SchedulerCache, nodes: list[NodeInfo], key: str, counts: Counter[str]
) -> list[int]:
    domains = Counter[str]()
    for name, info in cache.nodes.items():
        domains[info.labels.get(key, "")] += counts[name]
    return [domains[info.labels.get(key, "")] if key in info.labels else 0 for info in nodes]


def _preference(requirements: PodRequirements, info: NodeInfo) -> int:
    known = {**info.labels, "metadata.name": info.name} if requirements.preferred else {}
    return sum(
        weight
        for weight, expressions in requirements.preferred
        if expressions and all(one.matches(known) for one in expressions)
    )


def _avoided(requirements: PodRequirements, info: NodeInfo) -> int:
    return sum(
        1
        for taint in info.taints
        if taint.effect == "PreferNoSchedule"
        and not any(one.tolerates(taint) for one in requirements.tolerations)
    )
