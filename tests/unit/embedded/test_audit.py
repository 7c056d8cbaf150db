"""The audit log, and the expiry of events."""

from __future__ import annotations

import random  # noqa: TID251  # seeded

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.api import Api
from spotalis.embedded.server.audit import Audit
from spotalis.embedded.server.events import TTL
from tests.support.manual_clock import ManualClock
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import NOON


def request(audit: Audit, verb: str, name: str, subresource: str = "") -> None:
    with audit.entry(verb, "pods", "default", name, "owner", subresource=subresource):
        pass


def test_old_entries_are_dropped_and_the_most_recent_ones_are_kept() -> None:
    audit = Audit(ManualClock(NOON), max_entries=10)
    for number in range(100):
        request(audit, "get", str(number))
    assert 10 <= len(audit.entries) <= 20
    assert [entry.name for entry in audit.entries][-10:] == [str(n) for n in range(90, 100)]


def test_many_other_requests_do_not_displace_evictions() -> None:
    audit = Audit(ManualClock(NOON), max_entries=10)
    request(audit, "create", "evicted", "eviction")
    for number in range(100):
        request(audit, "get", str(number))
    assert [entry.name for entry in audit.evictions("owner")] == ["evicted"]
    assert audit.evictions("other") == []


def an_event(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "eventTime": "2026-11-24T12:00:00.000000Z",
        "reportingComponent": "test",
        "reportingInstance": "test-1",
        "action": "Testing",
        "reason": "Tested",
        "type": "Normal",
    }


@in_virtual_time
async def test_events_expire_an_hour_after_their_last_write() -> None:
    clock = ManualClock(NOON)
    api = Api(clock=clock, rng=random.Random(1))

    def names() -> list[str]:
        return [event["metadata"]["name"] for event in api.store.list("events")]

    first = await api.create("events", an_event("first"))
    await api.create("events", an_event("second"))
    clock.advance(TTL.total_seconds() / 2)
    await api.update("events", {**first, "message": "again"})
    clock.advance(TTL.total_seconds() / 2)
    await api.create("events", an_event("third"))
    assert names() == ["first", "third"]
    clock.advance(TTL.total_seconds() / 2)
    await api.create("events", an_event("fourth"))
    assert names() == ["fourth", "third"]
