"""One object by its name, read and then watched: needs no right but get and watch of that name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from spotalis.kube.backoff import Backoff
from spotalis.kube.client import WATCH_IDLE_SECONDS, Client
from spotalis.kube.decode import DECODE_ERRORS
from spotalis.kube.errors import ApiError, error_from
from spotalis.kube.lines import LineSplitter, LineTooLong
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import StreamRefused, TransportError

WATCH_SECONDS = 300
"""Streams end by themselves after one to two times this, drawn for each."""

_LINE_BYTES = 8 * 1024 * 1024


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


async def follow(
    client: Client, collection: str, name: str, *, clock: Clock, rng: Random
) -> AsyncGenerator[bytes | None, None]:
    """Yield the object's JSON as it is, and at each change; None while there is none.

    For ever: what the server refuses and what breaks on the way is tried again, with a jittered
    backoff; each time the object is read anew, so nothing is missed for longer than that. What
    is yielded may be the same twice.

    Args:
        client: to read with.
        collection: path of the collection, such as ``/api/v1/namespaces/a/secrets``.
        name: of the object.
        clock: for the errors' stamps.
        rng: jitter.
    """
    backoff = Backoff(rng, floor_seconds=0.8, ceiling_seconds=30.0)
    while True:
        try:
            answer = await client.raw("GET", f"{collection}/{name}")
            if answer.status not in (200, 404):
                raise error_from(answer, clock.now())
            found = answer.body if answer.status == 200 else None
            yield found
            query = [
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("fieldSelector", f"metadata.name={name}"),
                ("timeoutSeconds", str(int(WATCH_SECONDS * (1 + rng.random())))),
            ]
            if found is not None:
                query.append(("resourceVersion", _version(found)))
            changes = _changes(client, collection, query)
            async with aclosing(changes):
                async for change in changes:
                    backoff.reset()
                    yield change
        except (ApiError, TransportError, StreamRefused, LineTooLong, *DECODE_ERRORS):
            pass  # the next attempt reads anew
        await asyncio.sleep(backoff.next_seconds())


async def _changes(
    client: Client, collection: str, query: list[tuple[str, str]]
) -> AsyncGenerator[bytes | None, None]:
    stream = client.stream(collection, query, silence_seconds=WATCH_IDLE_SECONDS)
    lines = LineSplitter(limit=_LINE_BYTES)
    async with aclosing(stream):
        async for chunk in stream:
            for line in lines.feed(chunk):
                event = msgspec.json.decode(line, type=_Event)
                if event.type == "ERROR":
                    raise TransportError("the watch ended with an error")
                if event.type == "DELETED":
                    yield None
                elif event.type != "BOOKMARK":
                    yield bytes(event.object)


def _version(body: bytes) -> str:
    return msgspec.json.decode(body, type=_Object).metadata.resource_version
