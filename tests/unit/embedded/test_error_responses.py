"""Error responses in the wording of kube-apiserver; tests/conformance compares all of them."""

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
    """Create objects; returns status and message of the last response."""

    async def main(clock: VirtualClock) -> tuple[int, str]:
        endpoints = Endpoints(Api(clock=clock, rng=random.Random(0)))
        status, message = 0, ""
        for body in bodies:
            request = Request(
                method="POST", path=PATHS[body["kind"]], query=query, body=json.dumps(body).encode()
            )
            response = await endpoints.handle(request, user="admin")
            await asyncio.sleep(0)
            status, message = response.status, json.loads(response.body).get("message", "")
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
            id="deletion cost: not a number",
        ),
        pytest.param(
            a_pod(cost="2147483648"),
            422,
            "must be a 32bit integer",
            id="deletion cost: out of range",
        ),
        pytest.param(
            a_pod(cost="+1"), 422, "must be a 32bit integer", id="deletion cost: plus sign"
        ),
        pytest.param(a_pod(cost="-2147483648"), 201, "", id="deletion cost: minimum"),
        pytest.param(
            a_config_map({"a": 1}),
            400,
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal '
            "number into Go struct field ConfigMap.data of type string",
            id="data that is not text",
        ),
        pytest.param(
            a_config_map(annotations={"a": True}),
            400,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of "
            "type string",
            id="an annotation that is not text",
        ),
        pytest.param(
            a_config_map(resourceVersion="5"),
            500,
            "resourceVersion should not be set on objects to be created",
            id="a version on create",
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
            id="a lease duration of 0",
        ),
        pytest.param(
            a_budget("b", "web", minAvailable=1, maxUnavailable=1),
            422,
            "minAvailable and maxUnavailable cannot be both set",
            id="a budget with both fields",
        ),
        pytest.param(
            a_budget("b", "web", minAvailable="101%"),
            422,
            "must not be greater than 100%",
            id="a budget of more than 100%",
        ),
    ],
)
def test_creating_an_invalid_object_fails(body: Object, status: int, words: str) -> None:
    found = posted(body)
    assert found[0] == status
    assert words in found[1]


def test_an_unsupported_dry_run_value_is_422() -> None:
    status, message = posted(a_config_map(), query=(("dryRun", "Some"),))
    assert status == 422
    assert message.endswith('dryRun: Unsupported value: ["Some"]: supported values: "All"')


def test_creating_a_taken_name_is_409_already_exists() -> None:
    assert posted(a_config_map(), a_config_map()) == (409, 'configmaps "settings" already exists')
