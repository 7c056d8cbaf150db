"""Sends requests with both production transports, to servers that echo them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.http import HttpTransport
from spotalis.kube.http_threads import ThreadTransport
from spotalis.model.transport import Request, Response, Transport
from tests.support.manual_clock import ManualClock

GET = Request(method="GET", path="/api/v1/pods")
_transports: list[type[HttpTransport] | type[ThreadTransport]] = []


@pytest.fixture(params=[HttpTransport, ThreadTransport], autouse=True)
def transport_under_test(request: pytest.FixtureRequest) -> None:
    """Run every test of a module that imports this with each transport."""
    _transports[:] = [request.param]


def new_transport(access: ClusterAccess, *, clock: ManualClock | None = None) -> Transport:
    """The transport of this run of the test."""
    return _transports[0](access, clock=clock or ManualClock())


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
    transport = new_transport(access(server, **fields), clock=clock)
    try:
        return await transport.send(request)
    finally:
        await transport.close()


async def asked(server: str, request: Request = GET, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await send(server, request, **fields)).body)
    return answer
