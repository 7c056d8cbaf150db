"""The condition of a Deployment is written although a write fails."""

from __future__ import annotations

import json

import pytest

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.condition import RETRY_TIME, ConditionWriter
from spotalis.controller.result import ReconcileResult
from spotalis.kube.client import Client
from spotalis.model.decision import Hold, Reason
from spotalis.model.transport import Response
from tests.support.builders import NOW, a_workload, workload_named_api
from tests.support.loaded_rng import LoadedRandom
from tests.support.manual_clock import ManualClock
from tests.support.scripted_transport import ScriptedTransport

REFUSED = Response(status=403, body=b'{"kind":"Status","reason":"Forbidden"}')
WRITTEN = Response(
    status=200,
    body=json.dumps(
        {
            "kind": "Deployment",
            "metadata": {"namespace": "shop", "name": "api", "uid": "api-uid"},
            "spec": {"selector": {}, "template": {}},
        }
    ).encode(),
)
RESULT = ReconcileResult(
    key=WorkloadKey("Deployment", "shop", "api"),
    at=NOW,
    decision=Hold(Reason.BALANCED, "as desired"),
    state=a_workload().state,
)


@pytest.mark.parametrize("removes", [False, True])
async def test_a_write_that_fails_is_tried_again_although_the_workload_is_at_rest(
    removes: bool,
) -> None:
    transport, clock = ScriptedTransport([REFUSED, WRITTEN]), ManualClock()
    writer = ConditionWriter(Client(transport, clock=clock, rng=LoadedRandom()), clock)
    workload = workload_named_api(balanced=("True", "Balanced") if removes else None)
    for retry in (RETRY_TIME, None):
        if removes:
            assert await writer.remove(workload) == retry
        else:
            assert await writer.update(workload, RESULT) == retry
    assert len(transport.requests) == 2
