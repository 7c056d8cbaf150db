"""Whether an autoscaler has just said that it is making room for a pod."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from spotalis.kube.client import Client
from spotalis.kube.errors import error_from

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
        response = await client.raw(
            "GET",
            f"/api/v1/namespaces/{namespace}/events",
            query=[("fieldSelector", f"involvedObject.kind=Pod,reason={reason}")],
        )
        if response.status >= 300:
            raise error_from(response, now)
        for event in _LIST.decode(response.body).items or ():
            at = event.last_timestamp or event.event_time
            if at is not None and now - at < ANNOUNCEMENT_VALID_FOR:
                found.add(event.involved_object.uid)
    return frozenset(found)


class _Involved(msgspec.Struct):
    uid: str = ""


class _Event(msgspec.Struct, rename="camel"):
    involved_object: _Involved
    last_timestamp: datetime | None = None
    event_time: datetime | None = None


class _List(msgspec.Struct):
    items: list[_Event] | None = None


_LIST = msgspec.json.Decoder(_List)
