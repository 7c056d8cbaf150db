"""Whether an autoscaler has just said that it is making room for a pod."""

from __future__ import annotations

from datetime import datetime, timedelta

from spotalis.kube.client import Client
from spotalis.kube.resources import CORE_EVENTS

SCALE_UP_REASONS = ("TriggeredScaleUp", "Nominated")
"""Reasons of Events on a Pod: cluster autoscaler (FAQ.md, "What events are emitted by CA?"), and
Karpenter (pkg/controllers/provisioning/scheduling/events.go)."""
ANNOUNCEMENT_VALID_FOR = timedelta(minutes=5)
"""A promise older than this has not been kept (behaviour.md 6)."""


async def pods_with_announced_node(client: Client, namespace: str, now: datetime) -> frozenset[str]:
    """UIDs of the pods of a namespace for which room is being made.

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
