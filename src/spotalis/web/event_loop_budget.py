"""Limits the time that unknown clients take from the event loop.

One event loop serves the API server, all other clients and the controller. A request of a known
client takes about six iterations of the loop, in each of which it waits for the steps of others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import types
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

_SHARE = 1 / 3
"""The request of a new client waits for at most 127 others, which take 4.5 ms each with their
handshake if they have as many values as possible (measured): 1.7 s. The API server waits 2 s."""
_BURST_SECONDS = 0.5
"""The API server opens up to a hundred connections at once when a large workload is created. Each
takes 3 ms up to the response to its first request (measured)."""
_TURN_SECONDS = 0.0003
"""For what is not measured: the time of asyncio and aiohttp for an iteration of the loop, for a
connection or for the response to a request (0.1 to 0.5 ms)."""
_TICK = 0.001
"""Timers are not more precise."""

Charge: TypeAlias = Callable[[float], None]
T = TypeVar("T")


class EventLoopBudget:
    """Gives turns: one in each iteration of the loop, and none while the budget is spent.

    A turn lets a client do something once: begin a handshake, continue to send, or have a request
    handled. The time that it takes is measured and charged afterwards, so the balance can be
    negative. Turns are given in the order of priority, then of arrival.
    """

    def __init__(
        self,
        *,
        share: float = _SHARE,
        burst_seconds: float = _BURST_SECONDS,
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        """Make a budget.

        Args:
            share: of the loop's time, in the long run.
            burst_seconds: the largest balance; infinite for no limit of the share.
            timer: measures what is charged, in seconds. The budget grows with the loop's time.
        """
        self._share = share
        self._burst = self._balance = burst_seconds
        self._timer = timer
        self._updated_at = 0.0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._next: asyncio.TimerHandle | None = None

    @property
    def timer(self) -> Callable[[], float]:
        """Measures what is charged."""
        return self._timer

    def charge(self, seconds: float) -> None:
        """Charge time that an unknown client has taken."""
        self._balance = self._update() - seconds

    def turn(self, priority: int) -> asyncio.Future[None]:
        """Ask for a turn, which is given when the future is done. Cancel it to leave the queue.

        Lower numbers come first.
        """
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), turn))
        self._schedule()
        return turn

    async def metered(self, coroutine: Coroutine[Any, Any, T], charge: Charge) -> T:
        """Await a coroutine, and charge the time of each of its steps, but not the time between."""
        return await _metered(coroutine, self._timer, charge)

    def _update(self) -> float:
        now = asyncio.get_running_loop().time()
        earned = (now - self._updated_at) * self._share
        self._balance, self._updated_at = min(self._burst, self._balance + earned), now
        return self._balance

    def _schedule(self) -> None:
        if self._waiting and self._next is None:
            debt = -self._update()
            delay = 0.0 if debt < 0 else debt / self._share + _TICK
            self._next = asyncio.get_running_loop().call_later(delay, self._give_turn)

    def _give_turn(self) -> None:
        self._next = None
        if self._update() > 0:
            while self._waiting:
                _, _, turn = heapq.heappop(self._waiting)
                if not turn.done():  # not cancelled
                    turn.set_result(None)
                    self.charge(_TURN_SECONDS)
                    break
        self._schedule()


@types.coroutine
def _metered(
    coroutine: Coroutine[Any, Any, T], timer: Callable[[], float], charge: Charge
) -> Generator[Any, Any, T]:
    step: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    while True:
        began = timer()
        try:
            awaited = step(argument)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            argument = None  # an error would reference this frame, which references the error
            charge(timer() - began)
        try:
            argument, step = (yield awaited), coroutine.send
        except BaseException as error:
            argument, step = error, coroutine.throw
