"""The tables that ``kubectl get`` prints, and the documents that kubectl reads first."""

from __future__ import annotations

import json
import random  # noqa: TID251  # seeded
from datetime import timedelta
from typing import Any

import pytest

from spotalis.embedded.nodes import make_node
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.api import Api
from spotalis.embedded.server.endpoints import Endpoints
from spotalis.embedded.server.tables import table
from spotalis.model.transport import Request
from tests.support.manual_clock import ManualClock
from tests.unit.embedded.controllers.builders import NOON, a_budget, a_pod, a_workload, ago

CREATED = {"creationTimestamp": ago(minutes=3, seconds=20)}


def cells(plural: str, obj: Object, *, wide: bool = False) -> dict[str, Any]:
    """The row of one object, by column."""
    found = table(plural, [obj], {}, NOON)
    (row,) = found["rows"]
    assert row["object"]["metadata"] == obj["metadata"]
    columns = zip(found["columnDefinitions"], row["cells"], strict=True)
    return {column["name"]: cell for column, cell in columns if wide or not column["priority"]}


def test_a_running_pod() -> None:
    pod = a_pod("web-1", node="spot-1", created_at=CREATED["creationTimestamp"])
    container = {"ready": True, "restartCount": 2, "state": {"running": {}}}
    pod["status"] |= {"podIP": "10.0.0.1", "containerStatuses": [container]}
    row = {"Name": "web-1", "Ready": "1/1", "Status": "Running", "Restarts": 2, "Age": "3m"}
    assert cells("pods", pod) == row
    assert cells("pods", pod, wide=True) == {**row, "IP": "10.0.0.1", "Node": "spot-1"}


def test_the_status_of_a_crashing_and_of_a_terminating_pod() -> None:
    pod = a_pod("web-1")
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    pod["status"]["containerStatuses"] = [{"ready": False, "state": waiting}]
    assert cells("pods", pod)["Status"] == "CrashLoopBackOff"
    pod["metadata"]["deletionTimestamp"] = ago()
    assert cells("pods", pod)["Status"] == "Terminating"


def test_a_deployment() -> None:
    deployment = a_workload("Deployment", "web", 3)
    deployment["metadata"] |= CREATED
    deployment["status"] = {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}
    row = {"Name": "web", "Ready": "2/3", "Up-to-date": 3, "Available": 1, "Age": "3m"}
    assert cells("deployments", deployment) == row


def test_a_cordoned_node() -> None:
    node = make_node("spot-1")
    node["spec"]["unschedulable"] = True
    assert cells("nodes", node)["Status"] == "Ready,SchedulingDisabled"


def test_a_budget() -> None:
    budget = a_budget("b", "web", minAvailable="50%")
    budget["status"] = {"disruptionsAllowed": 2}
    row = {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 2}
    assert cells("poddisruptionbudgets", budget).items() >= row.items()


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=95), "95s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(minutes=30, seconds=5), "30m"),
        (timedelta(hours=5), "5h"),
        (timedelta(hours=30), "30h"),
        (timedelta(days=2, hours=3), "2d"),
        (timedelta(days=30), "30d"),
    ],
    ids=str,
)
def test_ages_have_one_unit(age: timedelta, text: str) -> None:
    pod = a_pod("web-1", created_at=f"{NOON - age:%Y-%m-%dT%H:%M:%SZ}")
    assert cells("pods", pod)["Age"] == text


async def get(path: str, accept: str = "") -> Any:
    api = Api(clock=ManualClock(NOON), rng=random.Random(1))
    await api.create("pods", a_pod("web-1"))
    request = Request(method="GET", path=path)
    response = await Endpoints(api).handle(request, user="admin", accept=accept)
    assert response.status == 200
    return json.loads(response.body)


async def test_objects_are_returned_as_a_table_on_request() -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    for path in ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/pods/web-1"):
        found = await get(path, accept)
        assert (found["kind"], len(found["rows"])) == ("Table", 1)
    assert (await get("/api/v1/namespaces/default/pods"))["kind"] == "PodList"


async def test_discovery_lists_resources_with_their_short_names() -> None:
    found = await get("/apis/apps/v1")
    names = {one["name"]: one.get("shortNames") for one in found["resources"]}
    assert names["deployments"] == ["deploy"]
    assert "deployments/scale" in names
    groups = await get("/apis")
    assert "policy" in [group["name"] for group in groups["groups"]]


async def test_openapi_tells_kubectl_that_the_server_validates_fields() -> None:
    index = await get("/openapi/v3")
    assert "apis/apps/v1" in index["paths"]
    document = await get("/openapi/v3/apis/apps/v1")
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["post"]
    assert [one["name"] for one in operation["parameters"]] == ["fieldValidation"]
