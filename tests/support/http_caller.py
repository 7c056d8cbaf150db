"""One HTTP/1.1 connection, driven byte by byte: for callers that behave as no library would."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_PATIENCE_SECONDS = 60.0
"""A server that says nothing for so long fails its test instead of hanging it."""


@dataclass(frozen=True)
class Reply:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Caller:
    """A connection to 127.0.0.1, to be used in ``async with``."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls

    async def __aenter__(self) -> Caller:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # the server was first

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A whole request and its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        sent = dict(headers or {})
        if body is not None:
            sent = {"Content-Length": str(len(body)), "Content-Type": "application/json"} | sent
        lines += [f"{name}: {value}" for name, value in sent.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return await self.answer(without_body=method == "HEAD")

    async def answer(self, *, without_body: bool = False) -> Reply:
        """The next answer.

        Raises: asyncio.IncompleteReadError if the server closes instead.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (line.split(": ", 1) for line in head[1:-2])
            headers = {name.lower(): value for name, value in fields}
            body = b"" if without_body else await self._body(headers)
        return Reply(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        """Wait until the server ends the connection; whether nothing came before."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readuntil(b"\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return body


async def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """One request on a connection of its own."""
    async with Caller(port, tls) as caller:
        return await caller.ask(method, path, body, headers)
