"""The embedded cluster: API server, controllers, nodes, in this process and on one event loop.

In virtual time, with a clock of the virtual loop and seeded rng, everything that happens in it is
a function of the seed. It holds no background thread and reads no clock of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.deployment import DeploymentController
from spotalis.embedded.controllers.disruption import DisruptionController
from spotalis.embedded.controllers.garbage_collector import GarbageCollector
from spotalis.embedded.controllers.indexes import Indexes
from spotalis.embedded.controllers.kubelet import Kubelet, KubeletTiming
from spotalis.embedded.controllers.node_lifecycle import NodeLifecycleController
from spotalis.embedded.controllers.pod_garbage_collector import PodGarbageCollector
from spotalis.embedded.controllers.provisioner import Provisioner, Provisioning
from spotalis.embedded.controllers.replicaset import ReplicaSetController
from spotalis.embedded.controllers.scheduler import Scheduler
from spotalis.embedded.controllers.statefulset import StatefulSetController
from spotalis.embedded.nodes import KARPENTER, Fleet, Provider
from spotalis.embedded.server.api import Api, WebhookCaller
from spotalis.embedded.store import ObjectStore
from spotalis.embedded.transport import InProcessTransport
from spotalis.model.environment import Clock, Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast the cluster is."""

    kubelet: KubeletTiming = field(default_factory=KubeletTiming)
    controllers: timedelta = timedelta()
    """From a change to a controller's look at it."""
    pod_gc_quarantine: timedelta = timedelta()
    """How long a node must be gone before its pods are (upstream: 40 s to 60 s)."""


CONTROLLERS: tuple[str, ...] = (
    "deployment",
    "replicaset",
    "statefulset",
    "disruption",
    "garbage-collector",
    "pod-garbage-collector",
    "node-lifecycle",
    "scheduler",
    "kubelet",
)
"""All there are by default; ``provisioner`` runs where a ``Provisioning`` is given."""


class EmbeddedCluster:
    """A cluster to talk to through ``transport``, and to disturb through ``fleet``.

    :func:`spotalis.embedded.http.serve` gives its ``api`` a port.

    Use it as ``async with``: should a controller fail by a bug of its own, the block is cancelled
    and the failure raised from it. With ``start`` and ``stop``, ``stop`` raises it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        webhook: WebhookCaller | None = None,
        timing: Timing | None = None,
        controllers: Collection[str] = CONTROLLERS,
        provider: Provider = KARPENTER,
        zones: Sequence[str] = (),
        provisioning: Provisioning | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        """A cluster that is not yet started, with no node.

        Args:
            clock: for stamps; the event loop's time is what passes.
            rng: for names, UIDs, and the scheduler where nodes are equally good.
            webhook: what calls admission webhooks; None: they cannot be reached.
            timing: how fast kubelets and controllers are.
            controllers: which of ``CONTROLLERS`` run.
            provider: how ``fleet`` labels nodes.
            zones: which zones its nodes go round.
            provisioning: adds nodes for pods that find none; None: nobody does.
            store: where the objects are; a new one by default.
        """
        self.api = Api(clock=clock, rng=rng, webhook=webhook, store=store)
        self.store = self.api.store
        self.audit = self.api.audit
        """Who asked for what."""
        self.fleet = Fleet(self.api, clock, provider=provider, zones=zones)
        self.provisioning = provisioning
        self._clock = clock
        self._rng = rng
        self._timing = timing or Timing()
        wanted = {*controllers} | ({"provisioner"} if provisioning is not None else set())
        self._wanted = tuple(name for name in self._recipes() if name in wanted)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._indexes: Indexes | None = None
        self._failure: BaseException | None = None
        self._owner: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Start the controllers; when it returns they hear every change."""
        self._indexes = Indexes(self.store)
        for name in self._wanted:
            self._launch(name)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """End every controller.

        Raises:
            BaseException: what a controller failed with, if one did.
        """
        for name in list(self._running):
            await self.stop_controller(name)
        if self._indexes is not None:
            self._indexes.close()
            self._indexes = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def transport(self, user: str) -> InProcessTransport:
        """A way in for ``user``, without a network; faults can be ordered on it."""
        return InProcessTransport(self.api, user)

    def evictions(self, user: str = "") -> list[tuple[str, str]]:
        """Namespace and name of every pod that was evicted, in order; by one user, or by all."""
        return [(one.namespace, one.name) for one in self.audit.evictions(user)]

    def now(self) -> datetime:
        """The cluster's clock."""
        return self._clock.now()

    async def stop_controller(self, name: str) -> None:
        """End one controller, as if its process had died; nothing is cleaned up."""
        task = self._running.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def start_controller(self, name: str) -> None:
        """Start a controller that was stopped: it looks at everything anew."""
        self._launch(name)
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        owner, self._owner = self._owner, None
        if self._failure is not None and owner is not None and kind is asyncio.CancelledError:
            owner.uncancel()
        await self.stop()

    def _launch(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._built(name).run(), name=name)
        task.add_done_callback(self._ended)
        self._running[name] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        if self._failure is None:
            self._failure = task.exception()
            if self._owner is not None and not self._owner.done():
                self._owner.cancel()

    def _built(self, name: str) -> Controller:
        if self._indexes is None:
            raise RuntimeError("the cluster is not started")
        context = ControllerContext(
            api=self.api,
            indexes=self._indexes,
            clock=self._clock,
            rng=self._rng,
            latency_seconds=self._timing.controllers.total_seconds(),
        )
        return self._recipes()[name](context)

    def _recipes(self) -> dict[str, Callable[[ControllerContext], Controller]]:
        """How each controller is made, in the order in which they are started."""
        return {
            "deployment": DeploymentController,
            "replicaset": ReplicaSetController,
            "statefulset": StatefulSetController,
            "disruption": DisruptionController,
            "garbage-collector": GarbageCollector,
            "pod-garbage-collector": lambda at: PodGarbageCollector(
                at, self._timing.pod_gc_quarantine
            ),
            "node-lifecycle": NodeLifecycleController,
            "scheduler": Scheduler,
            "kubelet": lambda at: Kubelet(at, self._timing.kubelet),
            "provisioner": lambda at: Provisioner(
                at, self.fleet, self.provisioning or Provisioning()
            ),
        }
