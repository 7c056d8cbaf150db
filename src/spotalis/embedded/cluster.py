"""The embedded cluster: API server, controllers and nodes on one event loop of this process.

On a virtual event loop and with a seeded random generator, everything that happens in the cluster
is a function of the seed. The cluster starts no threads and reads no clock but the one it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
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
    """How long the parts of the cluster take."""

    kubelet: KubeletTiming = field(default_factory=KubeletTiming)
    controllers: timedelta = timedelta()
    """From a change until a controller handles it."""
    pod_gc_quarantine: timedelta = timedelta()
    """How long a node must be missing before its pods are deleted (upstream: 40 s to 60 s)."""


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
"""The default controllers; ``provisioner`` runs too if a ``Provisioning`` is given."""


class EmbeddedCluster:
    """A cluster in this process.

    Clients use ``transport``, or a port from :func:`spotalis.embedded.http.serve`. Tests add and
    remove nodes with ``fleet``.

    Use it with ``async with``: if a controller fails, the block is cancelled and the exception is
    raised from it. With ``start`` and ``stop``, ``stop`` raises the exception.
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
        provisioning: Provisioning | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        """Create a cluster without nodes; ``start`` starts the controllers.

        Args:
            clock: for timestamps; delays use the event loop.
            rng: for names and UIDs, and for the scheduler's choice between equal nodes.
            webhook: calls admission webhooks; None if webhooks cannot be reached.
            timing: how long kubelets and controllers take.
            controllers: which of ``CONTROLLERS`` run.
            provider: how ``fleet`` labels nodes.
            provisioning: how nodes are added for unschedulable pods; None: they are not.
            store: holds the objects; by default a new one.
        """
        self.api = Api(clock=clock, rng=rng, webhook=webhook, store=store)
        self.store = self.api.store
        self.audit = self.api.audit
        """The requests so far."""
        self.fleet = Fleet(self.api, clock, provider=provider)
        self.provisioning = provisioning
        self._clock = clock
        self._rng = rng
        self._timing = timing or Timing()
        wanted = {*controllers} | ({"provisioner"} if provisioning is not None else set())
        self._enabled = tuple(name for name in self._factories() if name in wanted)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._indexes: Indexes | None = None
        self._failure: BaseException | None = None
        self._owner: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Start the controllers; when this returns they see every change."""
        self._indexes = Indexes(self.store)
        for name in self._enabled:
            self._launch(name)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop every controller.

        Raises:
            BaseException: the exception of a controller that failed.
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
        """A client transport for ``user``, in which faults can be injected."""
        return InProcessTransport(self.api, user)

    def evictions(self, user: str = "") -> list[tuple[str, str]]:
        """Namespace and name of every evicted pod, in order; of one user, or of all."""
        return [(entry.namespace, entry.name) for entry in self.audit.evictions(user)]

    def now(self) -> datetime:
        """The time of the cluster."""
        return self._clock.now()

    async def stop_controller(self, name: str) -> None:
        """Stop one controller as if its process had crashed."""
        task = self._running.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def start_controller(self, name: str) -> None:
        """Start a stopped controller, which syncs every object again."""
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
        task = asyncio.get_running_loop().create_task(self._build(name).run(), name=name)
        task.add_done_callback(self._on_task_done)
        self._running[name] = task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        if self._failure is None:
            self._failure = task.exception()
            if self._owner is not None and not self._owner.done():
                self._owner.cancel()

    def _build(self, name: str) -> Controller:
        if self._indexes is None:
            raise RuntimeError("the cluster is not started")
        context = ControllerContext(
            api=self.api,
            indexes=self._indexes,
            clock=self._clock,
            rng=self._rng,
            latency_seconds=self._timing.controllers.total_seconds(),
        )
        return self._factories()[name](context)

    def _factories(self) -> dict[str, Callable[[ControllerContext], Controller]]:
        """The constructor of each controller, in the order in which they are started."""
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
