"""What commands say beside their results: progress, old API servers, and redrawn tables."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from spotalis.cli import progress
from spotalis.cli.main import run
from spotalis.cli.server_version import ServerVersion
from spotalis.cli.watching import _redraws
from tests.support.fake_api_server import serve


@pytest.mark.parametrize(("is_terminal", "printed"), [(True, "reading ...\n"), (False, "")])
async def test_a_terminal_hears_about_what_takes_long(
    is_terminal: bool,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    async with progress.progress("reading"):
        for _ in range(10):
            await asyncio.sleep(0)
    assert capsys.readouterr().err == printed


async def test_nothing_is_said_about_what_is_fast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    async with progress.progress("reading"):
        await asyncio.sleep(0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("minor", "is_too_old"),
    [("20", True), ("29+", True), ("30", False), ("36+", False), ("", False)],
)
def test_kubernetes_1_30_is_the_oldest_version(minor: str, is_too_old: bool) -> None:
    assert ServerVersion(minor=minor).is_too_old is is_too_old


@pytest.mark.parametrize(
    ("version", "code", "fix"),
    [
        ('{"minor": "20", "gitVersion": "v1.20.4"}', "SP012", "upgrade the cluster"),
        ('{"minor": "36", "gitVersion": "v1.36.1"}', "SP009", "kubectl api-resources"),
        ("<html>", "SP009", "kubectl api-resources"),
    ],
)
async def test_a_server_without_an_api_is_too_old_or_no_api_server(
    version: str, code: str, fix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=version, status=200 if request.path == "/version" else 404)

    kubeconfig = tmp_path / "kubeconfig"
    async with serve(answer) as server:
        kubeconfig.write_text(
            "{current-context: c, contexts: [{name: c, context: {cluster: c}}], "
            f"clusters: [{{name: c, cluster: {{server: '{server}'}}}}]}}"
        )
        words = ["spotalis", "status", "--kubeconfig", str(kubeconfig)]
        assert await asyncio.to_thread(run, words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error[{code}]: ")
    assert f"\nfix: {fix}" in error


@pytest.mark.parametrize(
    ("output", "wait", "is_terminal", "redraws"),
    [
        ("table", False, True, True),
        ("wide", False, True, True),
        ("json", False, True, False),
        ("table", True, True, False),
        ("table", False, False, False),
    ],
)
def test_a_terminal_shows_the_present_table_and_a_pipe_gets_the_changes(
    output: str, wait: bool, is_terminal: bool, redraws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert _redraws(argparse.Namespace(output=output, wait=wait)) is redraws
