"""Watches: streams of newline-delimited events (v1.36, with streamed lists of KEP-3157)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.listing import ListOptions, Show, wait_for
from spotalis.embedded.server.query_selectors import everything, from_query
from spotalis.embedded.store import ObjectStore, StoreEvent, VersionExpired
from spotalis.model.environment import Random

BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
"""Time between the last bookmark and the end of the stream."""
_MIN_SECONDS = 1800
"""Watches without a timeout end after one to two times this (``--min-request-timeout``)."""


class Stream(Protocol):
    """A response body that arrives in chunks."""

    async def next(self) -> bytes:
        """Wait for the next chunk; returns ``b""`` at the end."""
        ...

    def close(self) -> None:
        """End the stream; does nothing if it has ended."""
        ...


class Watch:
    """An open watch."""

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
        """Return all pending lines, or wait for the next one; returns ``b""`` at the end."""
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
        """End the watch."""
        self._ended = True
        self._unsubscribe()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def begin(self, options: ListOptions, seconds: float) -> None:
        """Send the initial events that the options ask for, then changes, for ``seconds``."""
        wants_list = options.initial_events
        if wants_list is None:
            wants_list = not options.version
        if wants_list:
            self._list()
            if options.initial_events and options.bookmarks:
                self._send_bookmark(ends_list=True)
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
                self._on_event(change)
        self._unsubscribe = self._store.follow(self._resource.plural, self._on_event)
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(seconds, self._end))
        if options.bookmarks:
            self._timers.append(loop.call_later(BOOKMARK_SECONDS, self._bookmark))
            if seconds > _LAST_BOOKMARK_SECONDS:
                last = seconds - _LAST_BOOKMARK_SECONDS
                self._timers.append(loop.call_later(last, self._send_bookmark))

    def fail(self, refused: ApiError) -> None:
        """End the watch with an ERROR event."""
        event = {"type": "ERROR", "object": refused.to_status()}
        self._lines.append(msgspec.json.encode(event) + b"\n")
        self._ended = True

    def _list(self) -> None:
        self._after = self._store.revision
        for change in self._store.entries(self._resource.plural, self._namespace):
            if self._matches(change.new):
                self._write("ADDED", self._show(change))

    def _on_event(self, event: StoreEvent) -> None:
        if event.revision <= self._after:
            return
        if self._namespace and event.new["metadata"].get("namespace") != self._namespace:
            return
        if self._matches is everything:
            self._write(event.type, self._show(event))
            return
        matched = event.old is not None and self._matches(event.old)
        matches = event.type != "DELETED" and self._matches(event.new)
        if matches:
            self._write("MODIFIED" if matched else "ADDED", self._show(event))
        elif matched and event.old is not None:
            left = event if event.type == "DELETED" else _leaving(event, event.old)
            self._write("DELETED", self._show(left))

    def _write(self, kind: str, encoded: bytes) -> None:
        self._lines.append(b'{"type":"%s","object":%s}\n' % (kind.encode(), encoded))
        self._wake()

    def _send_bookmark(self, *, ends_list: bool = False) -> None:
        """Send a bookmark; unlike kube-apiserver, without the zero value of the kind."""
        metadata: Object = {"resourceVersion": str(self._store.revision)}
        if ends_list:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind, api_version = self._resource.kind, self._resource.api_version
        bookmark = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        event = {"type": "BOOKMARK", "object": bookmark}
        self._lines.append(msgspec.json.encode(event) + b"\n")
        self._wake()

    def _bookmark(self) -> None:
        self._send_bookmark()
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        self._timers.append(loop.call_later(BOOKMARK_SECONDS, self._bookmark))

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _leaving(event: StoreEvent, old: Object) -> StoreEvent:
    """The DELETED event for an object that a selector no longer matches.

    It carries the old object at the version of the event.
    """
    metadata = {**old["metadata"], "resourceVersion": str(event.revision)}
    return StoreEvent(event.revision, "DELETED", {**old, "metadata": metadata}, old)


async def open_watch(
    store: ObjectStore,
    resource: Resource,
    namespace: str,
    options: ListOptions,
    show: Show,
    rng: Random,
) -> Watch:
    """Open a watch; errors of the version are sent inside the stream, as upstream does.

    Raises:
        ApiError: 400, a selector is malformed.
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
        seconds = _MIN_SECONDS + rng.getrandbits(32) % _MIN_SECONDS
    watch.begin(options, float(seconds))
    return watch
