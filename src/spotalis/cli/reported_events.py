"""Reading the Events of the operator."""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import TypeAlias

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


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Event(msgspec.Struct, rename="camel"):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    involved_object: _Object = msgspec.field(default_factory=_Object)
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None


_DECODER = msgspec.json.Decoder(_Event)


_Order: TypeAlias = tuple[int, int]
"""The time of an Event in whole seconds, and its resourceVersion: within a second, Events were
written in this order. kube/store.py compares versions in the same way."""


def _decode(raw: bytes | msgspec.Raw) -> tuple[_Order, ReportedEvent]:
    written = _DECODER.decode(raw)
    about, version = written.involved_object, written.metadata.resource_version
    last_seen = written.last_timestamp or written.event_time
    seconds = last_seen.timestamp() if last_seen else 0.0
    return (int(seconds), int(version) if version.isdecimal() else 0), ReportedEvent(
        namespace=about.namespace,
        type=about.kind,
        name=about.name,
        severity=written.type,
        reason=written.reason,
        message=written.message,
        count=written.count or 1,
        last_seen=last_seen,
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
    return [event for _, event in sorted(found, key=itemgetter(0))]
