"""Indexes of records by group."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

T = TypeVar("T")
Group = TypeVar("Group", bound=Hashable)


def index(
    groups: dict[Group, dict[str, T]], group: Group, name: str, record: T, present: bool
) -> None:
    """Add a record to its group or remove it; empty groups are dropped."""
    if present:
        groups.setdefault(group, {})[name] = record
    elif group in groups:
        groups[group].pop(name, None)
        if not groups[group]:
            del groups[group]
