"""Find the pods for which an autoscaler has announced a node."""

from __future__ import annotations

from datetime import datetime, timedelta

from spotalis.kube.client import Client
from spotalis.kube.resources import CORE_EVENTS

SCALE_UP_REASONS = ("TriggeredScaleUp", "Nominated")
"""Reasons of Events on pods: of cluster autoscaler (FAQ.md, "What events are emitted by CA?") and
of Karpenter (pkg/controllers/provisioning/scheduling/events.go)."""
ANNOUNCEMENT_VALID_FOR = timedelta(minutes=5)
"""After this time an announced node is not expected any more (docs/reference/behaviour.md, "Spot
shortage and return")."""


async def pods_with_announced_node(client: Client, namespace: str, now: datetime) -> frozenset[str]:
    """UIDs of the pods of a namespace for which a node has been announced.

    Raises:
        ApiError, TransportError: the events could not be read.
    """
    found: set[str] = set()
    for reason in SCALE_UP_REASONS:
        events = CORE_EVENTS.with_fields(f"involvedObject.kind=Pod,reason={reason}")
        for event in await client.list_all(events, namespace, quorum=True):
            if event.at is not None and now - event.at < ANNOUNCEMENT_VALID_FOR:
                found.add(event.involved_uid)
    return frozenset(found)
