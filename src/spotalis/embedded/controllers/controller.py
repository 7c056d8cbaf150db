"""The base class of controllers: event handlers add keys to a queue, workers sync them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spotalis.embedded.controllers.adoption import adopters
from spotalis.embedded.controllers.queue import WorkQueue
from spotalis.embedded.objects.owners import controller_of, key_of, split
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import stamp
from spotalis.embedded.server.errors import ApiError

if TYPE_CHECKING:
    from spotalis.embedded.controllers.indexes import Indexes
    from spotalis.embedded.server.api import Api
    from spotalis.model.environment import Clock, Random


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerContext:
    """What every controller needs."""

    api: Api
    indexes: Indexes
    clock: Clock
    rng: Random
    latency_seconds: float = 0.0
    """From a change until the controller syncs the key."""


class Controller(ABC):
    """A level-triggered controller: ``sync`` may run for any key at any time, in any order."""

    name: ClassVar[str]
    user: ClassVar[str]
    """The user name in its requests, and so in the audit log."""
    workers: ClassVar[int] = 5
    """Number of keys synced at the same time (upstream: ``--concurrent-*-syncs``)."""

    def __init__(self, context: ControllerContext) -> None:
        self.api = context.api
        self.store = context.api.store
        self.indexes = context.indexes
        self.clock = context.clock
        self.rng = context.rng
        self.queue = WorkQueue(latency_seconds=context.latency_seconds)
        self._subscriptions: list[Callable[[], None]] = []

    @abstractmethod
    def listen(self) -> None:
        """Subscribe to changes, and add the keys of existing objects."""

    @abstractmethod
    async def sync(self, key: str) -> float | None:
        """Bring one object closer to its desired state.

        Returns:
            Seconds after which to sync the key again, or None.

        Raises:
            ApiError: a request failed; the key is retried with backoff.
        """

    async def run(self) -> None:
        """Listen and sync until cancelled.

        Raises:
            ExceptionGroup: ``sync`` raised anything but an ``ApiError``, which is a bug.
        """
        self.listen()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    group.create_task(self._work(), name=f"{self.name} {number}")
        finally:
            self.close()

    def close(self) -> None:
        """End the subscriptions and timers."""
        for end in self._subscriptions:
            end()
        self._subscriptions.clear()
        self.queue.close()

    def on(self, plural: str, listener: Callable[[str, Object, Object | None], None]) -> None:
        """Call ``listener`` for existing objects (as ADDED) and for every later change."""
        for obj in self.store.list(plural):
            listener("ADDED", obj, None)
        self._subscriptions.append(self.store.subscribe(plural, listener))

    def on_own(self, plural: str) -> None:
        """Add the key of every object of this kind when it is created or changes."""
        self.on(plural, lambda _change, obj, _old: self.queue.add(key_of(obj)))

    def on_pods_of(self, kind: str, plural: str) -> None:
        """Add the key of the owner of this kind when one of its pods, or an orphan, changes."""

        def on_pod(change: str, pod: Object, old: Object | None) -> None:
            namespace = pod["metadata"].get("namespace", "")
            before = None if old is None else controller_of(old)
            for owner in (controller_of(pod), before):
                if owner is not None and owner["kind"] == kind:
                    self.queue.add(f"{namespace}/{owner['name']}")
            for one in adopters(pod, lambda: self.store.list(plural, namespace)):
                self.queue.add(key_of(one))

        self.on("pods", on_pod)

    def set_status(
        self, plural: str, key: str, change: Callable[[Object], None], *, user: str = ""
    ) -> Object:
        """Change the status of an object and nothing else of it.

        Raises:
            ApiError: 404, the object does not exist.
        """
        return self.api.set_status(plural, *split(key), change, user=user or self.user)

    def now(self) -> str:
        """The current time as the API writes it."""
        return stamp(self.clock.now())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                wait = await self.sync(key)
            except ApiError:
                self.queue.retry(key)
            else:
                self.queue.forget(key)
                if wait is not None:
                    self.queue.add_after(key, wait)
            finally:
                self.queue.done(key)
            await asyncio.sleep(0)  # a sync may run without awaiting anything: let others run
