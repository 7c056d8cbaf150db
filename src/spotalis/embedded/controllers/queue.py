"""A work queue of keys (upstream: client-go's workqueue)."""

from __future__ import annotations

import asyncio
from collections import deque

_INITIAL_RETRY_SECONDS = 0.005
_MAX_RETRY_SECONDS = 1000.0


class WorkQueue:
    """Hands out keys in the order in which they were first added.

    A key is queued once however often it is added, and is never with two workers at a time: if it
    is added while a worker has it, it is handed out again when the worker is done.
    """

    def __init__(self, *, latency_seconds: float = 0.0) -> None:
        """``latency_seconds`` pass between adding a key and handing it out."""
        self._latency = latency_seconds
        self._ready: deque[str] = deque()
        self._dirty: set[str] = set()
        self._busy: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def add(self, key: str) -> None:
        """Queue a key."""
        if key in self._dirty:
            return
        if self._latency:
            self.add_after(key, self._latency)
        else:
            self._enqueue(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Queue a key after a delay; the shortest pending delay of a key wins."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(at, self._on_timer, key)

    def retry(self, key: str) -> None:
        """Queue a key after 5 ms, doubled with each failure up to 1000 s."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(
            key, min(_INITIAL_RETRY_SECONDS * 2 ** min(failures, 30), _MAX_RETRY_SECONDS)
        )

    def forget(self, key: str) -> None:
        """Reset the failures of a key."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """Wait for the next key; the caller must call ``done`` with it afterwards."""
        while not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._wake()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: str) -> None:
        """Return a key; it is ready again if it was added in the meantime."""
        self._busy.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _on_timer(self, key: str) -> None:
        del self._timers[key]
        self._enqueue(key)

    def _enqueue(self, key: str) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._busy:
            self._ready.append(key)
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
