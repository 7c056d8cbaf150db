"""Settings that are valid on their own but not together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from spotalis.model.durations import format_duration
from spotalis.settings.options import Settings


def find_contradictions(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Pairs of settings that are valid on their own but not together.

    Yields: the key of one, the key of the other, and the rest of a sentence about the first.
    """
    election, serving = settings.controller.leader_election, settings.serving
    durations = {
        "leaderElection.leaseDuration": election.lease_duration,
        "leaderElection.renewDeadline": election.renew_deadline,
        "leaderElection.retryPeriod": election.retry_period,
    }
    for (longer, limit), (key, value) in pairwise(durations.items()):
        if value >= limit:
            message = f"must be shorter than `{longer}` ({format_duration(limit)})"
            yield key, longer, f"{message}; it is {format_duration(value)}"
    if serving.ca_duration < 2 * serving.duration:
        ca, leaf = "webhook.certificates.caDuration", "webhook.certificates.duration"
        message = f"must be at least twice `{leaf}` ({format_duration(serving.duration)})"
        yield ca, leaf, f"{message}; it is {format_duration(serving.ca_duration)}"
    defaults = settings.controller.defaults
    is_set = {
        "serving.clientCAFile": serving.client_ca_file,
        "serving.clientName": serving.client_name,
        "serving.certificateFile": serving.certificate_file,
        "serving.keyFile": serving.key_file,
        "defaults.disruption-schedule": defaults.get("disruption-schedule"),
        "defaults.disruption-duration": defaults.get("disruption-duration"),
    }
    keys = list(is_set)
    for one, other in zip(keys[::2], keys[1::2], strict=True):
        if bool(is_set[one]) != bool(is_set[other]):
            given, missing = (one, other) if is_set[one] else (other, one)
            yield given, missing, f"requires `{missing}` to be set as well"
    ports: dict[int, str] = {}
    for key, port in (
        ("serving.webhookPort", serving.webhook_port),
        ("serving.metricsPort", serving.metrics_port),
        ("serving.healthPort", serving.health_port),
    ):
        if (first := ports.setdefault(port, key)) != key:
            yield key, first, f"must not be the port of `{first}`; both are {port}"
