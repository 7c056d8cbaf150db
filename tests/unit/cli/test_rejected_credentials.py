"""Credentials that the API server rejects: what the message says, and the fix."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from spotalis.cli.main import run
from tests.support.fake_api_server import serve

V1 = "client.authentication.k8s.io/v1"
UNAUTHORIZED = {"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}


def plugin(script: str) -> dict[str, Any]:
    """A user with a credential plugin that is a Python program."""
    fields = {"apiVersion": V1, "interactiveMode": "Never", "command": sys.executable}
    return {"exec": {**fields, "args": ["-c", script]}}


def printing(token: str, **status: str) -> dict[str, Any]:
    """A user whose plugin prints a token."""
    credential = {"apiVersion": V1, "kind": "ExecCredential", "status": {"token": token, **status}}
    return plugin(f"print({json.dumps(credential)!r})")


def a_jwt(expires_at: int) -> str:
    """A token without a signature that says when it expires."""
    parts = ({"alg": "none"}, {"exp": expires_at})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join((*(text.rstrip("=") for text in texts), "signature"))


async def error_of(user: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `events` prints if the API server rejects every credential."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def reject(request: web.Request) -> web.Response:
        return web.json_response(UNAUTHORIZED, status=401)

    async with serve(reject, tls=context) as server:
        ca = base64.b64encode(authority.cert_pem.bytes()).decode()
        cluster = {"server": server, "certificate-authority-data": ca}
        document = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(document))
        words = ["kubectl-spotalis", "events", "--kubeconfig", str(file)]
        assert await asyncio.to_thread(run, words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.replace(server, "https://api").replace(sys.executable, "aws")


REJECTED = "error[SP010]: https://api rejected the credentials: Unauthorized\n"
OF_A_USER = "fix: renew the credentials of this user, or choose another --context or --user\n"


@pytest.mark.parametrize(
    ("user", "why"),
    [
        pytest.param(
            {"token": "wrong"},
            "the token is wrong or has expired, or the certificate is not accepted",
            id="wrong",
        ),
        pytest.param(
            {"token": a_jwt(1767225600)}, "the token expired at 2026-01-01T00:00:00Z", id="expired"
        ),
        pytest.param(
            {"token": a_jwt(32503680000)},
            "the token is wrong or has expired, or the certificate is not accepted",
            id="not expired, and rejected",
        ),
        pytest.param(
            {"token": "not.base64!.jwt"},
            "the token is wrong or has expired, or the certificate is not accepted",
            id="no JWT",
        ),
    ],
)
async def test_a_rejected_token_is_said_to_have_expired_only_if_it_has(
    user: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await error_of(user, tmp_path, capsys) == f"{REJECTED}  {why}\n{OF_A_USER}"


@pytest.mark.parametrize(
    ("status", "expired"),
    [
        pytest.param({}, "", id="without a time"),
        pytest.param({"expirationTimestamp": "2999-01-01T00:00:00Z"}, "", id="not expired"),
        pytest.param(
            {"expirationTimestamp": "2020-01-01T00:00:00Z"},
            "; they expired at 2020-01-01T00:00:00Z",
            id="expired",
        ),
    ],
)
async def test_a_plugin_with_rejected_tokens_is_named_with_its_command(
    status: dict[str, str], expired: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = await error_of(printing("stale", **status), tmp_path, capsys)
    error, why, fix = text.splitlines()
    assert error + "\n" == REJECTED
    assert why == f"  new credentials of the credential plugin `aws` were rejected too{expired}"
    assert fix.startswith("fix: log in again, until `aws -c print(")
    assert fix.endswith("` prints new credentials")


async def test_a_plugin_that_fails_keeps_its_own_message_and_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = await error_of(plugin("raise SystemExit('log in first')"), tmp_path, capsys)
    assert text.splitlines() == [
        "error[SP006]: the credential plugin `aws` failed with status 1",
        "  log in first",
        "fix: run `aws -c raise SystemExit('log in first')` and fix the error that it reports",
    ]
