"""List and watch one collection into a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

import msgspec

from spotalis.kube import decode
from spotalis.kube.backoff import Backoff
from spotalis.kube.client import PAGE_ITEMS, WATCH_IDLE_SECONDS, Client
from spotalis.kube.errors import ApiError, Gone, error_from, error_from_status
from spotalis.kube.lines import LineSplitter, LineTooLong
from spotalis.kube.resources import Resource
from spotalis.kube.store import (
    EventType,
    Record,
    Store,
    StoreChange,
    StoreWriter,
    is_older,
)
from spotalis.kube.watch.failures import WatchFailure, WatchProblem, WatchReport, failure_from
from spotalis.kube.watch.updater import Relist, StoreUpdater
from spotalis.model.transport import StreamRefused, TransportError

T = TypeVar("T", bound=Record)
Read = TypeVar("Read")

MAX_RETRY_AFTER_SECONDS = 300.0
"""Upper bound for delays that a server asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """Timings of a reflector; only tests change them."""

    watch_list: bool = True
    """Try streamed lists (WatchList) first."""
    watch_seconds: float = 300.0
    """Requested length of a stream: one to two times this, at random."""
    silence_seconds: float = WATCH_IDLE_SECONDS
    """Longest silence on a stream; slightly more than the period of bookmarks."""
    initial_seconds: float = 120.0
    """Longest wait for the end of a streamed list."""
    backoff_floor_seconds: float = 0.8
    backoff_ceiling_seconds: float = 30.0
    stalled_after: int = 3
    """Consecutive streams without an event before a relist."""
    relist_seconds: float = 3600.0
    """Approximate period of relists, which find what a watch may have lost."""
    believe_after: int = 5
    """Consecutive lists older than known events before they are accepted."""
    slice_events: int = 25
    """Events handled before other tasks may run: well under a millisecond of work."""
    line_bytes: int = 8 * 1024 * 1024


async def reflect(
    client: Client,
    resource: Resource[T],
    writer: StoreWriter[T],
    *,
    namespace: str = "",
    on_change: Callable[[StoreChange[T]], None],
    on_relist: Callable[[Relist[T]], None] | None = None,
    options: WatchOptions | None = None,
    on_report: Callable[[WatchReport], None] | None = None,
) -> NoReturn:
    """List and watch ``resource`` into ``writer`` forever.

    Failures are reported and retried. ``on_change`` is called after each change of the store;
    ``on_relist`` at the end of each list, before ``on_change`` reports the objects that vanished,
    so that a listener can distrust the list first.
    """
    reflector = _Reflector(
        client,
        resource,
        writer,
        namespace,
        on_change=on_change,
        on_relist=on_relist,
        options=options or WatchOptions(),
        on_report=on_report or (lambda report: None),
    )
    while True:
        seconds = await reflector.run_once()
        await asyncio.sleep(seconds)


async def watch_object(
    client: Client,
    resource: Resource[T],
    namespace: str,
    name: str,
    *,
    on_object: Callable[[T | None], None],
) -> NoReturn:
    """Watch one object forever.

    ``on_object`` receives the object after each list and each change; None if it does not exist.
    It may receive the same object twice.
    """
    store: Store[T] = Store()
    await reflect(
        client,
        resource.with_fields(f"metadata.name={name}"),
        StoreWriter(store),
        namespace=namespace,
        on_change=lambda change: on_object(change.new),
        on_relist=lambda relist: on_object(store.get(namespace, name)),
    )


class _NoWatchList(Exception):
    """The server does not support streamed lists."""


