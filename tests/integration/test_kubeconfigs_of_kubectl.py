"""Spotalis and kubectl with the same kubeconfig: what they read, and what they send."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from spotalis.kube.config.access import Overrides, load
from spotalis.kube.http import HttpTransport
from spotalis.model.transport import Request
from tests.support import kubeconfigs
from tests.support.control_plane import binaries_or_skip
from tests.support.fake_api_server import serve
from tests.support.kubeconfigs import Case, Reading
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.real

SECONDS = 30.0
V1 = "client.authentication.k8s.io/v1"


async def kubectl(folder: Path, *arguments: str) -> str | None:
    """What kubectl prints; None if it fails."""
    process = await asyncio.create_subprocess_exec(
        str(binaries_or_skip()["kubectl"]),
        *arguments,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(SECONDS):
        stdout, _ = await process.communicate()
    return stdout.decode() if process.returncode == 0 else None


def _reading(view: Mapping[str, Any]) -> Reading:
    """The view of a context in the form of the table."""
    cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
    headers = []
    if "token" in user:
        headers.append(("Authorization", f"Bearer {user['token']}"))
    if "as" in user:
        headers.append(("Impersonate-User", user["as"]))
        for key, values in (user.get("as-user-extra") or {}).items():
            headers += [(f"Impersonate-Extra-{key}", value) for value in values]
    return Reading(
        server=cluster["server"],
        ca=base64.b64decode(cluster.get("certificate-authority-data", "")),
        verify=not cluster.get("insecure-skip-tls-verify", False),
        headers=tuple(sorted(headers)),
    )


@pytest.mark.parametrize(
    "case", [*kubeconfigs.SAME, *kubeconfigs.DIFFERENT], ids=lambda case: case.name
)
async def test_kubectl_reads_an_unusual_spelling_as_the_table_says(
    tmp_path: Path, case: Case
) -> None:
    file = tmp_path / "config"
    file.write_bytes(case.bytes())
    arguments = ("config", "view", "--raw", "--minify", "-o", "json")
    printed = await kubectl(tmp_path, "--kubeconfig", str(file), *arguments)
    assert (None if printed is None else _reading(json.loads(printed))) == case.kubectl


class Server:
    """An API server on loopback that records the credentials of each request."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.seen: list[str] = []
        self.seen_certificates: list[str] = []
        """The common names of client certificates."""

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        peer = request.transport and request.transport.get_extra_info("peercert")
        names = dict(pair for part in (peer or {}).get("subject", ()) for pair in part)
        self.seen_certificates.append(names.get("commonName", ""))
        return web.json_response({})

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client(self, folder: Path, name: str) -> tuple[Path, Path]:
        """The files of a client certificate with this common name, and of its key."""
        pair = self.authority.issue_cert(f"{name}.example", common_name=name)
        files = folder / f"{name}.crt", folder / f"{name}.key"
        files[0].write_bytes(pair.cert_chain_pems[0].bytes())
        files[1].write_bytes(pair.private_key_pem.bytes())
        return files

    @property
    def ca(self) -> bytes:
        return self.authority.cert_pem.bytes()


def _kubeconfig(folder: Path, url: str, ca: bytes, user: Mapping[str, Any]) -> str:
    cluster = {"server": url}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    document = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / "config"
    file.write_text(yaml.safe_dump(document))
    return str(file)


async def _ask(file: str, overrides: Overrides = Overrides()) -> int:
    access = load({"PATH": "/usr/bin:/bin"}, kubeconfig=file, overrides=overrides)
    transport = HttpTransport(access, clock=ManualClock())
    try:
        return (await transport.send(Request(method="GET", path="/version"))).status
    finally:
        await transport.close()


async def _sent(
    folder: Path, user: Mapping[str, Any], *, comment: bytes = b"", server: Server | None = None
) -> list[str]:
    """The credentials that kubectl sent, then those that Spotalis sent."""
    server = server or Server()
    async with serve(server.answer, tls=server.tls()) as url:
        file = _kubeconfig(folder, url, comment + server.ca, user)
        assert await kubectl(folder, "--kubeconfig", file, "get", "--raw", "/version") is not None
        async with asyncio.timeout(SECONDS):
            assert await _ask(file) == 200
    return server.seen


def _plugin(script: str, **fields: Any) -> dict[str, Any]:
    """A user whose plugin is a Python program."""
    plugin = {"apiVersion": V1, "interactiveMode": "Never", "command": sys.executable}
    return {"exec": {**plugin, "args": ["-c", script], **fields}}


def _credential(token: str) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": token}})


