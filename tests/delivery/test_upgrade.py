"""An upgrade from the previous commit and the way back, under load and with moves in flight.

The previous commit is taken from Git: its manifests, and its code in processes of its own. On a
clone without history the test is skipped.
"""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotalis.controller.ledgers import LEDGER_PREFIX
from tests.support.cluster import policy
from tests.support.control_plane import (
    WITHOUT_PERMISSIONS,
    ControlPlane,
    Json,
    binaries_or_skip,
)
from tests.support.free_ports import PortClaim, claim_ports
from tests.support.real_cluster import (
    READY_SECONDS,
    RealOperatorInstance,
    RealOperatorReplicas,
    RealTestCluster,
)
from tests.support.spreader import spreading

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
HOME = "/api/v1/namespaces/spotalis-system/configmaps"
PODS = "/api/v1/namespaces/default/pods"
REPLICAS = 12
IN_FLIGHT = 2
CAPACITY_TYPE = "spotalis.io/capacity-type"
ADMISSIONS_PER_SECOND = 200
"""At most: each caller waits for the answer to its request before it sends the next one."""
CALLERS = 2


@dataclass(frozen=True)
class Version:
    """A version of Spotalis: its code and its manifest."""

    source: Path
    install: Path


@dataclass
class Load:
    """Admissions: the capacity type that each pod got, empty if it got none."""

    results: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def previous_version(folder: Path) -> Version:
    """The previous commit. Skips the test without a history."""
    archive = folder / "previous.tar"
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", f"--output={archive}", "HEAD~1", "src", "build/k8s"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"the previous commit is not at hand: {done.stderr.strip()}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "previous", filter="data")
    return Version(folder / "previous" / "src", folder / "previous" / "build/k8s/install.yaml")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane.boot(
        tmp_path / "control_plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as plane:
        plane.add_nodes(spot=3, on_demand=3)
        yield plane


class Installation:
    """Two instances behind one address, as the Deployment and the Service have them."""

    def __init__(self, cluster: RealTestCluster, folder: Path, claims: Sequence[PortClaim]) -> None:
        self.cluster = cluster
        self._folder = folder
        self._claims = claims
        self._front = claim_ports()
        self.operators = RealOperatorReplicas(cluster.api, cluster.plane, cluster.user)
        self._started = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        ports = [claim.ports[0] for claim in self._claims]
        try:
            async with spreading(self._front.ports[0], ports):
                yield
        finally:
            for instance in self.operators.instances:
                await instance.terminate()
            self._front.release()

    def apply(self, version: Version) -> None:
        """Apply the manifests, with the address of the processes in place of the Service.

        The API server waits for an answer as long as it can: the test counts requests that are
        refused or cut off, and not those that a busy machine answers late.
        """
        objects: list[Json] = list(yaml.safe_load_all(version.install.read_text()))
        url = f"https://127.0.0.1:{self._front.ports[0]}/mutate"
        for each in objects:
            if each["kind"] == "MutatingWebhookConfiguration":
                each["webhooks"][0] |= {"clientConfig": {"url": url}, "timeoutSeconds": 30}
        file = self._folder / "install.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        self.cluster.plane.kubectl("apply", "-f", str(file), timeout=300)

    async def start(self, version: Version) -> RealOperatorInstance:
        """Start an instance and wait until it is ready."""
        number = self._started
        self._started += 1
        instance = RealOperatorInstance(
            self.cluster.plane.kubeconfig("spotalis"),
            self._claims[number % len(self._claims)].ports,
            self._folder / f"operator-{number}.log",
            (),
            version.source,
        )
        self.operators.instances.append(instance)
        await self.cluster.wait_until(
            instance.is_ready, f"ready (log: {instance.log})", within=READY_SECONDS
        )
        return instance

    async def roll_out(self, version: Version) -> None:
        """Replace the instances one by one, as the Deployment does (maxSurge 1)."""
        await asyncio.to_thread(self.apply, version)
        for old in list(self.operators.instances):
            await self.start(version)
            await old.terminate()
            assert old.exit_code == 0
            self.operators.instances.remove(old)


async def admit(cluster: RealTestCluster, owner: Json, load: Load) -> None:
    """Create pods by dry runs, until cancelled, at most `ADMISSIONS_PER_SECOND` of all callers."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "load-", "labels": {"app": "load"},
                     "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
    }  # fmt: skip
    clock = asyncio.get_running_loop()
    started = clock.time()
    sent = 0
    while True:
        response = await cluster.api.raw("POST", PODS, body, query=(("dryRun", "All"),))
        pod: Any = yaml.safe_load(response.body)
        load.results[pod["metadata"].get("labels", {}).get(CAPACITY_TYPE, "")] += 1
        load.seconds = clock.time() - started
        sent += 1
        await asyncio.sleep(max(0.0, sent * CALLERS / ADMISSIONS_PER_SECOND - load.seconds))


@asynccontextmanager
async def under_load(cluster: RealTestCluster, load: Load) -> AsyncIterator[None]:
    await cluster.create_deployment("load", 2, policy(50))
    await cluster.wait_for_split("load", 1, 1)
    [pod, _] = await asyncio.to_thread(cluster.plane.pods, "default", "app=load")
    [owner] = pod["metadata"]["ownerReferences"]
    callers = [asyncio.create_task(admit(cluster, owner, load)) for _ in range(CALLERS)]
    try:
        yield
    finally:
        for caller in callers:
            caller.cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []


def ledgers(plane: ControlPlane) -> list[str]:
    """The ConfigMaps that record moves in flight."""
    names = [each["metadata"]["name"] for each in plane.request("GET", HOME)["items"]]
    return [name for name in names if name.startswith(LEDGER_PREFIX)]


async def roll_out_while_pods_move(
    installation: Installation, version: Version, percentage: int
) -> None:
    """Change the percentage of ``web``, and replace the instances while its moves are in flight.

    No kubelet answers meanwhile, so that the moves that began cannot end.
    """
    cluster = installation.cluster
    before = len(cluster.evictions())

    async def are_in_flight() -> bool:
        return len(cluster.evictions()) == before + IN_FLIGHT and bool(ledgers(cluster.plane))

    cluster.plane.pause("kwok")
    await cluster.annotate("Deployment", "web", {"spot-percentage": str(percentage)})
    await cluster.wait_until(are_in_flight, "moves are in flight")
    await installation.roll_out(version)
    assert len(cluster.evictions()) == before + IN_FLIGHT, "the open moves count as in flight"
    cluster.plane.resume("kwok")
    on_spot = REPLICAS * percentage // 100
    await cluster.wait_for_split("web", REPLICAS - on_spot, on_spot)
    assert len(cluster.evictions()) == before + REPLICAS // 2


async def test_upgrade_and_rollback_fail_no_admission_and_evict_no_pod_twice(
    plane: ControlPlane, tmp_path: Path
) -> None:
    previous = previous_version(tmp_path)
    current = Version(ROOT / "src", ROOT / "build" / "k8s" / "install.yaml")
    claims = [claim_ports() for _ in range(4)]
    cluster = RealTestCluster(plane, tmp_path, claims[3])
    await cluster.open()
    installation = Installation(cluster, tmp_path, claims[:3])
    load = Load()
    try:
        installation.apply(previous)
        async with installation.serving():
            await installation.start(previous)
            await installation.start(previous)
            await cluster.create_deployment(
                "web", REPLICAS, policy(0, max_moves_in_flight=str(IN_FLIGHT))
            )
            await cluster.wait_for_split("web", REPLICAS, 0)
            async with under_load(cluster, load):
                for version, percentage in ((current, 50), (previous, 0)):
                    await roll_out_while_pods_move(installation, version, percentage)
    finally:
        await cluster.close()
        for claim in claims:
            claim.release()
    evicted = [event.precondition_uid for event in plane.evictions("spotalis")]
    assert len(evicted) == len(set(evicted)) == REPLICAS
    print(f"{dict(load.results)} in {load.seconds:.0f} s")
    assert installation.operators.unanswered_pods() == []
    assert load.results[""] == 0
    assert sum(load.results.values()) > 100
