"""Which of the nodes that fit is best (upstream: the scheduler's Score plugins and weights).

Left out: balanced allocation, image locality, preferred pod affinity.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from spotalis.embedded.controllers.room import Books, Room
from spotalis.embedded.controllers.wants import Wants

_ZONE: Final = "topology.kubernetes.io/zone"


def best(books: Books, wants: Wants, rooms: list[Room]) -> list[Room]:
    """The nodes with the highest score, in the order given."""
    if len(rooms) == 1:
        return rooms
    scores = _scores(books, wants, rooms)
    top = max(scores)
    return [room for room, score in zip(rooms, scores, strict=True) if score == top]


def _scores(books: Books, wants: Wants, rooms: list[Room]) -> list[int]:
    """Least allocated (weight 1), spread (2), preferred affinity (2), taints to avoid (3)."""
    spread = _crowding(books, wants, rooms)
    affinity = [_preference(wants, room) for room in rooms]
    avoided = [_avoided(wants, room) for room in rooms]
    most_affinity, most_avoided = max(affinity), max(avoided)
    most, least = max(spread), min(spread)
    return [
        _free(room, wants)
        + (200 * (most + least - crowd) // most if most > least else 200)
        + (200 * liked // most_affinity if most_affinity else 0)
        + (300 - 300 * taints // most_avoided if most_avoided else 0)
        for room, crowd, liked, taints in zip(rooms, spread, affinity, avoided, strict=True)
    ]


def _free(room: Room, wants: Wants) -> int:
    """0 to 100: the mean free share of cpu and memory once the pod is there."""
    cpu = room.felt_cpu + wants.felt_cpu
    memory = room.felt_memory + wants.felt_memory
    shares = [
        max(0, (total - used) * 100 // total)
        for total, used in ((room.cpu, cpu), (room.memory, memory))
        if total
    ]
    return sum(shares) // len(shares) if shares else 0


def _crowding(books: Books, wants: Wants, rooms: list[Room]) -> list[int]:
    """Smaller is better: matching pods per soft constraint, else pods of the same owner.

    Without constraints of its own a pod gets upstream's default ones: by zone and by node.
    """
    soft = [one for one in wants.spreads if not one.hard]
    if soft:
        parts = []
        for one in soft:
            counts = books.matches(wants.namespace, one.selector)
            parts.append(_by_domain(books, rooms, one.key, counts))
        return [sum(columns) for columns in zip(*parts, strict=True)]
    if wants.spreads or not wants.owner:
        return [0] * len(rooms)
    own = Counter(
        {name: room.crowd[wants.owner] for name, room in books.rooms.items() if room.crowd}
    )
    zones = _by_domain(books, rooms, _ZONE, own)
    return [zone + own[room.name] for zone, room in zip(zones, rooms, strict=True)]


def _by_domain(books: Books, rooms: list[Room], key: str, counts: Counter[str]) -> list[int]:
    domains = Counter[str]()
    for name, room in books.rooms.items():
        domains[room.labels.get(key, "")] += counts[name]
    return [domains[room.labels.get(key, "")] if key in room.labels else 0 for room in rooms]


def _preference(wants: Wants, room: Room) -> int:
    known = {**room.labels, "metadata.name": room.name} if wants.preferred else {}
    return sum(
        weight
        for weight, expressions in wants.preferred
        if expressions and all(one.matches(known) for one in expressions)
    )


def _avoided(wants: Wants, room: Room) -> int:
    return sum(
        1
        for taint in room.taints
        if taint.effect == "PreferNoSchedule"
        and not any(one.tolerates(taint) for one in wants.tolerations)
    )
