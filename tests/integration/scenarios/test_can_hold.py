"""Ready replicas move to spot only if a spot node can hold them, as the scheduler sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.scenarios.test_neighbours import respond, template
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import on_both_beds, only_embedded, only_real

HOST = "kubernetes.io/hostname"
NEVER = {"spot-fallback": "never", "max-moves-in-flight": "4"}


def with_host_port(name: str, replicas: int) -> dict[str, Any]:
    spec = template(name, replicas)
    (container,) = spec["template"]["spec"]["containers"]
    container["ports"] = [{"containerPort": 8080, "hostPort": 8080}]
    return spec


@on_both_beds
async def test_a_host_port_that_is_in_use_on_every_spot_node_stops_further_moves(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=4)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        spec = with_host_port("web", 4)
        await cluster.create_deployment("web", 4, policy(0, **NEVER), spec=spec)
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_replicas_do_not_move_to_nodes_whose_pods_keep_them_away(
    cluster: TestCluster,
) -> None:
    """The pod on the only spot node does not tolerate pods of the workload beside it."""
    (spot, *_) = await cluster.add_nodes(spot=1, on_demand=2)
    await incidents.end_provisioning(cluster)
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "web"}}}
    avoid = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    async with cluster.operator():
        lonely = template("lonely", 1, affinity=avoid, nodeSelector={HOST: spot})
        await cluster.create_deployment("lonely", 1, spec=lonely)
        await cluster.wait_for_split("lonely", 0, 1)
        await cluster.create_deployment("web", 4, policy(0, **NEVER))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


def select_sandbox(review: Mapping[str, Any]) -> dict[str, Any]:
    """What admission does for a RuntimeClass with a node selector."""
    selector = review["request"]["object"]["spec"].get("nodeSelector") or {}
    if "sandbox" in selector:
        return respond(review, [])
    value = {**selector, "sandbox": "gvisor"}
    return respond(review, [{"op": "add", "path": "/spec/nodeSelector", "value": value}])


@pytest.mark.both
@on_both_beds
async def test_a_node_selector_that_admission_adds_limits_the_nodes_that_count(
    cluster: TestCluster,
) -> None:
    """Of two spot nodes one has the label that the selector asks for, and is cordoned."""
    await cluster.add_nodes(spot=2, on_demand=2)
    await incidents.end_provisioning(cluster)
    types = await cluster.node_types()
    spot, other_spot = [node for node, node_type in types.items() if node_type == "spot"]
    for node in types.keys() - {other_spot}:
        await incidents.label(cluster, node, {"sandbox": "gvisor"})
    await incidents.cordon(cluster, spot)
    async with (
        cluster.operator(),
        incidents.injecting(cluster, "a-webhook", select_sandbox),
    ):
        await cluster.create_deployment("web", 4, policy(0, **NEVER))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        await incidents.cordon(cluster, spot, cordoned=False)
        await cluster.wait_for_split("web", 1, 3)
    assert len(cluster.evictions()) == 3


async def create(cluster: TestCluster, path: str, body: Mapping[str, Any]) -> None:
    answer = await cluster.api.raw("POST", path, body)
    assert answer.status == 201, answer.body


@only_real  # The admission plugin of the API server adds the selector.
async def test_the_nodes_of_a_runtime_class_are_the_ones_that_count(cluster: TestCluster) -> None:
    """Of two spot nodes one belongs to the class, and is cordoned."""
    (spot, _) = await cluster.add_nodes(spot=2)
    for node in [spot, *await cluster.add_nodes(on_demand=2)]:
        await incidents.label(cluster, node, {"sandbox": "gvisor"})
    await incidents.cordon(cluster, spot)
    await incidents.end_provisioning(cluster)
    runtime = {"metadata": {"name": "gvisor"}, "handler": "runsc"}
    scheduling = {"scheduling": {"nodeSelector": {"sandbox": "gvisor"}}}
    await create(cluster, "/apis/node.k8s.io/v1/runtimeclasses", runtime | scheduling)
    async with cluster.operator():
        spec = template("web", 4, runtimeClassName="gvisor")
        await cluster.create_deployment("web", 4, policy(0, **NEVER), spec=spec)
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        await incidents.cordon(cluster, spot, cordoned=False)
        await cluster.wait_for_split("web", 1, 3)
    assert len(cluster.evictions()) == 3


DRIVER = "gpu.example.com"
RESOURCES = "/apis/resource.k8s.io/v1"


async def add_devices(cluster: TestCluster, node: str, count: int) -> None:
    """Publish devices of a node, as a driver of dynamic resource allocation does."""
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    devices = [{"name": f"gpu-{number}"} for number in range(count)]
    spec = {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": devices}
    await create(cluster, f"{RESOURCES}/resourceslices", {"metadata": {"name": node}, "spec": spec})


@only_real  # The embedded scheduler does not know resource claims.
async def test_no_ready_replica_moves_to_a_spot_node_without_the_devices_of_its_resource_claim(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=1)
    for node in await cluster.add_nodes(on_demand=2):
        await add_devices(cluster, node, 4)
    await incidents.end_provisioning(cluster)
    selectors = [{"cel": {"expression": f"device.driver == '{DRIVER}'"}}]
    device_class = {"metadata": {"name": DRIVER}, "spec": {"selectors": selectors}}
    await create(cluster, f"{RESOURCES}/deviceclasses", device_class)
    requests = [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]
    claim = {"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": {"requests": requests}}}}
    namespaced = f"{RESOURCES}/namespaces/{cluster.namespace}"
    await create(cluster, f"{namespaced}/resourceclaimtemplates", claim)
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    spec = template("web", 4, resourceClaims=claims)
    (container,) = spec["template"]["spec"]["containers"]
    container["resources"] = {"claims": [{"name": "gpu"}]}
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0, **NEVER), spec=spec)
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@on_both_beds
async def test_pods_with_a_scheduling_gate_do_not_take_the_free_capacity(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=1, on_demand=2)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        gated = template("gated", 6, schedulingGates=[{"name": "example.com/quota"}])
        (container,) = gated["template"]["spec"]["containers"]
        container["resources"] = {"requests": {"cpu": "32"}}
        await cluster.create_deployment("gated", 6, spec=gated)
        await cluster.create_deployment("web", 4, policy(0, **NEVER))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.wait_until(lambda: _are_pending(cluster, 6), "6 gated pods")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_split("web", 1, 3)
    assert len(cluster.evictions()) == 3


async def _are_pending(cluster: TestCluster, count: int) -> bool:
    return sum(pod.phase == "Pending" for pod in await cluster.pods("gated")) == count


@only_embedded
async def test_ready_replicas_are_evicted_at_most_once_per_backoff_without_success(
    cluster: TestCluster,
) -> None:
    """In virtual time, because it takes 90 minutes: the backoff is 5, 10, 20 and 40 minutes.

    Of two replicas that should move, the port on the only spot node is free for one.
    """
    await cluster.add_nodes(spot=1, on_demand=4)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        fallback = policy(0, **{"spot-fallback": "30s"})
        await cluster.create_deployment("web", 4, fallback, spec=with_host_port("web", 4))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await asyncio.sleep(90 * 60)
        on_demand, spot = await cluster.split("web")
        assert (on_demand, spot) == (3, 1)
    probes = 5
    assert len(cluster.evictions()) == 1 + 2 * probes
