"""Names that consist of another name and a suffix."""

from __future__ import annotations

MAX_NAME_LENGTH = 253
"""Limit of the API server for most names (DNS subdomain), also for those of workloads."""


def append_suffix(name: str, suffix: str, *, max_length: int = MAX_NAME_LENGTH) -> str:
    """The name with the suffix; if both are too long together, the name is cut, not the suffix."""
    return name[: max_length - len(suffix)].rstrip("-.") + suffix
