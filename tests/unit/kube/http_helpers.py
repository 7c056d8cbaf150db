"""Sends requests with the production transport, to servers that echo them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.http import HttpTransport
from spotalis.model.transport import Request, Response
from tests.support.manual_clock import ManualClock

GET = Request(method="GET", path="/api/v1/pods")


async def echo(request: web.Request) -> web.Response:
    """Answer with the request itself."""
    return web.json_response(
        {
            "method": request.method,
            "url": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": await request.text(),
        }
    )


async def echo_and_close(request: web.Request) -> web.Response:
    """Answer, and close the connection, so that the next request needs another handshake."""
    answer = await echo(request)
    answer.force_close()
    return answer


def access(server: str, **fields: Any) -> ClusterAccess:
    return ClusterAccess(server=server, **fields)


async def send(
    server: str, request: Request = GET, *, clock: ManualClock | None = None, **fields: Any
) -> Response:
    transport = HttpTransport(access(server, **fields), clock=clock or ManualClock())
    try:
        return await transport.send(request)
    finally:
        await transport.close()


async def asked(server: str, request: Request = GET, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await send(server, request, **fields)).body)
    return answer
