"""A work queue of workloads, as client-go's: each key waits once and is handled by one worker."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from spotalis import logs
from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.backoff import Backoff
from spotalis.kube.errors import ApiError
from spotalis.kube.waiting import wait_for_event
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import TransportError

log = logs.get(__name__)

Work: TypeAlias = Callable[[WorkloadKey], Awaitable[float | None]]
"""Reconciles a workload; returns the seconds after which to do so again at the latest, or None."""

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0
"""Bounds of the jittered, growing delay of a key whose reconcile keeps failing."""

PAUSE_SECONDS = 0.05
"""Between two reconciles of one key. A burst of 1,000 pods changes a workload 5,000 times:
reconciling without pause took half of the leader's time while admission requests waited
(measured)."""


class WorkQueue:
    """Deduplicates and delays; a key that is added while it is handled is handled again."""

    def __init__(
        self,
        work: Work,
        *,
        clock: Clock,
        rng: Random,
        workers: int = 4,
        on_failure: Callable[[WorkloadKey, Exception], None] = lambda key, error: None,
    ) -> None:
        self._work = work
        self._on_failure = on_failure
        self._clock = clock
        self._rng = rng
        self._workers = workers
        self._ready: asyncio.Queue[WorkloadKey] = asyncio.Queue()
        self._waiting: set[WorkloadKey] = set()
        """Keys that are ready."""
        self._working: set[WorkloadKey] = set()
        self._again: set[WorkloadKey] = set()
        self._delayed: list[tuple[float, WorkloadKey]] = []
        self._due: dict[WorkloadKey, float] = {}
        self._ended: dict[WorkloadKey, float] = {}
        """When the last reconcile of each key ended, oldest first, for as long as it pauses."""
        self._failing: dict[WorkloadKey, Backoff] = {}
        self._earlier = asyncio.Event()
        """A key is now due earlier than all others."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: WorkloadKey) -> None:
        """Handle ``key`` as soon as its pause is over and a worker is free."""
        if key in self._working:
            self._again.add(key)
            return
        pause = self._ended.get(key, float("-inf")) + PAUSE_SECONDS - self._clock.monotonic()
        if pause > 0:
            self.add_after(key, pause)
            return
        if key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: WorkloadKey, seconds: float) -> None:
        """Handle ``key`` after this time at the latest; an earlier due time stays in force."""
        due = self._clock.monotonic() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._delayed, (due, key))
            if self._delayed[0] == (due, key):
                self._earlier.set()

    async def run(self) -> None:
        """Handle keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_delayed())
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._working.add(key)
            try:
                again_in = await self._work(key)
            except Exception as error:
                if isinstance(error, (ApiError, TransportError)):
                    log.warning("Reconcile failed", workload=str(key), error=str(error))
                else:  # a bug: log the traceback too
                    log.exception("Reconcile failed", workload=str(key), error=str(error))
                self._on_failure(key, error)
                again_in = self._retry_seconds(key)
            else:
                self._failing.pop(key, None)
            finally:
                self._working.discard(key)
                self._pause(key)
            if again_in is not None:
                self.add_after(key, again_in)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            # Most reconciles never wait: without this, 1,000 of them in a row would block admission
            # requests.
            await asyncio.sleep(0)

    async def _run_delayed(self) -> None:
        while True:
            self._earlier.clear()
            self._promote()
            timeout = self._delayed[0][0] - self._clock.monotonic() if self._delayed else None
            await wait_for_event(self._earlier, timeout)

    def _promote(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def _pause(self, key: WorkloadKey) -> None:
        now = self._clock.monotonic()
        self._ended.pop(key, None)
        self._ended[key] = now
        for other in list(self._ended):
            if self._ended[other] + PAUSE_SECONDS > now:
                break
            del self._ended[other]

    def _retry_seconds(self, key: WorkloadKey) -> float:
        """The delay of a key that has just failed."""
        if key not in self._failing:
            self._failing[key] = Backoff(
                self._rng,
                floor_seconds=FIRST_RETRY_SECONDS,
                ceiling_seconds=MAX_RETRY_SECONDS,
            )
        return self._failing[key].next_seconds()
