"""``spotalis plan``: it shows the moves that the operator then makes, and writes nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from spotalis.app.inspection import ClusterConnection, follow, inspect
from spotalis.cli import status
from spotalis.cli.overlay import overlay
from spotalis.cli.parser import Parser
from spotalis.cli.reported_events import read_events
from spotalis.cli.watching import POLL_SECONDS, print_changes
from spotalis.controller.events import CONTROLLER
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.decision import Defer, Reason
from spotalis.planner.forecast import Forecast, forecast, start_time_of
from tests.support import incidents
from tests.support.cluster import TestCluster, policy, workload_body
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded
from tests.support.volumes import ZONE, bound, claiming


async def forecasts(cluster: TestCluster) -> dict[str, Forecast]:
    """The moves of each workload that ``spotalis plan --all`` shows."""
    clock = cluster.api.clock
    connection = ClusterConnection(transport=cluster.reader, clock=clock, rng=cluster.api.rng)
    inspection = await inspect(connection, ControllerConfiguration())
    plans = {one.name: await inspection.plan(one) for one in inspection.cluster.workloads()}
    return {
        name: forecast(plan.observed, clock.now(), start_time_of(plan.observed.replicas))
        for name, plan in plans.items()
    }


async def planned(cluster: TestCluster, name: str) -> Forecast:
    """The moves of a workload that ``spotalis plan`` shows."""
    return (await forecasts(cluster))[name]


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


HALF = {"enabled": "true", "spot-percentage": "50"}
NEVER = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1h"}
MANY = {
    "half": (6, HALF),
    "pairs": (6, {**HALF, "spot-percentage": "100", "max-moves-in-flight": "2"}),
    "floor": (6, {**HALF, "spot-percentage": "100", "min-on-demand": "3"}),
    "blocked": (4, HALF),
    "paused": (4, {**HALF, "paused-until": "forever"}),
    "invalid": (4, {**HALF, "spot-percentage": "7O"}),
    "closed": (4, {**HALF, **NEVER}),
    "rolling": (4, HALF),
    "right": (4, {**HALF, "spot-percentage": "0"}),
    "plain": (4, {}),
}
"""Replicas of Deployments, and what their owners write."""


async def unplaced_workloads(cluster: TestCluster) -> None:
    """Workloads in many states, before the operator runs.

    On one node of each type: the moves of a workload change how full nodes are, which decides
    between equal replicas of the others.
    """
    await cluster.add_nodes(on_demand=1)
    for name, (replicas, _) in MANY.items():
        await cluster.create_deployment(name, replicas)
    await cluster.create_stateful_set("db", 4)
    await cluster.create_budget("strict", "blocked", minAvailable=4)
    for name in (*MANY, "db"):
        await cluster.wait_for_split(name, MANY[name][0] if name in MANY else 4, 0)
    await cluster.add_nodes(spot=1)
    await cluster.create_deployment("back", 6)

    async def ready() -> bool:
        return sum(await cluster.split("back")) == 6

    await cluster.wait_until(ready, "back is Ready, on nodes of both types")
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "none"}}}}}
    await cluster.patch_workload("Deployment", "rolling", nowhere)
    for name, (_, values) in MANY.items():
        await cluster.annotate("Deployment", name, values)
    await cluster.annotate("Deployment", "back", {**HALF, "spot-percentage": "0"})
    await cluster.annotate("StatefulSet", "db", HALF)


@on_both_beds
async def test_the_operator_makes_the_moves_that_plan_shows_of_many_workloads(
    cluster: TestCluster,
) -> None:
    cluster.webhook_timeout_seconds = 30
    await unplaced_workloads(cluster)

    async def observed() -> bool:
        found = [await cluster.get_workload("Deployment", name) for name in (*MANY, "back")]
        return all(one.observed_generation == one.generation for one in found)

    await cluster.wait_until(observed, "the Deployment controller has observed the annotations")
    found = await forecasts(cluster)
    shown = {name: [move.pod.name for move in one.moves] for name, one in found.items()}
    _, to_on_demand = await cluster.split("back")
    counts = {name: len(moves) for name, moves in shown.items() if moves}
    assert counts == {"half": 3, "pairs": 6, "floor": 3, "back": to_on_demand, "db": 2}
    async with cluster.operator():
        for name, split in {
            "half": (3, 3),
            "pairs": (0, 6),
            "floor": (3, 3),
            "back": (6, 0),
            "db": (2, 2),
        }.items():
            await cluster.wait_for_split(name, *split)
        await cluster.wait_for_status("blocked", "BlockedByPDB")
    evicted: dict[str, list[str]] = {name: [] for name in shown}
    for pod in cluster.evictions():
        evicted[pod.partition("-")[0]].append(pod)
    assert evicted == shown


@on_both_beds
async def test_plan_shows_the_moves_of_pods_that_only_some_nodes_can_hold(
    cluster: TestCluster,
) -> None:
    """Claims of three of four replicas are in the zone of the spot node."""
    [node] = await cluster.add_nodes(on_demand=1)
    [other] = await cluster.add_nodes(on_demand=1)
    for name, zone in ((node, "a"), (other, "b")):
        await incidents.label(cluster, name, {ZONE: zone})
    await bound(cluster, {"db-0": "a", "db-1": "b", "db-2": "a", "db-3": "a"})
    await cluster.create_stateful_set("db", 4, spec=claiming())
    await cluster.wait_for_split("db", 4, 0)
    [spot] = await cluster.add_nodes(spot=1)
    await incidents.label(cluster, spot, {ZONE: "a"})
    await incidents.end_provisioning(cluster)
    await cluster.annotate("StatefulSet", "db", {**HALF, "spot-percentage": "100"})
    found = await planned(cluster, "db")
    shown = [move.pod.name for move in found.moves]
    assert set(shown) == {"db-0", "db-2", "db-3"}
    assert isinstance(found.end, Defer)
    assert found.end.reason is Reason.NO_SPOT_CAPACITY
    async with cluster.operator():
        await cluster.wait_for_split("db", 1, 3)
        await cluster.wait_for_status("db", "NoSpotCapacity")
    assert cluster.evictions() == shown


@on_both_beds
async def test_plan_shows_the_return_of_replicas_that_have_fallen_back(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=2)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="2s"))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.wait_for_status("web", "NoSpotCapacity")
    fallen_back = cluster.evictions()
    assert len(fallen_back) == 2
    without_spot = await planned(cluster, "web")
    assert without_spot.moves == ()
    assert isinstance(without_spot.end, Defer)
    assert without_spot.end.reason is Reason.NO_SPOT_CAPACITY
    async with cluster.operator():
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == fallen_back
    await cluster.add_nodes(spot=1)
    shown = [move.pod.name for move in (await planned(cluster, "web")).moves]
    assert len(shown) == 2
    async with cluster.operator():
        await cluster.wait_for_split("web", 2, 2)
    assert cluster.evictions() == [*fallen_back, *shown]


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


@pytest.mark.parametrize("flag", ["--watch", "--watch-only"])
@on_both_beds
async def test_a_watch_prints_the_changes_and_without_watch_only_the_present_state(
    cluster: TestCluster, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await cluster.add_nodes(spot=1, on_demand=1)
    await cluster.create_deployment("web", 2, policy(50))
    await cluster.wait_for_split("web", 1, 1)
    parser = Parser("spotalis status", "")
    parser.set_defaults(command="spotalis status")
    status.add_arguments(parser)
    arguments = parser.parse(["deploy/web", flag])
    connection = ClusterConnection(
        transport=cluster.reader,
        clock=cluster.api.clock,
        rng=cluster.api.rng,
        namespace=cluster.namespace,
    )
    capsys.readouterr()
    printed: list[str] = []

    async def shows(text: str) -> bool:
        if watching.done():
            await watching
        printed.extend(capsys.readouterr().out.splitlines())
        return any(text in line for line in printed)

    async with follow(connection, ControllerConfiguration()) as inspection:
        watching = asyncio.create_task(print_changes(arguments, inspection, connection))
        if flag == "--watch":
            await cluster.wait_until(lambda: shows("deploy/web"), "the present state")
        else:
            await asyncio.sleep(5 * POLL_SECONDS)
            assert not await shows("deploy/web")
        await cluster.annotate("Deployment", "web", {"paused-until": "forever"})
        await cluster.wait_until(lambda: shows("Paused"), "the change")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [line.split()[0] for line in printed].count("NAME") == 1
    assert printed[0].split()[0] == "NAME"


@on_both_beds
async def test_events_of_the_same_second_are_shown_in_the_order_of_their_last_report(
    cluster: TestCluster,
) -> None:
    path = f"/api/v1/namespaces/{cluster.namespace}/events"
    at = "2026-11-30T14:00:00Z"
    for name in ("web.3", "web.1", "web.2"):  # lists are ordered by name
        body = {
            "metadata": {"name": name},
            "involvedObject": {"kind": "Deployment", "name": "web", "namespace": cluster.namespace},
            "reason": f"Reason{name[-1]}",
            "type": "Normal",
            "reportingComponent": CONTROLLER,
            "reportingInstance": "one",
            "firstTimestamp": at,
            "lastTimestamp": at,
        }
        assert (await cluster.api.raw("POST", path, body)).status == 201
    found = await read_events(cluster.api, cluster.namespace)
    assert [event.reason for event in found] == ["Reason3", "Reason1", "Reason2"]
    merge = "application/merge-patch+json"
    await cluster.api.raw("PATCH", f"{path}/web.3", {"count": 2}, content_type=merge)
    found = await read_events(cluster.api, cluster.namespace)
    assert [event.reason for event in found] == ["Reason1", "Reason2", "Reason3"]


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
