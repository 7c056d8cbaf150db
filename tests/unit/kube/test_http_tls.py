"""TLS and proxies of the transport."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from spotalis.kube.config.credentials import REFRESH_SECONDS, Credentials
from spotalis.kube.tls import client_context
from spotalis.model.transport import Request, TransportError
from tests.support.fake_api_server import read_head, serve, serve_bytes
from tests.support.manual_clock import ManualClock
from tests.unit.kube.http_helpers import (
    GET,
    access,
    asked,
    echo,
    echo_and_close,
    new_transport,
    send,
)
from tests.unit.kube.http_helpers import transport_under_test as transport_under_test


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def serving(ca: trustme.CA, *names: str, clients: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def pem(ca: trustme.CA) -> bytes:
    return ca.cert_pem.bytes()


class TestTls:
    async def test_a_server_of_the_clusters_ca_is_trusted(self, ca: trustme.CA) -> None:
        async with serve(echo, tls=serving(ca)) as server:
            assert (await send(server, ca=pem(ca))).status == 200

    @pytest.mark.parametrize("trusted", [None, "another"])
    async def test_a_server_of_another_ca_is_not(self, ca: trustme.CA, trusted: str | None) -> None:
        async with serve(echo, tls=serving(ca)) as server:
            with pytest.raises(TransportError) as caught:
                await send(server, ca=pem(trustme.CA()) if trusted else None)
        assert caught.value.maybe_sent is False

    async def test_a_server_of_another_name_is_not(self, ca: trustme.CA) -> None:
        async with serve(echo, tls=serving(ca, "kubernetes.example.com")) as server:
            with pytest.raises(TransportError):
                await send(server, ca=pem(ca))

    async def test_tls_server_name_says_which_name_to_expect(self, ca: trustme.CA) -> None:
        name = "kubernetes.example.com"
        async with serve(echo, tls=serving(ca, name)) as server:
            assert (await send(server, ca=pem(ca), tls_server_name=name)).status == 200

    async def test_a_serving_certificate_may_be_trusted_itself(self, ca: trustme.CA) -> None:
        """As where the API server has made its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = ca.issue_cert("127.0.0.1")
        leaf.configure_cert(context)
        async with serve(echo, tls=context) as server:
            assert (await send(server, ca=leaf.cert_chain_pems[0].bytes())).status == 200

    @pytest.mark.parametrize(
        "comment", ["# für Ωmega\n".encode(), b"# f\xfcr \x00\n", b"\xff\xfe\r\n"]
    )
    async def test_comments_of_a_bundle_are_ignored_in_any_encoding(
        self, ca: trustme.CA, comment: bytes
    ) -> None:
        bundle = comment + pem(trustme.CA()) + comment + pem(ca).replace(b"\n", b"\r\n") + comment
        async with serve(echo, tls=serving(ca)) as server:
            assert (await send(server, ca=bundle)).status == 200

    @pytest.mark.parametrize("bundle", ["# für Ωmega\n".encode(), b"-----BEGIN CERTIFICATE-----\n"])
    async def test_a_bundle_without_a_certificate_is_an_error(self, bundle: bytes) -> None:
        with pytest.raises(TransportError, match="no valid certificate"):
            await send("https://127.0.0.1:1", ca=bundle)

    async def test_verification_can_be_switched_off(self, ca: trustme.CA) -> None:
        async with serve(echo, tls=serving(ca, "other.example.com")) as server:
            assert (await send(server, verify=False)).status == 200

    async def test_a_client_certificate_is_shown(self, ca: trustme.CA) -> None:
        async def client_of(request: web.Request) -> web.Response:
            assert request.transport is not None
            return web.json_response(request.transport.get_extra_info("peercert"))

        pair = ca.issue_cert("me@example.com")
        credentials = Credentials(
            certificate=pair.cert_chain_pems[0].bytes(), key=pair.private_key_pem.bytes()
        )
        async with serve(client_of, tls=serving(ca, clients=ca)) as server:
            answer = await send(server, ca=pem(ca), credentials=credentials)
        assert b"me@example.com" in answer.body

    @pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory")
    def test_a_client_key_is_never_written_to_a_disk(
        self, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile"):
            monkeypatch.delattr(tempfile, name)
        pair = ca.issue_cert("me@example.com")
        certificate, key = pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes()
        client_context(pem(ca), certificate=certificate, key=key)
        client_context(pem(ca), certificate=key + certificate)

    async def test_a_ca_that_was_rotated_is_read_again(
        self, ca: trustme.CA, tmp_path: Path
    ) -> None:
        file = tmp_path / "ca.crt"
        file.write_bytes(pem(trustme.CA()))
        async with serve(echo, tls=serving(ca)) as server:
            transport = new_transport(access(server, ca=file))
            with pytest.raises(TransportError):
                await transport.send(GET)
            file.write_bytes(pem(ca))
            assert (await transport.send(GET)).status == 200
            file.unlink()
            assert (await transport.send(GET)).status == 200
            await transport.close()

    async def test_row_15_a_rotation_with_both_authorities_trusted_costs_no_request(
        self, ca: trustme.CA, tmp_path: Path
    ) -> None:
        """As documented: first both are published, then the certificate changes (row 15)."""
        old, file, clock = trustme.CA(), tmp_path / "ca.crt", ManualClock()
        file.write_bytes(pem(old))
        shown = serving(old)
        async with serve(echo_and_close, tls=shown) as server:
            transport = new_transport(access(server, ca=file), clock=clock)
            assert (await transport.send(GET)).status == 200
            file.write_bytes(pem(old) + pem(ca))
            clock.advance(REFRESH_SECONDS)
            assert (await transport.send(GET)).status == 200
            ca.issue_cert("127.0.0.1").configure_cert(shown)  # from the next handshake on
            assert (await transport.send(GET)).status == 200
            await transport.close()

    async def test_row_15_a_rotation_without_warning_costs_one_connection_and_no_open_stream(
        self, ca: trustme.CA, tmp_path: Path
    ) -> None:
        old, file, clock = trustme.CA(), tmp_path / "ca.crt", ManualClock()
        file.write_bytes(pem(old))
        shown, go_on = serving(old), asyncio.Event()

        async def streams(request: web.Request) -> web.StreamResponse:
            if request.path != "/stream":
                return await echo_and_close(request)
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"before\n")
            await go_on.wait()
            await answer.write(b"after\n")
            return answer

        async with serve(streams, tls=shown) as server:
            transport = new_transport(access(server, ca=file), clock=clock)
            stream = transport.stream(Request(method="GET", path="/stream"))
            assert await anext(stream) == b"before\n"
            file.write_bytes(pem(ca))
            ca.issue_cert("127.0.0.1").configure_cert(shown)
            with pytest.raises(TransportError) as caught:
                await transport.send(GET)
            assert caught.value.maybe_sent is False
            assert (await transport.send(GET)).status == 200
            go_on.set()
            assert [chunk async for chunk in stream] == [b"after\n"]
            await transport.close()

    async def test_an_invalid_ca_is_a_transport_error(self) -> None:
        with pytest.raises(TransportError) as caught:
            await send("https://127.0.0.1:1", ca=b"garbage")
        assert caught.value.maybe_sent is False


