"""A work queue like client-go's: a key is in it once, and one worker at a time handles it."""

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
"""Reconciles a workload; returns the seconds until the next reconcile at the latest, or None."""

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0
"""Bounds of the delay, with backoff and jitter, after failed reconciles of a key."""

PAUSE_SECONDS = 0.05
"""Minimum time between two reconciles of one key. A burst of 1,000 pods changes a workload 5,000
times: without a pause, reconciling it took half of the leader's time while admission requests
waited (measured)."""


class WorkQueue:
    """Deduplicates and delays keys. A key added during its reconcile is reconciled again."""

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
        self._in_ready: set[WorkloadKey] = set()
        """The keys in ``_ready``."""
        self._in_progress: set[WorkloadKey] = set()
        self._added_again: set[WorkloadKey] = set()
        """Keys in progress that were added meanwhile."""
        self._delayed: list[tuple[float, WorkloadKey]] = []
        """A heap; an entry counts only if its time is that in ``_due_at``."""
        self._due_at: dict[WorkloadKey, float] = {}
        self._ended_at: dict[WorkloadKey, float] = {}
        """When the last reconcile of each pausing key ended, oldest first."""
        self._backoffs: dict[WorkloadKey, Backoff] = {}
        """Of the keys whose last reconcile failed."""
        self._first_due_changed = asyncio.Event()
        """Set when a key becomes due before all others."""

    def __len__(self) -> int:
        return len(self._in_ready)

    def add(self, key: WorkloadKey) -> None:
        """Handle ``key`` as soon as its pause is over and a worker is free."""
        if key in self._in_progress:
            self._added_again.add(key)
            return
        pause = self._ended_at.get(key, float("-inf")) + PAUSE_SECONDS - self._clock.monotonic()
        if pause > 0:
            self.add_after(key, pause)
            return
        if key not in self._in_ready:
            self._in_ready.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: WorkloadKey, seconds: float) -> None:
        """Handle ``key`` after this time at the latest; an earlier due time stays in force."""
        due = self._clock.monotonic() + seconds
        if due < self._due_at.get(key, float("inf")):
            self._due_at[key] = due
            heapq.heappush(self._delayed, (due, key))
            if self._delayed[0] == (due, key):
                self._first_due_changed.set()

    async def run(self) -> None:
        """Handle keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_delayed())
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._in_ready.discard(key)
            self._in_progress.add(key)
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
                self._backoffs.pop(key, None)
            finally:
                self._in_progress.discard(key)
                self._start_pause(key)
            if again_in is not None:
                self.add_after(key, again_in)
            if key in self._added_again:
                self._added_again.discard(key)
                self.add(key)
            # Most reconciles never wait: without this, 1,000 of them in a row would block admission
            # requests.
            await asyncio.sleep(0)

    async def _run_delayed(self) -> None:
        while True:
            self._first_due_changed.clear()
            self._add_due_keys()
            timeout = self._delayed[0][0] - self._clock.monotonic() if self._delayed else None
            await wait_for_event(self._first_due_changed, timeout)

    def _add_due_keys(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, key = heapq.heappop(self._delayed)
            if self._due_at.get(key) == due:
                del self._due_at[key]
                self.add(key)

    def _start_pause(self, key: WorkloadKey) -> None:
        now = self._clock.monotonic()
        self._ended_at.pop(key, None)
        self._ended_at[key] = now
        for other in list(self._ended_at):
            if self._ended_at[other] + PAUSE_SECONDS > now:
                break
            del self._ended_at[other]

    def _retry_seconds(self, key: WorkloadKey) -> float:
        """The delay of a key that has just failed."""
        if key not in self._backoffs:
            self._backoffs[key] = Backoff(
                self._rng,
                floor_seconds=FIRST_RETRY_SECONDS,
                ceiling_seconds=MAX_RETRY_SECONDS,
            )
        return self._backoffs[key].next_seconds()
