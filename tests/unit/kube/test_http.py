from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from spotalis.kube.config.credentials import Credentials
from spotalis.kube.config.exec_plugin import CompletedProcess, ExecPlugin
from spotalis.model.transport import Request, StreamRefused, TransportError
from tests.support.fake_api_server import Handler, read_head, serve, serve_bytes
from tests.support.manual_clock import ManualClock
from tests.unit.kube.http_helpers import (
    GET,
    access,
    asked,
    echo,
    new_transport,
    send,
)
from tests.unit.kube.http_helpers import transport_under_test as transport_under_test


async def collect(server: str, request: Request = GET, **fields: Any) -> bytes:
    transport = new_transport(access(server, **fields))
    try:
        return b"".join([chunk async for chunk in transport.stream(request)])
    finally:
        await transport.close()


def only_with(token: str, seen: list[str]) -> Handler:
    """Answers 401 to other tokens, and notes them all."""

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.Response(status=200 if seen[-1] == f"Bearer {token}" else 401)

    return handler


class TestSend:
    async def test_a_request_arrives_unchanged(self) -> None:
        request = Request(
            method="PATCH",
            path="/api/v1/namespaces/shop/pods/web-1",
            query=(("fieldManager", "a b&c"), ("force", "true")),
            body=b'{"a":1}',
            content_type="application/merge-patch+json",
        )
        async with serve(echo) as server:
            seen = await asked(server, request)
        assert seen["method"] == "PATCH"
        assert seen["url"] == ("/api/v1/namespaces/shop/pods/web-1?fieldManager=a+b%26c&force=true")
        assert seen["body"] == '{"a":1}'
        assert seen["headers"]["content-type"] == "application/merge-patch+json"
        assert seen["headers"]["accept"] == "application/json"
        assert seen["headers"]["user-agent"].startswith("spotalis/")

    async def test_a_server_url_may_have_a_path(self) -> None:
        async with serve(echo) as server:
            assert (await asked(f"{server}/k8s/c-1/"))["url"] == "/k8s/c-1/api/v1/pods"

    async def test_a_server_without_a_user_gets_no_credentials(self) -> None:
        async with serve(echo) as server:
            assert "authorization" not in (await asked(server))["headers"]

    async def test_every_status_is_returned_and_redirects_are_not_followed(self) -> None:
        async def moved(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "/elsewhere", "Retry-After": "3"})

        async with serve(moved) as server:
            answer = await send(server)
        assert answer.status == 302
        assert answer.headers["retry-after"] == "3"

    async def test_lists_may_come_compressed(self) -> None:
        async def compressed(request: web.Request) -> web.Response:
            assert request.headers["Accept-Encoding"] == "gzip"
            answer = web.Response(body=b"x" * 5000)
            answer.enable_compression(web.ContentCoding.gzip)
            return answer

        async with serve(compressed) as server:
            assert (await send(server)).body == b"x" * 5000

    async def test_compression_can_be_switched_off(self) -> None:
        async with serve(echo) as server:
            assert (await asked(server, compress=False))["headers"]["accept-encoding"] == "identity"

    async def test_a_refused_connection_was_certainly_not_sent(self) -> None:
        async with serve(echo) as server:
            pass
        with pytest.raises(TransportError) as caught:
            await send(server)
        assert caught.value.maybe_sent is False

    async def test_a_timeout_may_have_been_sent(self) -> None:
        async def sleepy(request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async with serve(sleepy) as server:
            with pytest.raises(TransportError) as caught:
                await send(server, Request(method="POST", path="/", timeout_seconds=0.05))
        assert caught.value.maybe_sent is True

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
    async def test_a_write_whose_connection_breaks_is_sent_once(self, method: str) -> None:
        """aiohttp by itself repeats a PUT or DELETE on a connection that was used before."""
        seen: list[str] = []

        async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                seen.append((await read_head(reader)).partition(" ")[0])
                if seen[-1] != "GET":
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        async with serve_bytes(breaks) as server:
            transport = new_transport(access(server))
            await transport.send(GET)
            with pytest.raises(TransportError) as caught:
                await transport.send(Request(method=method, path="/"))
            await transport.close()
        assert caught.value.maybe_sent is True
        assert seen == ["GET", method]

    async def test_a_truncated_response_is_an_error(self) -> None:
        async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()

        async with serve_bytes(half) as server:
            with pytest.raises(TransportError):
                await send(server)

    async def test_a_closed_transport_opens_no_connection(self) -> None:
        async with serve(echo) as server:
            transport = new_transport(access(server))
            await transport.send(GET)
            await transport.close()
            with pytest.raises(TransportError):
                await transport.send(GET)


class TestStream:
    async def test_streamed_bytes_arrive_unbuffered_and_uncompressed(self) -> None:
        line = b"x" * 300_000 + b"\n"

        async def streams(request: web.Request) -> web.StreamResponse:
            assert request.headers["Accept-Encoding"] == "identity"
            answer = web.StreamResponse()
            await answer.prepare(request)
            for at in range(0, len(line), 7_001):
                await answer.write(line[at : at + 7_001])
            return answer

        async with serve(streams) as server:
            assert await collect(server) == line

    async def test_a_rejected_stream_keeps_the_response_body(self) -> None:
        async def refuses(request: web.Request) -> web.Response:
            return web.Response(status=410, body=b"expired")

        async with serve(refuses) as server:
            with pytest.raises(StreamRefused) as caught:
                await collect(server)
        assert (caught.value.response.status, caught.value.response.body) == (410, b"expired")

    @pytest.mark.parametrize("first", [b"", b"one\n"])
    async def test_silence_is_a_failure(self, first: bytes) -> None:
        async def silent(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            if first:
                await answer.write(first)
            await asyncio.Event().wait()
            return answer

        async with serve(silent) as server:
            with pytest.raises(TransportError):
                await collect(server, Request(method="GET", path="/", timeout_seconds=0.05))

    async def test_a_connection_that_breaks_within_a_line_is_an_error(self) -> None:
        async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"typ\r\n')
            await writer.drain()

        async with serve_bytes(cuts) as server:
            with pytest.raises(TransportError):
                await collect(server)

    async def test_closing_ends_open_streams(self) -> None:
        async def streams(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"one\n")
            await asyncio.Event().wait()
            return answer

        async with serve(streams) as server:
            transport = new_transport(access(server))
            stream = transport.stream(GET)
            assert await anext(stream) == b"one\n"
            await transport.close()
            with pytest.raises(TransportError):
                await anext(stream)


class TestCredentials:
    async def test_a_rotated_token_is_read_again_on_401(self, tmp_path: Path) -> None:
        seen: list[str] = []
        token = tmp_path / "token"
        token.write_text("old\n")
        async with serve(only_with("new", seen)) as server:
            transport = new_transport(
                access(server, credentials=Credentials(token_file=token)), clock=ManualClock()
            )
            assert (await transport.send(GET)).status == 401
            token.write_text("new\n")
            assert (await transport.send(GET)).status == 200
            assert (await transport.send(GET)).status == 200
            await transport.close()
        assert seen == ["Bearer old", "Bearer old", "Bearer new", "Bearer new"]

    async def test_a_stream_is_opened_with_the_new_token(self, tmp_path: Path) -> None:
        seen: list[str] = []
        token = tmp_path / "token"
        token.write_text("old")
        credentials = Credentials(token_file=token)
        await credentials.get(ManualClock())
        token.write_text("new")
        async with serve(only_with("new", seen)) as server:
            assert await collect(server, credentials=credentials) == b""
        assert seen == ["Bearer old", "Bearer new"]

    async def test_a_rejected_token_without_replacement_is_sent_once(self) -> None:
        seen: list[str] = []
        credentials = Credentials(headers=(("Authorization", "Bearer fixed"),))
        async with serve(only_with("other", seen)) as server:
            assert (await send(server, credentials=credentials)).status == 401
        assert seen == ["Bearer fixed"]

    async def test_a_rejected_plugin_credential_runs_the_plugin_again(self) -> None:
        seen: list[str] = []
        tokens = iter(("old", "new"))

        async def run(command: object, environment: object) -> CompletedProcess:
            status = {"token": next(tokens)}
            version = "client.authentication.k8s.io/v1"
            return CompletedProcess(
                0, json.dumps({"apiVersion": version, "status": status}).encode()
            )

        plugin = ExecPlugin(
            api_version="client.authentication.k8s.io/v1",
            command="login",
            environment={},
            run_program=run,
        )
        async with serve(only_with("new", seen)) as server:
            answer = await send(server, credentials=Credentials(plugin=plugin))
        assert answer.status == 200
        assert seen == ["Bearer old", "Bearer new"]

    async def test_missing_credentials_are_a_transport_error(self, tmp_path: Path) -> None:
        credentials = Credentials(token_file=tmp_path / "missing")
        with pytest.raises(TransportError) as caught:
            await send("http://127.0.0.1:1", credentials=credentials)
        assert caught.value.maybe_sent is False


Serving = Callable[..., ssl.SSLContext]
