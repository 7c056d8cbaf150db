"""What the embedded API server refuses, in the real one's words; all of it: tests/conformance."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # seeded
from typing import Any

import pytest

from spotalis.embedded.server.api import Api
from spotalis.embedded.server.endpoints import Endpoints
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.model.transport import Request
from tests.unit.embedded.controllers.builders import Object, a_budget, a_pod

PATHS = {
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
    "Pod": "/api/v1/namespaces/default/pods",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
}


def posted(*bodies: Object, query: tuple[tuple[str, str], ...] = ()) -> tuple[int, str]:
    """Status and message of the answer to the last of several creations."""

    async def main(clock: VirtualClock) -> tuple[int, str]:
        endpoints = Endpoints(Api(clock=clock, rng=random.Random(0)))
        status, message = 0, ""
        for body in bodies:
            request = Request(
                method="POST", path=PATHS[body["kind"]], query=query, body=json.dumps(body).encode()
            )
            answer = await endpoints.answer(request, user="admin")
            await asyncio.sleep(0)
            status, message = answer.status, json.loads(answer.body).get("message", "")
        return status, message

    return run(main)


def a_config_map(data: Object | None = None, **metadata: Any) -> Object:
    named = {"name": "settings", **metadata}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": named, "data": data or {}}


def a_lease(**spec: Any) -> Object:
    head = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1"}
    return {**head, "metadata": {"name": "leader"}, "spec": spec}


COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param(
            a_pod(cost="x"),
            422,
            f'Pod "pod" is invalid: metadata.annotations[{COST}]: Invalid value: "x": '
            "must be a 32bit integer",
            id="a deletion cost that is no number",
        ),
        pytest.param(a_pod(cost="2147483648"), 422, "must be a 32bit integer", id="too dear"),
        pytest.param(a_pod(cost="+1"), 422, "must be a 32bit integer", id="a sign too many"),
        pytest.param(a_pod(cost="-2147483648"), 201, "", id="the cheapest there is"),
        pytest.param(
            a_config_map({"a": 1}),
            400,
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal '
            "number into Go struct field ConfigMap.data of type string",
            id="data that is no text",
        ),
        pytest.param(
            a_config_map(annotations={"a": True}),
            400,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of "
            "type string",
            id="an annotation that is no text",
        ),
        pytest.param(
            a_config_map(resourceVersion="5"),
            500,
            "resourceVersion should not be set on objects to be created",
            id="a version of what is not there yet",
        ),
        pytest.param(
            a_config_map(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "x"}]),
            422,
            'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
            id="an owner without a UID",
        ),
        pytest.param(
            a_config_map(finalizers=["mine"]),
            422,
            "name is neither a standard finalizer name nor is it fully qualified",
            id="a finalizer without a domain",
        ),
        pytest.param(
            a_lease(leaseDurationSeconds=0),
            422,
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            id="a lease of no length",
        ),
        pytest.param(
            a_budget("b", "web", minAvailable=1, maxUnavailable=1),
            422,
            "minAvailable and maxUnavailable cannot be both set",
            id="a budget with two rules",
        ),
        pytest.param(
            a_budget("b", "web", minAvailable="101%"),
            422,
            "must not be greater than 100%",
            id="a budget of more than all",
        ),
    ],
)
def test_what_is_created_must_make_sense(body: Object, status: int, words: str) -> None:
    found = posted(body)
    assert found[0] == status
    assert words in found[1]


def test_a_dry_run_is_all_or_nothing() -> None:
    status, message = posted(a_config_map(), query=(("dryRun", "Some"),))
    assert status == 422
    assert message.endswith('dryRun: Unsupported value: ["Some"]: supported values: "All"')


def test_who_is_in_the_way_is_said() -> None:
    assert posted(a_config_map(), a_config_map()) == (409, 'configmaps "settings" already exists')
