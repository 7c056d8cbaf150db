"""Settings that are valid on their own but not together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
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
    """Yield pairs of keys that contradict each other, with the rest of a sentence about the first.

    ``values`` are those of all settings, by key.
    """

    def compare(key: str, expected: str, other: str) -> tuple[str, str, str]:
        limit, found = format_duration(values[other]), format_duration(values[key])
        return key, other, f"{expected} `{other}` ({limit}); it is {found}"

    for longer, key in pairwise(_DESCENDING):
        if values[key] >= values[longer]:
            yield compare(key, "must be shorter than", longer)
    ca, leaf = "webhook.certificates.caDuration", "webhook.certificates.duration"
    if values[ca] < 2 * values[leaf]:
        yield compare(ca, "must be at least twice", leaf)
    for pair in _TOGETHER:
        given, missing = sorted(pair, key=lambda key: not values[key])
        if values[given] and not values[missing]:
            yield given, missing, f"requires `{missing}` to be set as well"
    for first, key in combinations(_PORTS, 2):
        if values[key] == values[first]:
            yield key, first, f"must not be the port of `{first}`; both are {values[key]}"
