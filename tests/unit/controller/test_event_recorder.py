"""The Event objects that the recorder writes, within the limits of the API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.events import EventRecorder
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import Client
from spotalis.model.decision import Defer, Reason
from spotalis.model.objects import Workload
from spotalis.model.transport import Response
from tests.support.builders import NOW, a_configuration, a_workload
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

NONCE = "_0123456789abcdef"


async def an_event(name: str, instance: str = "host", uid: str = "1") -> Any:
    """The Event that a recorder writes about a workload that cannot reach its split."""
    transport = ScriptedTransport([Response(status=201, body=b'{"kind":"Event"}')])
    clock = ManualClock()
    recorder = EventRecorder(
        Client(transport, clock=clock, rng=LoadedRandom()), clock, instance + NONCE
    )
    result = ReconcileResult(
        key=WorkloadKey("Deployment", "shop", name),
        at=NOW,
        decision=Defer(Reason.PINNED, "pinned"),
        state=a_workload().state,
    )
    workload = Workload(kind="Deployment", namespace="shop", name=name, uid=uid)
    await recorder.record(workload, a_configuration(), result)
    return json.loads(transport.requests[0].body)


@pytest.mark.parametrize(
    ("length", "kept"), [(1, 1), (235, 235), (236, 236), (237, 236), (253, 236)]
)
async def test_the_name_of_a_workload_is_cut_in_the_name_of_an_event(
    length: int, kept: int
) -> None:
    event = await an_event("w" * length)
    name, _, digest = event["metadata"]["name"].partition(".")
    assert (len(name), len(digest)) == (kept, 16)
    assert event["involvedObject"]["name"] == "w" * length


async def test_workloads_whose_names_begin_equally_have_events_of_different_names() -> None:
    names = {(await an_event("w" * 236 + end, uid=end))["metadata"]["name"] for end in ("a", "b")}
    assert {name[:236] for name in names} == {"w" * 236}
    assert len(names) == 2


@pytest.mark.parametrize(("length", "kept"), [(4, 4), (111, 111), (112, 111), (253, 111)])
async def test_the_name_of_an_instance_is_cut_but_not_its_nonce(length: int, kept: int) -> None:
    event = await an_event("web", "h" * length)
    assert event["reportingInstance"] == "h" * kept + NONCE