class TestProxy:
    async def test_requests_go_through_it_with_its_credentials(self) -> None:
        async with serve(echo) as proxy:
            through = proxy.replace("http://", "http://ana:secret@")
            seen = await asked("http://cluster.example.com:6443", proxy_url=through)
        assert seen["url"] == "http://cluster.example.com:6443/api/v1/pods"
        assert seen["headers"]["proxy-authorization"] == "Basic YW5hOnNlY3JldA=="
        assert "authorization" not in seen["headers"]

    async def test_tls_goes_through_a_tunnel(self, ca: trustme.CA) -> None:
        heads: list[str] = []

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await read_head(reader))
            host, port = heads[0].split()[1].split(":")
            there, back = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(pump(reader, back), pump(there, writer))

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        async with serve(echo, tls=serving(ca)) as server, serve_bytes(tunnel) as proxy:
            assert (await send(server, ca=pem(ca), proxy_url=proxy)).status == 200
        assert heads[0].startswith("CONNECT 127.0.0.1:")

    async def test_a_proxy_that_refuses_has_sent_nothing(self) -> None:
        async def refuses(request: web.Request) -> web.Response:
            return web.Response(status=403)

        async with serve(refuses) as proxy:
            with pytest.raises(TransportError) as caught:
                await send("https://cluster.example.com:6443", proxy_url=proxy)
        assert caught.value.maybe_sent is False
