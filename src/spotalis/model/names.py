"""Names of objects."""

from __future__ import annotations

import re

MAX_NAME_LENGTH = 253
"""Limit of the API server for most names (DNS subdomain), also for those of workloads."""


def append_suffix(name: str, suffix: str, *, max_length: int = MAX_NAME_LENGTH) -> str:
    """The name with the suffix; if both are too long together, the name is cut, not the suffix."""
    return name[: max_length - len(suffix)].rstrip("-.") + suffix


def is_dns_subdomain(name: str) -> bool:
    """Whether a name consists of DNS labels, as the API server requires of most kinds."""
    return len(name) <= MAX_NAME_LENGTH and _DNS_SUBDOMAIN.fullmatch(name) is not None


def is_path_segment(name: str) -> bool:
    """Whether an object can have this name: no kind allows others (IsValidPathSegmentName)."""
    return 0 < len(name) <= MAX_NAME_LENGTH and _NO_SEGMENT.search(name) is None


_DNS_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_NO_SEGMENT = re.compile(r"[/%]|\A\.\.?\Z")
