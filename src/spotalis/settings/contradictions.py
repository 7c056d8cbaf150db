"""Settings that are valid on their own but not together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from spotalis.model.durations import format_duration

_DESCENDING = (
    "leaderElection.leaseDuration",
    "leaderElection.renewDeadline",
    "leaderElection.retryPeriod",
)
_TOGETHER = (
    ("serving.clientCAFile", "serving.clientName"),
    ("serving.certificateFile", "serving.keyFile"),
    ("defaults.disruption-schedule", "defaults.disruption-duration"),
)
_PORTS = ("serving.webhookPort", "serving.metricsPort", "serving.healthPort")


def find_contradictions(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Pairs of settings that contradict each other.

    Args:
        values: of all settings, by key.

    Yields: the key of one, the key of the other, and the rest of a sentence about the first.
    """
    for longer, key in pairwise(_DESCENDING):
        if values[key] >= values[longer]:
            yield _durations(values, key, "must be shorter than", longer)
    ca, leaf = "webhook.certificates.caDuration", "webhook.certificates.duration"
    if values[ca] < 2 * values[leaf]:
        yield _durations(values, ca, "must be at least twice", leaf)
    for one, other in _TOGETHER:
        if bool(values[one]) != bool(values[other]):
            given, missing = (one, other) if values[one] else (other, one)
            yield given, missing, f"requires `{missing}` to be set as well"
    ports: dict[int, str] = {}
    for key in _PORTS:
        if (first := ports.setdefault(values[key], key)) != key:
            yield key, first, f"must not be the port of `{first}`; both are {values[key]}"


def _durations(
    values: Mapping[str, Any], key: str, expected: str, other: str
) -> tuple[str, str, str]:
    limit, found = format_duration(values[other]), format_duration(values[key])
    return key, other, f"{expected} `{other}` ({limit}); it is {found}"
