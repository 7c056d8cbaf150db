"""What every controller is: listeners that add keys, and workers that ``sync`` one key each."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spotalis.embedded.controllers.queue import WorkQueue
from spotalis.embedded.objects.owners import key_of, split
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.timestamps import stamp
from spotalis.embedded.server.errors import ApiError

if TYPE_CHECKING:
    from spotalis.embedded.controllers.indexes import Indexes
    from spotalis.embedded.server.api import Api
    from spotalis.model.environment import Clock, Random


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerContext:
    """What a controller is given."""

    api: Api
    indexes: Indexes
    clock: Clock
    rng: Random
    latency_seconds: float = 0.0
    """From a change to the controller's look at it."""


class Controller(ABC):
    """A level-triggered loop: it may be asked to look at anything at any time, in any order."""

    name: ClassVar[str]
    user: ClassVar[str]
    """Who it is to the API server; stands in the audit."""
    workers: ClassVar[int] = 5
    """Keys looked at at the same time (upstream's ``--concurrent-*-syncs``)."""

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
        """Subscribe to what matters, and add every key that is there already."""

    @abstractmethod
    async def sync(self, key: str) -> float | None:
        """Bring the object towards what it should be; seconds after which to look again, or None.

        Raises:
            ApiError: refused or in conflict; the key is tried again, later each time.
        """

    async def run(self) -> None:
        """Listen and work until cancelled.

        Raises:
            ExceptionGroup: a ``sync`` failed by anything but an ``ApiError``, which is a bug.
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
        """Have ``listener`` called for what is there (as ADDED) and for every change from now."""
        for obj in self.store.list(plural):
            listener("ADDED", obj, None)
        self._subscriptions.append(self.store.subscribe(plural, listener))

    def on_own(self, plural: str) -> None:
        """Have the key of every object of this kind added when it appears or changes."""
        self.on(plural, lambda _change, obj, _old: self.queue.add(key_of(obj)))

    def set_status(
        self, plural: str, key: str, change: Callable[[Object], None], *, user: str = ""
    ) -> Object:
        """Change the status of the object with this key; no other part of it is written.

        Raises:
            ApiError: 404.
        """
        return self.api.set_status(plural, *split(key), change, user=user or self.user)

    def now(self) -> str:
        """The wall clock as the API writes it."""
        return stamp(self.clock.now())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self.sync(key)
            except ApiError:
                self.queue.retry(key)
            else:
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)
            await asyncio.sleep(0)  # a sync may never have waited: let others run between two
