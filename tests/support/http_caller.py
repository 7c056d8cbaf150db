"""One HTTP/1.1 connection that a test drives byte by byte, for clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_PATIENCE_SECONDS = 60.0
"""If the server sends nothing for this long, the test fails instead of hanging."""


@dataclass(frozen=True)
class Reply:
    """A response. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as a JSON object."""
        return json.loads(self.body)


class Caller:
    """A connection to 127.0.0.1, for use in ``async with``."""

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
            pass  # the server closed the connection first

    async def send(self, data: bytes) -> None:
        """Send bytes unchanged."""
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a complete request and return the response."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        sent = dict(headers or {})
        if body is not None:
            sent = {"Content-Length": str(len(body)), "Content-Type": "application/json"} | sent
        lines += [f"{name}: {value}" for name, value in sent.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return await self.answer(without_body=method == "HEAD")

    async def answer(self, *, without_body: bool = False) -> Reply:
        """Return the next response.

        Raises:
            asyncio.IncompleteReadError: the server closed the connection.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (line.split(": ", 1) for line in head[1:-2])
            headers = {name.lower(): value for name, value in fields}
            body = b"" if without_body else await self._body(headers)
        return Reply(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        """Wait until the server closes the connection. True if it sent nothing before."""
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
    """Send one request on a connection of its own."""
    async with Caller(port, tls) as caller:
        return await caller.ask(method, path, body, headers)
