"""Runs scripts on a cluster and returns their histories."""

from __future__ import annotations

import asyncio
import json
import random  # noqa: TID251  # seeded
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeAlias

from spotalis.app.clock import SystemClock
from spotalis.embedded.cluster import CONTROLLERS, EmbeddedCluster, Timing
from spotalis.embedded.controllers.kubelet import KubeletTiming
from spotalis.embedded.store import ObjectStore
from spotalis.embedded.virtual_time import VirtualClock, run
from spotalis.kube.config.access import load
from spotalis.kube.http import HttpTransport
from spotalis.model.transport import Transport
from tests.conformance.history import History, normalized
from tests.conformance.session import Session
from tests.conformance.webhooks import WebhookServer, serve
from tests.support.control_plane import ControlPlane, ControlPlaneConfig
from tests.support.control_plane_config import CONTROLLERS as CONTROLLER_MANAGERS

Script: TypeAlias = Callable[[Session], Awaitable[None]]
Wrap: TypeAlias = Callable[[Transport], Transport]

SPOT_NODES = 2
"""Number of nodes in both clusters; every node has room for every pod."""
_FIRST_VERSION = 1000
"""Versions start high, so that they are not confused with other numbers in messages."""
_TIMING = Timing(kubelet=KubeletTiming(start=timedelta(seconds=0.3), stop=timedelta(seconds=0.3)))
"""The delays of kwok in the real cluster."""
_NO_POD_GARBAGE = f"--controllers={CONTROLLER_MANAGERS},-pod-garbage-collector-controller"
"""Neither cluster collects pods of nodes that do not exist: scripts act as the kubelet of such a
node, and the collector of the real cluster runs every 20 s, at any point of a script.
"""


def run_on_embedded(
    script: Script, namespace: str, *, seed: int = 0, wrap: Wrap = lambda transport: transport
) -> History:
    """Run a script on a new embedded cluster in virtual time; returns its history."""

    async def main(clock: VirtualClock) -> History:
        webhooks = WebhookServer()
        store = ObjectStore()
        store.revision = _FIRST_VERSION
        cluster = EmbeddedCluster(
            clock=clock,
            rng=random.Random(seed),
            webhook=webhooks,
            timing=_TIMING,
            controllers=[one for one in CONTROLLERS if one != "pod-garbage-collector"],
            store=store,
        )
        async with cluster:
            await cluster.fleet.add(spot=SPOT_NODES, cpu="32", memory="128Gi")
            transport = wrap(cluster.transport("admin"))

            async def compact() -> None:
                store.compact()

            return await _run(script, Session(transport, namespace, webhooks, compact))

    return normalized(run(main))


@dataclass(frozen=True)
class RealCluster:
    """A real control plane with nodes, and webhooks that it can reach."""

    cluster: ControlPlane
    webhooks: WebhookServer

    @classmethod
    @contextmanager
    def boot(cls, folder: Path, binaries: Mapping[str, Path]) -> Iterator[Self]:
        """Boot a control plane until the block ends."""
        config = ControlPlaneConfig(controller_manager_args=[_NO_POD_GARBAGE])
        with ControlPlane.boot(folder, config, binaries=binaries) as cluster, serve() as webhooks:
            cluster.add_nodes(spot=SPOT_NODES)
            yield cls(cluster, webhooks)

    def run(self, script: Script, namespace: str) -> History:
        """Run a script in a new namespace; returns its history."""
        return self.run_all([(script, namespace)])[0]

    def run_all(self, scripts: list[tuple[Script, str]]) -> list[History]:
        """Run scripts concurrently; returns their histories."""

        async def main() -> list[History]:
            access = load({}, kubeconfig=str(self.cluster.kubeconfig("admin")))
            transport = HttpTransport(access, clock=SystemClock())
            try:
                sessions = [
                    (one, Session(transport, name, self.webhooks, self._compact))
                    for one, name in scripts
                ]
                return await asyncio.gather(*(_run(*both) for both in sessions))
            finally:
                await transport.close()

        return [normalized(one) for one in asyncio.run(main())]

    async def _compact(self) -> None:
        """Compact etcd through its gateway, and restart the API server to drop its cache."""
        lease = {"metadata": {"name": "compacted", "namespace": "default"}}
        self.cluster.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases")
        made = self.cluster.request(
            "POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease
        )
        body = {"revision": made["metadata"]["resourceVersion"], "physical": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.cluster.etcd_port}/v3/kv/compaction",
            data=json.dumps(body).encode(),
        )

        def compact() -> None:
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.status == 200
            self.cluster.restart_api_server()

        await asyncio.to_thread(compact)


async def _run(script: Script, session: Session) -> History:
    await session.quiet.post("namespaces", {"metadata": {"name": session.namespace}})
    try:
        await script(session)
    finally:
        await session.close()
        await _clean_up(session)
    return session.history


async def _clean_up(session: Session) -> None:
    await session.quiet.delete(f"mutatingwebhookconfigurations/{session.namespace}")
    for kind in ("deployments", "statefulsets", "replicasets"):
        await session.quiet.delete(kind)
    await session.quiet.delete("pods", {"gracePeriodSeconds": 0})