@pytest.mark.parametrize(
    "comment",
    [
        pytest.param("# für Ωmega\n".encode(), id="comment in UTF-8"),
        pytest.param(b"# f\xfcr \x00\n", id="comment in Latin-1"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n",
            id="certificate that cannot be parsed",
        ),
        pytest.param(
            b"-----BEGIN X509 CRL-----\nTUlJQg==\n-----END X509 CRL-----\n", id="other PEM block"
        ),
    ],
)
async def test_other_content_of_a_ca_bundle_is_ignored(tmp_path: Path, comment: bytes) -> None:
    assert await _sent(tmp_path, {"token": "t"}, comment=comment) == ["Bearer t", "Bearer t"]


async def test_a_helper_of_a_plugin_that_keeps_stderr_open_is_not_waited_for(
    tmp_path: Path,
) -> None:
    script = (
        "import subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({2 * SECONDS})'], "
        f"stdout=subprocess.DEVNULL); print({_credential('p')!r})"
    )
    assert await _sent(tmp_path, _plugin(script)) == ["Bearer p", "Bearer p"]


async def test_a_plugin_may_print_yaml(tmp_path: Path) -> None:
    text = f"apiVersion: {V1}\nkind: ExecCredential\nstatus:\n  token: p\n"
    text += "  expirationTimestamp: 2999-01-01T00:00:00Z\n"
    user = _plugin(f"print({text!r})")
    assert await _sent(tmp_path, user) == ["Bearer p", "Bearer p"]


async def test_a_token_is_used_while_the_token_file_is_missing(tmp_path: Path) -> None:
    user = {"token": "t", "tokenFile": "missing"}
    assert await _sent(tmp_path, user) == ["Bearer t", "Bearer t"]


async def test_a_token_takes_precedence_over_a_plugin_and_over_oidc(tmp_path: Path) -> None:
    plugin = _plugin("raise SystemExit(1)")
    assert await _sent(tmp_path, {"token": "t", **plugin}) == ["Bearer t", "Bearer t"]
    oidc = {
        "auth-provider": {
            "name": "oidc",
            "config": {"idp-issuer-url": "https://x", "client-id": "client"},
        }
    }
    assert await _sent(tmp_path, {"token": "t", **oidc}) == ["Bearer t", "Bearer t"]


async def test_a_client_certificate_takes_precedence_over_a_plugin(tmp_path: Path) -> None:
    server = Server()
    certificate, key = server.client(tmp_path, "own")
    user = {"client-certificate": certificate.name, "client-key": key.name}
    user |= _plugin("raise SystemExit(1)")
    assert await _sent(tmp_path, user, server=server) == ["", ""]
    assert server.seen_certificates == ["own", "own"]


async def test_a_server_without_tls_receives_no_credentials(tmp_path: Path) -> None:
    server = Server()
    async with serve(server.answer) as url:
        file = _kubeconfig(tmp_path, url, b"", {"token": "t"})
        await kubectl(tmp_path, "--kubeconfig", file, "get", "--raw", "/version")
        await _ask(file)
    assert server.seen == ["", ""]


@pytest.mark.parametrize("flags", ["token", "certificate", "both"])
@pytest.mark.parametrize(
    "user", ["token", "token file", "certificate", "files", "plugin", "nothing"]
)
async def test_flags_replace_the_credentials_of_the_user_as_those_of_kubectl_do(
    tmp_path: Path, user: str, flags: str
) -> None:
    server = Server()
    own, other = server.client(tmp_path, "own"), server.client(tmp_path, "other")
    users: dict[str, dict[str, Any]] = {
        "token": {"token": "own"},
        "token file": {"tokenFile": str(tmp_path / "token")},
        "certificate": {
            "client-certificate-data": base64.b64encode(own[0].read_bytes()).decode(),
            "client-key-data": base64.b64encode(own[1].read_bytes()).decode(),
        },
        "files": {"client-certificate": str(own[0]), "client-key": str(own[1])},
        "plugin": _plugin(f"print({_credential('own')!r})"),
        "nothing": {},
    }
    (tmp_path / "token").write_text("own")
    token = "" if flags == "certificate" else "other"
    certificate, key = ("", "") if flags == "token" else map(str, other)
    names = ("token", "client-certificate", "client-key")
    given = zip(names, (token, certificate, key), strict=True)
    words = [f"--{name}={value}" for name, value in given if value]
    overrides = Overrides(token=token, client_certificate=certificate, client_key=key)
    async with serve(server.answer, tls=server.tls()) as url:
        file = _kubeconfig(tmp_path, url, server.ca, users[user])
        await kubectl(tmp_path, "--kubeconfig", file, *words, "get", "--raw", "/version")
        assert await _ask(file, overrides) == 200
    assert server.seen == server.seen[:1] * 2
    assert server.seen_certificates == server.seen_certificates[:1] * 2