class _Reflector(Generic[T]):
    """Lists if necessary, then watches until the stream ends."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        writer: StoreWriter[T],
        namespace: str,
        *,
        on_change: Callable[[StoreChange[T]], None],
        on_relist: Callable[[Relist[T]], None] | None,
        options: WatchOptions,
        on_report: Callable[[WatchReport], None],
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._writer = writer
        self._updater = StoreUpdater(
            resource,
            writer,
            on_change=on_change,
            on_relist=on_relist,
            on_skip=lambda message: self._report(WatchProblem.UNDECODABLE, message),
        )
        self._clock = client.clock
        self._rng = client.rng
        self._options = options
        self._on_report = on_report
        self._backoff = Backoff(
            client.rng,
            floor_seconds=options.backoff_floor_seconds,
            ceiling_seconds=options.backoff_ceiling_seconds,
        )
        self._version = ""
        """The resourceVersion to resume at; ``""`` before a list."""
        self._newest = ""
        """The newest known resourceVersion; a list must not be older."""
        self._relist_at = 0.0
        self._streams_lists = options.watch_list
        self._list_broke = False
        """The last streamed list did not complete: the next one is requested in pages."""
        self._progress = False
        """This attempt has brought the store up to date."""
        self._stalls = 0
        self._old_lists = 0
        self._events = 0

    async def run_once(self) -> float:
        """List and watch until the stream ends; returns the delay before the next attempt."""
        self._progress = False
        began_at = self._clock.monotonic()
        failure = await self._attempt()
        lived_seconds = self._clock.monotonic() - began_at
        floor_seconds = self._options.backoff_floor_seconds
        if self._progress:
            self._backoff.reset()
            self._stalls = 0
            if failure is None and lived_seconds >= floor_seconds:
                return 0.0
        failure = failure or WatchFailure(
            WatchProblem.CLOSED, "the stream ended", stream_opened=True
        )
        if self._version and failure.stream_opened and not self._progress:
            self._stalls += 1
            if self._stalls >= self._options.stalled_after:
                self._stalls = 0
                failure = WatchFailure(WatchProblem.STALLED, str(failure), start_over=True)
        if failure.start_over:
            self._version = ""
        # The time that the attempt took counts as waiting.
        patience = max(floor_seconds, self._backoff.next_seconds() - lived_seconds)
        delay = max(patience, min(failure.retry_seconds, MAX_RETRY_AFTER_SECONDS))
        self._report(failure.problem, str(failure), delay)
        return delay

    async def _attempt(self) -> WatchFailure | None:
        try:
            await self._list_and_watch()
        except WatchFailure as failure:
            return failure
        except ApiError as error:
            return failure_from(error)
        except LineTooLong as error:
            return WatchFailure(WatchProblem.MALFORMED, str(error), stream_opened=True)
        except TransportError as error:
            return WatchFailure(
                WatchProblem.DISCONNECTED, str(error), stream_opened=error.maybe_sent
            )
        return None

    async def _list_and_watch(self) -> None:
        if self._clock.monotonic() >= self._relist_at:
            self._version = ""
        if not self._version and self._streams_lists and not self._list_broke:
            try:
                await self._watch(listing=True)
            except _NoWatchList as why:
                self._streams_lists = False
                self._report(WatchProblem.NO_WATCH_LIST, str(why))
            else:
                return
        if not self._version:
            await self._list()
        await self._watch()

    async def _list(self) -> None:
        """List in pages, or in one page if the list expires before its last page."""
        try:
            await self._list_by(PAGE_ITEMS)
        except Gone:
            await self._list_by(0)

    async def _list_by(self, limit: int) -> None:
        self._begin_list()
        version = ""
        pages = self._client.pages(self._resource, self._namespace, limit=limit)
        async with aclosing(pages):
            async for page in pages:
                version = page.resource_version
                for item in page.items:
                    self._updater.apply(EventType.ADDED, item)
                    await self._yield_to_loop(memoryview(item).nbytes)
        await self._end_list(version)

    async def _watch(self, *, listing: bool = False) -> None:
        """Follow a stream to its end; with ``listing`` it begins with the whole list."""
        if listing:
            self._begin_list()
        heard_at = self._clock.monotonic()
        list_until = heard_at + self._options.initial_seconds
        lines = LineSplitter(limit=self._options.line_bytes)
        stream = self._client.stream(
            self._resource.path(self._namespace),
            self._query(listing),
            silence_seconds=self._options.silence_seconds,
        )
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    heard_at = self._clock.monotonic()
                    self._list_broke = self._updater.listing
                    for line in lines.feed(chunk):
                        await self._handle_line(line)
                        await self._yield_to_loop(len(line))
                    if self._updater.listing and self._clock.monotonic() > list_until:
                        raise _NoWatchList("the streamed list did not complete in time")
        except StreamRefused as refused:
            error = error_from(refused.response, self._clock.now())
            if listing and error.status in (400, 422):
                raise _NoWatchList(str(error)) from None
            raise error from None
        except TransportError as error:
            silent_seconds = self._clock.monotonic() - heard_at
            if not error.maybe_sent or silent_seconds < _NEARLY * self._options.silence_seconds:
                raise
            # The stream is dead, or the kind never changes: a server that knows of nothing newer
            # than this version sends no bookmarks. Only a list can tell.
            raise WatchFailure(
                WatchProblem.DISCONNECTED, str(error), stream_opened=True, start_over=True
            ) from error
        if self._updater.listing:
            self._list_broke = True
            raise WatchFailure(WatchProblem.CLOSED, "the stream ended before its list did")

    def _query(self, listing: bool) -> list[tuple[str, str]]:
        seconds = self._options.watch_seconds * (1 + self._rng.random())
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(int(seconds))),
            *self._resource.selectors,
        ]
        if listing:
            query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
        else:
            query += [("resourceVersion", self._version)]
        return query

    async def _handle_line(self, line: bytes) -> None:
        event = _decoded(_EVENT.decode, line)
        if event.type in _CHANGES:
            self._resume_from(self._updater.apply(EventType(event.type), event.object))
        elif event.type == "BOOKMARK":
            await self._handle_bookmark(_decoded(decode.identity, event.object))
        elif event.type == "ERROR":
            raise failure_from(error_from_status(event.object), stream_opened=True)

    async def _handle_bookmark(self, bookmark: decode.Identity) -> None:
        if not self._updater.listing:
            self._resume_from(bookmark.resource_version)
        elif (bookmark.annotations or {}).get(_END_OF_LIST) == "true":
            await self._end_list(bookmark.resource_version)
        else:
            raise _NoWatchList("a bookmark came before the end of the list")

    def _resume_from(self, version: str) -> None:
        """Resume at this version next time; replayed events never move it back."""
        if self._updater.listing:
            return
        if version and not is_older(version, self._version):
            self._version = self._newest = version
        self._progress = True
        self._writer.mark_fresh(self._clock.monotonic())

    def _begin_list(self) -> None:
        self._updater.begin_list(back_in_time=self._old_lists >= self._options.believe_after)

    async def _end_list(self, version: str) -> None:
        self._list_broke = False
        if is_older(version, self._newest) and self._old_lists < self._options.believe_after:
            self._old_lists += 1
            message = f"the list is of version {version}, but {self._newest} has been seen"
            raise WatchFailure(WatchProblem.OUTDATED_LIST, message)
        self._old_lists = 0
        self._progress = True
        self._version = self._newest = version
        now = self._clock.monotonic()
        self._relist_at = now + self._options.relist_seconds * (0.75 + self._rng.random() / 2)
        await self._updater.end_list(now, self._yield_to_loop)

    async def _yield_to_loop(self, size_bytes: int = 0) -> None:
        """Let other tasks run after each batch of events; a large event counts as several."""
        self._events += 1 + size_bytes // _EVENT_BYTES
        if self._events >= self._options.slice_events:
            self._events = 0
            await asyncio.sleep(0)

    def _report(self, problem: WatchProblem, message: str, retry_seconds: float = 0.0) -> None:
        self._on_report(WatchReport(self._resource.plural, problem, message, retry_seconds))


_EVENT_BYTES = 16 * 1024
"""Larger than the events of common pods; tenants write objects of 1.5 MiB."""
_NEARLY = 0.9
"""Tolerance: the transport measures the silence from a slightly earlier moment."""
_END_OF_LIST = "k8s.io/initial-events-end"
_CHANGES = frozenset(EventType)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_EVENT = msgspec.json.Decoder(_Event)


def _decoded(read: Callable[[bytes | msgspec.Raw], Read], raw: bytes | msgspec.Raw) -> Read:
    try:
        return read(raw)
    except decode.DECODE_ERRORS as error:
        message = f"not a watch event: {error}"
        raise WatchFailure(WatchProblem.MALFORMED, message, stream_opened=True) from None
