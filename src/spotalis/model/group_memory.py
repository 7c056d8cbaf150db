"""Which provider groups were in use before: clusters scale to zero, and operators restart.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import TypeAlias

GroupMemory: TypeAlias = Mapping[str, date]
"""By the name of a group: the last day (UTC) on which it decided for a node."""

MEMORY = timedelta(days=30)
"""How long a group without nodes is remembered: longer than the holidays of a team, short enough
that a group is forgotten after a cluster has left its provider."""


def remembered(memory: GroupMemory, today: date) -> frozenset[str]:
    """The groups that count as in use because of the memory."""
    return frozenset(name for name, day in memory.items() if today - day <= MEMORY)


def merge(one: GroupMemory, other: GroupMemory) -> GroupMemory:
    """What both memories know together."""
    return {name: max(m[name] for m in (one, other) if name in m) for name in {**one, **other}}


def renew(memory: GroupMemory, seen: Iterable[str], today: date) -> GroupMemory:
    """The memory after a look at the nodes: with the groups that are seen, without expired ones."""
    kept = {name: memory[name] for name in remembered(memory, today)}
    return {**kept, **dict.fromkeys(seen, today)}
