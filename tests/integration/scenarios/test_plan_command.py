"""``spotalis plan``: it shows the moves that the operator then makes, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spotalis.app.inspection import ClusterConnection, inspect
from spotalis.cli.overlay import overlay
from spotalis.cli.reported_events import read_events
from spotalis.controller.events import CONTROLLER
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.planner.forecast import Forecast, forecast, start_time_of
from tests.support.cluster import TestCluster, policy, workload_body
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded


async def planned(cluster: TestCluster, name: str) -> Forecast:
    """The moves of a Deployment that ``spotalis plan`` shows."""
    clock = cluster.api.clock
    connection = ClusterConnection(transport=cluster.reader, clock=clock, rng=cluster.api.rng)
    inspection = await inspect(connection, ControllerConfiguration())
    workload = next(one for one in inspection.cluster.deployments if one.name == name)
    plan = await inspection.plan(workload)
    return forecast(plan.observed, clock.now(), start_time_of(plan.observed.replicas))


async def unplaced(cluster: TestCluster, name: str, replicas: int) -> None:
    """A Deployment that runs before the operator does."""
    await cluster.create_deployment(name, replicas, {})

    async def ready() -> bool:
        return sum(pod.ready for pod in await cluster.pods(name)) == replicas

    await cluster.wait_until(ready, f"{replicas} pods are Ready")


@pytest.mark.check
@pytest.mark.parametrize("percent", [0, 100])
@on_both_beds
async def test_the_operator_makes_the_moves_that_plan_shows(
    cluster: TestCluster, percent: int
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    await unplaced(cluster, "web", 8)
    await cluster.annotate(
        "Deployment", "web", {"enabled": "true", "spot-percentage": str(percent)}
    )

    async def observed() -> bool:
        workload = await cluster.get_workload("Deployment", "web")
        return workload.observed_generation == workload.generation

    await cluster.wait_until(observed, "the Deployment controller has observed the annotations")
    found = await planned(cluster, "web")
    shown = [move.pod.name for move in found.moves]
    assert len(shown) == (await cluster.split("web"))[percent == 0], found.end
    async with cluster.operator():
        spot = 8 * percent // 100
        await cluster.wait_for_split("web", 8 - spot, spot)
    assert cluster.evictions() == shown


@only_embedded
async def test_looking_at_a_cluster_writes_nothing(cluster: TestCluster) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    await unplaced(cluster, "web", 4)
    # The misspelled key would cause an Event.
    await cluster.annotate(
        "Deployment", "web", {"enabled": "true", "spot-percentage": "0", "min-ondemand": "1"}
    )
    assert (await planned(cluster, "web")).moves
    verbs = {entry.verb for entry in cluster.embedded.audit.entries if entry.user == "reader"}
    assert verbs <= {"get", "list"}


@only_embedded
async def test_changed_replicas_of_a_manifest_are_a_note_with_the_new_split(
    cluster: TestCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    await unplaced(cluster, "web", 4)
    clock = cluster.api.clock
    connection = ClusterConnection(transport=cluster.reader, clock=clock, rng=cluster.api.rng)
    inspection = await inspect(connection, ControllerConfiguration())
    for replicas, note in (
        (4, ""),
        (10, "is scaled from 4 to 10: 3 on-demand and 7 spot, without moves; the plan is for 4\n"),
    ):
        body = workload_body("Deployment", "web", replicas, policy(70, 2))
        body["metadata"]["namespace"] = cluster.namespace
        file = tmp_path / f"{replicas}.yaml"
        file.write_text(json.dumps(body))
        [workload] = overlay([str(file)], inspection, cluster.namespace)
        assert workload.replicas == 4
        note = f"note: {cluster.namespace}/deploy/web {note}" if note else ""
        assert capsys.readouterr().err == note


@on_both_beds
async def test_events_shows_what_the_operator_has_reported_and_nothing_else(
    cluster: TestCluster,
) -> None:
    for number, component in enumerate((CONTROLLER, "kubelet")):
        body = {
            "metadata": {"name": f"web.{number}"},
            "involvedObject": {"kind": "Deployment", "name": "web", "namespace": cluster.namespace},
            "reason": "Rebalancing",
            "type": "Normal",
            "reportingComponent": component,
            "reportingInstance": "one",
        }
        path = f"/api/v1/namespaces/{cluster.namespace}/events"
        assert (await cluster.api.raw("POST", path, body)).status == 201
    [event] = await read_events(cluster.api, cluster.namespace)
    assert (event.type, event.name, event.reason) == ("Deployment", "web", "Rebalancing")
