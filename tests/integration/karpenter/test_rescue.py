"""All instances end in a drought: the CronJob releases the pods that wait, beside Karpenter."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
import yaml

from spotalis.model.configuration import POD_CAPACITY_TYPE
from tests.support.cluster import TestCluster, policy
from tests.support.control_plane import ControlPlane
from tests.support.control_plane_errors import KubectlError
from tests.support.karpenter import NodePool, karpenter_beside
from tests.support.real_cluster import ROOT, RealTestCluster
from tests.support.scenarios import only_real

RESCUE = ROOT / "build" / "k8s" / "optional" / "rescue.yaml"
MINUTES = 20
EVERY_MINUTES = 5
"""As in the CronJob."""


class Rescue:
    """The CronJob, run by the test: kwok starts no containers."""

    def __init__(self, plane: ControlPlane) -> None:
        """Grant the permissions."""
        self._plane = plane
        objects: list[dict[str, Any]] = list(yaml.safe_load_all(RESCUE.read_text()))
        (job,) = [one for one in objects if one["kind"] == "CronJob"]
        assert job["spec"]["schedule"] == f"*/{EVERY_MINUTES} * * * *"
        self._pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        plane.apply([one for one in objects if one["kind"] != "CronJob"])
        namespace = job["metadata"]["namespace"]
        self.user = f"system:serviceaccount:{namespace}:{self._pod['serviceAccountName']}"

    def run(self) -> list[str]:
        """Run the command of the container with its service account. Return the lines it prints."""
        command = [sys.executable, "-m", "spotalis", *self._pod["containers"][0]["args"]]
        command += ["--kubeconfig", str(self._plane.kubeconfig("admin")), "--as", self.user]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()


@pytest.mark.long
@only_real
async def test_20_minutes_after_all_instances_were_killed_in_a_drought_no_pod_waits(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, RealTestCluster)
    rescue = await asyncio.to_thread(Rescue, cluster.plane)
    async with (
        karpenter_beside(cluster, NodePool()) as karpenter,
        cluster.operators(2) as operators,
    ):
        await cluster.create_deployment("web", 10, policy(70, spot_fallback="never"))
        await cluster.wait_for_split("web", 3, 7)
        await karpenter.take_spot_away()

        async def waiting() -> int:
            return sum(not pod.node for pod in await cluster.pods("web"))

        async def all_wait() -> bool:
            return await waiting() == 7

        await cluster.wait_until(all_wait, "the 7 spot replicas wait")
        for instance in list(operators.instances):
            await instance.kill()
        released = {}
        for minute in range(0, MINUTES, EVERY_MINUTES):
            lines = await asyncio.to_thread(rescue.run)
            released[minute] = len(lines) - 1  # the first one is about the Lease
            await asyncio.sleep(60 * EVERY_MINUTES)
        assert released == {0: 0, 5: 0, 10: 7, 15: 0}
        assert await waiting() == 0
        await cluster.wait_for_split("web", 10, 0)
        pods = await cluster.pods("web")
        assert sum(POD_CAPACITY_TYPE in pod.labels for pod in pods) == 3
        # The account can delete no pod that runs.
        with pytest.raises(KubectlError, match="may delete only pods without a node"):
            await asyncio.to_thread(
                cluster.plane.kubectl, "delete", "pod", pods[0].name, f"--as={rescue.user}"
            )
