"""Reading the Events of the operator."""

from __future__ import annotations

from datetime import datetime

import msgspec

from spotalis.cli.views import API_VERSION
from spotalis.controller.events import CONTROLLER
from spotalis.kube.client import Client
from spotalis.kube.resources import Resource


class ReportedEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An Event about a workload."""

    namespace: str
    type: str
    """The kind of the workload."""
    name: str
    severity: str
    """``Normal`` or ``Warning``."""
    reason: str
    message: str
    count: int
    last_seen: datetime | None


class ReportedEventList(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What ``events -o json`` prints."""

    api_version: str = API_VERSION
    kind: str = "EventList"
    items: list[ReportedEvent]


class _Object(msgspec.Struct):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class _Event(msgspec.Struct, rename="camel"):
    involved_object: _Object = msgspec.field(default_factory=_Object)
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None


_DECODER = msgspec.json.Decoder(_Event)


def _decode(raw: bytes | msgspec.Raw) -> ReportedEvent:
    written = _DECODER.decode(raw)
    about = written.involved_object
    return ReportedEvent(
        namespace=about.namespace,
        type=about.kind,
        name=about.name,
        severity=written.type,
        reason=written.reason,
        message=written.message,
        count=written.count or 1,
        last_seen=written.last_timestamp or written.event_time,
    )


REPORTED_EVENTS = Resource(
    "", "v1", "events", "Event", True, _decode, field_selector=f"reportingComponent={CONTROLLER}"
)
"""The field selectors of Events are in kubernetes/pkg/registry/core/event/strategy.go."""


async def read_events(client: Client, namespace: str) -> list[ReportedEvent]:
    """The Events of the operator, oldest first.

    Args:
        namespace: empty for all.

    Raises:
        ApiError, TransportError: the Events cannot be read.
    """
    found = await client.list_all(REPORTED_EVENTS, namespace, quorum=True)
    return sorted(found, key=lambda event: event.last_seen.timestamp() if event.last_seen else 0.0)
