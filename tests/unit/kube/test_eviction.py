from __future__ import annotations

import json
from typing import Any

import pytest

from spotalis.kube.client import Client, EvictionOutcome, EvictionResult
from spotalis.model.objects import Pod
from spotalis.model.transport import Request, Response, TransportError
from tests.support.api_objects import a_status, text
from tests.support.loaded_rng import LoadedRandom
from tests.support.scripted_transport import Answer, ScriptedTransport
from tests.support.virtual_time import in_virtual_time, virtual_clock

POD = Pod(namespace="shop", name="web-1", uid="u1", resource_version="42")


async def evict(answer: Answer, **options: Any) -> tuple[EvictionResult, list[Request]]:
    transport = ScriptedTransport([answer])
    client = Client(transport, clock=virtual_clock(), rng=LoadedRandom())
    return await client.evict(POD, **options), transport.requests


def refusal(code: int, *args: Any, **fields: Any) -> Response:
    return Response(status=code, body=text(a_status(code, *args, **fields)))


def precondition(field: str) -> str:
    return (
        'Operation cannot be fulfilled on pods "web-1": Precondition failed: '
        f"{field} in precondition: a, {field} in object meta: b"
    )


BUDGET = {"reason": "DisruptionBudget", "message": "The disruption budget web needs 8 healthy pods"}
DENIED = 'admission webhook "guard.example.com" denied the request'
POLICY_DENIED = (
    "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'guard' with binding 'guard' denied "
    "request: not this one"
)
NOT_CALLED = (
    'Internal error occurred: failed calling webhook "guard.example.com": failed to call webhook: '
    'Post "https://guard.example.svc:443/": context deadline exceeded'
)
CREATED = Response(status=201, body=b'{"kind":"Status","status":"Success","code":201}')


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (CREATED, EvictionOutcome.EVICTED),
        (refusal(429, "TooManyRequests", "Cannot evict", causes=[BUDGET]), EvictionOutcome.BLOCKED),
        (refusal(429, "TooManyRequests", "too many requests"), EvictionOutcome.THROTTLED),
        (Response(status=429, body=b"Too many requests"), EvictionOutcome.THROTTLED),
        (refusal(404, "NotFound", 'pods "web-1" not found'), EvictionOutcome.GONE),
        (refusal(409, "Conflict", precondition("UID")), EvictionOutcome.GONE),
        (refusal(409, "Conflict", precondition("ResourceVersion")), EvictionOutcome.CONFLICT),
        (refusal(409, "Conflict", "the object has been modified"), EvictionOutcome.CONFLICT),
        (
            refusal(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, "
                "which the eviction subresource does not support.",
            ),
            EvictionOutcome.MISCONFIGURED,
        ),
        (refusal(403, "Forbidden"), EvictionOutcome.FORBIDDEN),
        (refusal(401, "Unauthorized"), EvictionOutcome.FORBIDDEN),
        (refusal(422, "Invalid"), EvictionOutcome.FORBIDDEN),
        # A webhook that denies a request chooses the status.
        (refusal(400, "", DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(404, "NotFound", DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(409, "Conflict", DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(429, "TooManyRequests", DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(500, "InternalError", DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(503, "ServiceUnavailable", f"{DENIED}: wait"), EvictionOutcome.FORBIDDEN),
        (refusal(422, "Invalid", POLICY_DENIED), EvictionOutcome.FORBIDDEN),
        (refusal(500, "InternalError", NOT_CALLED), EvictionOutcome.FORBIDDEN),
        (refusal(500, "InternalError", "etcdserver: leader changed"), EvictionOutcome.UNKNOWN),
        (refusal(503, "ServiceUnavailable"), EvictionOutcome.UNKNOWN),
        (refusal(504, "Timeout"), EvictionOutcome.UNKNOWN),
        (refusal(408, "Timeout"), EvictionOutcome.UNKNOWN),
        (TransportError("cut"), EvictionOutcome.UNKNOWN),
        (TransportError("refused", maybe_sent=False), EvictionOutcome.NOT_SENT),
    ],
)
@in_virtual_time
async def test_each_response_has_its_outcome(answer: Answer, outcome: EvictionOutcome) -> None:
    result, requests = await evict(answer)
    assert (result.outcome, len(requests)) == (outcome, 1)


@in_virtual_time
async def test_an_eviction_states_the_uid_and_no_grace_period() -> None:
    _, [request] = await evict(CREATED)
    assert request.method == "POST"
    assert request.path == "/api/v1/namespaces/shop/pods/web-1/eviction"
    assert json.loads(request.body) == {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "web-1", "namespace": "shop"},
        "deleteOptions": {"preconditions": {"uid": "u1"}},
    }


@in_virtual_time
async def test_an_eviction_may_state_the_resource_version() -> None:
    _, [request] = await evict(CREATED, with_resource_version=True)
    preconditions = json.loads(request.body)["deleteOptions"]["preconditions"]
    assert preconditions == {"uid": "u1", "resourceVersion": "42"}


@in_virtual_time
async def test_the_message_of_the_server_is_kept() -> None:
    blocked, _ = await evict(refusal(429, "", "Cannot evict", causes=[BUDGET]))
    assert blocked.message == "Cannot evict"


@in_virtual_time
async def test_nothing_is_sent_if_the_precondition_fails() -> None:
    result, requests = await evict(CREATED, precondition=lambda: False)
    assert (result.outcome, requests) == (EvictionOutcome.NOT_SENT, [])
