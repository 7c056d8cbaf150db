"""The kubelet: pods start, become ready, crash and stop, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spotalis.embedded.cluster import EmbeddedCluster, Timing
from spotalis.embedded.controllers.kubelet import KubeletTiming
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.pods import is_ready, restarts
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.api import DeleteOptions
from tests.support import manifests
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.helpers import a_cluster, now

SLOW = Timing(kubelet=KubeletTiming(start=timedelta(seconds=7), stop=timedelta(seconds=4)))


async def run(cluster: EmbeddedCluster, grace: int = 30, **annotations: str) -> None:
    """Create a pod with annotations for the kubelet (``start_seconds="3"``)."""
    await cluster.fleet.add(spot=1)
    named = {f"embedded.spotalis.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    metadata = {"namespace": "default", "annotations": named}
    spec = {"terminationGracePeriodSeconds": grace}
    await cluster.api.create("pods", manifests.pod("pod", metadata=metadata, spec=spec))


def pod(cluster: EmbeddedCluster) -> Object:
    found = cluster.store.get("pods", "default", "pod")
    assert found is not None
    return found


def gone(cluster: EmbeddedCluster) -> bool:
    return cluster.store.get("pods", "default", "pod") is None


@in_virtual_time
async def test_a_pod_runs_and_is_ready_after_its_start_time() -> None:
    async with a_cluster(timing=SLOW) as cluster:
        await run(cluster)
        await until(lambda: is_ready(pod(cluster)))
        assert now() == pytest.approx(7, abs=0.11)
        found = pod(cluster)["status"]
        assert found["phase"] == "Running"
        assert found["startTime"] == "2026-11-24T12:00:07Z"
        assert found["podIP"]
        assert found["hostIP"] == "192.168.0.1"
        (container,) = found["containerStatuses"]
        assert (container["name"], container["ready"]) == ("main", True)
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
            at = condition(pod(cluster), kind)
            assert at is not None
            assert at["status"] == "True"


@pytest.mark.parametrize(("grace", "seconds"), [(30, 4.0), (2, 2.0)])
@in_virtual_time
async def test_a_deleted_pod_is_removed_after_its_stop_time_or_its_grace_period(
    grace: int, seconds: float
) -> None:
    async with a_cluster(timing=SLOW) as cluster:
        await run(cluster)
        await until(lambda: is_ready(pod(cluster)))
        await cluster.api.delete("pods", "default", "pod", DeleteOptions(grace_seconds=grace))
        assert await until(lambda: gone(cluster)) == pytest.approx(seconds, abs=0.11)


@in_virtual_time
async def test_annotations_override_the_timing_of_a_pod() -> None:
    async with a_cluster() as cluster:
        await run(cluster, start_seconds="20", ready="5", stop_seconds="9")
        await asyncio.sleep(20.1)
        assert pod(cluster)["status"]["phase"] == "Running"
        assert not is_ready(pod(cluster))
        await until(lambda: is_ready(pod(cluster)))
        assert now() == pytest.approx(25, abs=0.11)
        await cluster.api.delete("pods", "default", "pod")
        assert await until(lambda: gone(cluster)) == pytest.approx(9, abs=0.11)


@in_virtual_time
async def test_a_running_pod_can_be_made_to_fail_and_to_recover() -> None:
    async with a_cluster() as cluster:
        await run(cluster)
        await until(lambda: is_ready(pod(cluster)))
        for value, expected in (("never", False), ("0", True)):
            annotations = {"embedded.spotalis.io/ready": value}
            metadata = {**pod(cluster)["metadata"], "annotations": annotations}
            await cluster.api.update("pods", {**pod(cluster), "metadata": metadata})
            await asyncio.sleep(0.1)
            assert is_ready(pod(cluster)) is expected


@in_virtual_time
async def test_a_crashing_pod_restarts_with_exponential_backoff() -> None:
    async with a_cluster() as cluster:
        await run(cluster, crash_after_seconds="5")
        times = []
        for expected in (True, False, True, False, True):
            await until(lambda wanted=expected: is_ready(pod(cluster)) is wanted)  # type: ignore[misc]
            times.append(now())
        # ready at 1, down 5 later, up after 10, down 5 later, up after 20
        assert times == pytest.approx([1, 6, 16, 21, 41], abs=0.5)
        assert restarts(pod(cluster)) == 2


@in_virtual_time
async def test_a_pod_on_a_silent_node_is_removed_when_the_node_is_ready_again() -> None:
    async with a_cluster() as cluster:
        await run(cluster)
        await until(lambda: is_ready(pod(cluster)))
        cluster.fleet.mark_not_ready("spot-1")
        await cluster.api.delete("pods", "default", "pod")
        await asyncio.sleep(100)
        assert not gone(cluster)
        cluster.fleet.mark_ready("spot-1")
        assert await until(lambda: gone(cluster)) < 1.2
