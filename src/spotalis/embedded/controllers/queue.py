"""A queue of keys: each once however often it is added, never with two workers at a time."""

from __future__ import annotations

import asyncio
from collections import deque

_FIRST_RETRY_SECONDS = 0.005
_LAST_RETRY_SECONDS = 1000.0


class WorkQueue:
    """Keys to look at, in the order of their first adding (upstream: client-go's workqueue).

    Works on whatever event loop runs, so in virtual and in real time. A key added while a worker
    has it comes up once more when the worker is done.
    """

    def __init__(self, *, latency_seconds: float = 0.0) -> None:
        """``latency_seconds`` passes between the adding of a key and its being handed out."""
        self._latency = latency_seconds
        self._ready: deque[str] = deque()
        self._dirty: set[str] = set()
        self._busy: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def add(self, key: str) -> None:
        """Have ``key`` looked at soon."""
        if key in self._dirty:
            return
        if self._latency:
            self.add_after(key, self._latency)
        else:
            self._admit(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have ``key`` looked at in so many seconds; of several such wishes the earliest counts."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(at, self._due, key)

    def retry(self, key: str) -> None:
        """Have ``key`` looked at after 5 ms, doubled with each failure up to 1000 s."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(_FIRST_RETRY_SECONDS * 2 ** min(failures, 30), _LAST_RETRY_SECONDS))

    def forget(self, key: str) -> None:
        """Forget the failures of ``key``."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key, when there is one; call ``done`` with it afterwards."""
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
        """Give ``key`` back; if it was added meanwhile it is ready again."""
        self._busy.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Cancel every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @property
    def idle(self) -> bool:
        """Nothing is ready or with a worker; timers may be pending."""
        return not self._ready and not self._busy

    def _due(self, key: str) -> None:
        del self._timers[key]
        self._admit(key)

    def _admit(self, key: str) -> None:
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
