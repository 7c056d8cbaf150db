"""Watches: one stream of newline-delimited events each (v1.36; KEP-3157 for streamed lists)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.server import errors
from spotalis.embedded.server.bookmarks import bookmark
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.listing import ListOptions, Show, wait_for
from spotalis.embedded.server.query_selectors import everything, from_query
from spotalis.embedded.store import ObjectStore, StoreEvent, VersionExpired
from spotalis.model.environment import Random

BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
"""The last bookmark comes so long before the stream ends by itself."""
_SHORTEST_SECONDS = 1800
"""Streams that name no timeout end after one to two times this (``--min-request-timeout``)."""


class Stream(Protocol):
    """A body that comes in parts."""

    async def next(self) -> bytes:
        """The next part, as soon as there is one; ``b""`` at the end."""
        ...

    def close(self) -> None:
        """Stop; harmless when it has ended."""
        ...


class Watch:
    """A watch that has been opened; it hears every commit from then on until it is closed."""

    def __init__(
        self,
        store: ObjectStore,
        resource: Resource,
        namespace: str,
        options: ListOptions,
        show: Show,
    ) -> None:
        self._resource = resource
        self._store = store
        self._namespace = namespace
        self._matches = from_query(resource, options.labels, options.fields)
        self._show = show
        self._after = 0
        self._lines: list[bytes] = []
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._unsubscribe: Callable[[], None] = lambda: None

    async def next(self) -> bytes:
        """Every line that is there, or the next one when it comes; ``b""`` at the end."""
        while not self._lines:
            if self._ended:
                self.close()
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = b"".join(self._lines)
        self._lines.clear()
        return chunk

    def close(self) -> None:
        """Stop listening."""
        self._ended = True
        self._unsubscribe()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def begin(self, options: ListOptions, seconds: float) -> None:
        """Write what the options ask for at the beginning, and follow; end after ``seconds``."""
        wants_list = options.initial_events
        if wants_list is None:
            wants_list = not options.version
        if wants_list:
            self._list()
            if options.initial_events and options.bookmarks:
                end = bookmark(self._resource, self._store.revision, ends_list=True)
                self._lines.append(end)
        elif options.version:
            self._after = options.version
            try:
                history = self._store.history(self._resource.plural, options.version)
            except VersionExpired:
                oldest = max(self._store.compacted, 1)
                message = f"too old resource version: {options.version} ({oldest})"
                self.fail(errors.expired(message))
                return
            for change in history:
                self._hear(change)
        self._unsubscribe = self._store.follow(self._resource.plural, self._hear)
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(seconds, self._end))
        if options.bookmarks:
            self._timers.append(loop.call_later(BOOKMARK_SECONDS, self._bookmark))
            if seconds > _LAST_BOOKMARK_SECONDS:
                last = seconds - _LAST_BOOKMARK_SECONDS
                self._timers.append(loop.call_later(last, self._say_version))

    def fail(self, refused: ApiError) -> None:
        """End with an error inside the stream."""
        event = {"type": "ERROR", "object": refused.to_status()}
        self._lines.append(msgspec.json.encode(event) + b"\n")
        self._ended = True

    def _list(self) -> None:
        self._after = self._store.revision
        for change in self._store.entries(self._resource.plural, self._namespace):
            if self._matches(change.new):
                self._write("ADDED", self._show(change))

    def _hear(self, change: StoreEvent) -> None:
        if change.revision <= self._after:
            return
        if self._namespace and change.new["metadata"].get("namespace") != self._namespace:
            return
        if self._matches is everything:
            self._write(change.type, self._show(change))
            return
        was = change.old is not None and self._matches(change.old)
        stays = change.type != "DELETED" and self._matches(change.new)
        if stays:
            self._write("MODIFIED" if was else "ADDED", self._show(change))
        elif was and change.old is not None:
            gone = change if change.type == "DELETED" else _left(change, change.old)
            self._write("DELETED", self._show(gone))

    def _write(self, kind: str, encoded: bytes) -> None:
        self._lines.append(b'{"type":"%s","object":%s}\n' % (kind.encode(), encoded))
        self._wake()

    def _say_version(self) -> None:
        self._lines.append(bookmark(self._resource, self._store.revision))
        self._wake()

    def _bookmark(self) -> None:
        self._say_version()
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        self._timers.append(loop.call_later(BOOKMARK_SECONDS, self._bookmark))

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _left(change: StoreEvent, old: Object) -> StoreEvent:
    """An object that a selector no longer matches: as it was, at the version of the change."""
    metadata = {**old["metadata"], "resourceVersion": str(change.revision)}
    return StoreEvent(change.revision, "DELETED", {**old, "metadata": metadata}, old)


async def open_watch(
    store: ObjectStore,
    resource: Resource,
    namespace: str,
    options: ListOptions,
    show: Show,
    rng: Random,
) -> Watch:
    """Open a watch; what is wrong with the version is said inside the stream, as upstream does.

    Raises:
        ApiError: 400, a selector that cannot be read.
    """
    watch = Watch(store, resource, namespace, options, show)
    if options.initial_events:
        try:
            await wait_for(store, options.version or 0)
        except ApiError as refused:
            watch.fail(refused)
            return watch
    seconds = options.timeout_seconds
    if not seconds:
        seconds = _SHORTEST_SECONDS + rng.getrandbits(32) % _SHORTEST_SECONDS
    watch.begin(options, float(seconds))
    return watch
