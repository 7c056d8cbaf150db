"""Runs one script on one bed and gives back its history."""

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
from tests.conformance.history import History, normalised
from tests.conformance.hooks import Hooks, served
from tests.conformance.session import Session
from tests.support.control_plane import ControlPlane, ControlPlaneConfig
from tests.support.control_plane_processes import _CONTROLLERS as CONTROLLER_MANAGERS

Script: TypeAlias = Callable[[Session], Awaitable[None]]
Wrap: TypeAlias = Callable[[Transport], Transport]

SPOT_NODES = 2
"""What both beds have; a pod finds room on any of them."""
_FIRST_VERSION = 1000
"""Versions are no small numbers, lest they be taken for something else in a message."""
_TIMING = Timing(kubelet=KubeletTiming(start=timedelta(seconds=0.3), stop=timedelta(seconds=0.3)))
"""As the real bed's: kwok's delays."""
_NO_POD_GARBAGE = f"--controllers={CONTROLLER_MANAGERS},-pod-garbage-collector-controller"
"""Neither bed collects pods of nodes that do not exist: scripts play the kubelet of such a node,
and upstream's comes every 20 s, whenever that is in a script.
"""


def on_embedded(
    script: Script, namespace: str, *, seed: int = 0, wrap: Wrap = lambda transport: transport
) -> History:
    """The normalised history of a script on an embedded cluster of its own, in virtual time."""

    async def main(clock: VirtualClock) -> History:
        hooks = Hooks()
        store = ObjectStore()
        store.revision = _FIRST_VERSION
        cluster = EmbeddedCluster(
            clock=clock,
            rng=random.Random(seed),
            webhook=hooks,
            timing=_TIMING,
            controllers=[one for one in CONTROLLERS if one != "pod-garbage-collector"],
            store=store,
        )
        async with cluster:
            await cluster.fleet.add(spot=SPOT_NODES, cpu="32", memory="128Gi")
            transport = wrap(cluster.transport("admin"))

            async def forget() -> None:
                store.compact()

            return await _played(script, Session(transport, namespace, hooks, forget))

    return normalised(run(main))


@dataclass(frozen=True)
class Real:
    """A real bed with nodes, and webhooks that it can reach."""

    bed: ControlPlane
    hooks: Hooks

    @classmethod
    @contextmanager
    def boot(cls, folder: Path, binaries: Mapping[str, Path]) -> Iterator[Self]:
        """Boot one; it ends with the block."""
        config = ControlPlaneConfig(controller_manager_args=[_NO_POD_GARBAGE])
        with ControlPlane.boot(folder, config, binaries=binaries) as bed, served() as hooks:
            bed.add_nodes(spot=SPOT_NODES)
            yield cls(bed, hooks)

    def play(self, script: Script, namespace: str) -> History:
        """The normalised history of a script in a namespace of its own."""
        return self.play_all([(script, namespace)])[0]

    def play_all(self, scripts: list[tuple[Script, str]]) -> list[History]:
        """The normalised histories of scripts that run side by side."""

        async def main() -> list[History]:
            access = load({}, kubeconfig=str(self.bed.kubeconfig("admin")))
            transport = HttpTransport(access, clock=SystemClock())
            try:
                sessions = [
                    (one, Session(transport, name, self.hooks, self._forget))
                    for one, name in scripts
                ]
                return await asyncio.gather(*(_played(*both) for both in sessions))
            finally:
                await transport.close()

        return [normalised(one) for one in asyncio.run(main())]

    async def _forget(self) -> None:
        """Compact etcd, by its gateway, and restart the API server, whose cache begins anew."""
        lease = {"metadata": {"name": "compacted", "namespace": "default"}}
        self.bed.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases")
        made = self.bed.request(
            "POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease
        )
        body = {"revision": made["metadata"]["resourceVersion"], "physical": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.bed._etcd_port}/v3/kv/compaction",
            data=json.dumps(body).encode(),
        )

        def compact() -> None:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
            self.bed.restart_api_server()

        await asyncio.to_thread(compact)


async def _played(script: Script, session: Session) -> History:
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
