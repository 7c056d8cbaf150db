"""Flags of `status` that are kubectl's, and what commands print on stderr."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from spotalis.cli import bug_report, controller, main, status
from spotalis.cli.main import run
from tests.support.fake_api_server import serve
from tests.support.stored_cluster import stored_cluster

Capture = pytest.CaptureFixture[str]


@asynccontextmanager
async def a_cluster(folder: Path) -> AsyncIterator[str]:
    """Serve two workloads; yields the path of a kubeconfig."""
    stored = stored_cluster(2)
    for number, workload in enumerate(stored.objects["deployments"]):
        workload["metadata"]["labels"] = {"team": "shop", "example.com/tier": str(number)}

    async def answer(request: web.Request) -> web.Response:
        found = stored.find(request.path)
        return web.Response(body=found or b"404 page not found", status=200 if found else 404)

    async with serve(answer) as server:
        file = folder / "kubeconfig"
        context = {"cluster": "c", "namespace": "shop"}
        document = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": context}],
        }
        file.write_text(json.dumps(document))
        yield str(file)


async def call(file: str, *words: str) -> int:
    return await asyncio.to_thread(run, ["spotalis", *words, "--kubeconfig", file])


@pytest.mark.parametrize(
    ("flags", "titles", "cells"),
    [
        pytest.param(("-L", "team"), ["TEAM"], ["shop"], id="one"),
        pytest.param(
            ("-L", "team,example.com/tier"), ["TEAM", "TIER"], ["shop", "1"], id="two at once"
        ),
        pytest.param(
            ("-L", "team", "--label-columns=example.com/tier"),
            ["TEAM", "TIER"],
            ["shop", "1"],
            id="repeated",
        ),
        pytest.param(
            ("--show-labels",), ["LABELS"], ["example.com/tier=1,team=shop"], id="all labels"
        ),
        pytest.param(
            ("-o", "wide", "-L", "team"),
            ["WAITING-FOR", "SCALED-BY", "LAST-MOVE", "TEAM"],
            ["-", "-", "-", "shop"],
            id="wide",
        ),
    ],
)
async def test_labels_are_columns_at_the_end(
    flags: tuple[str, ...], titles: list[str], cells: list[str], tmp_path: Path, capsys: Capture
) -> None:
    async with a_cluster(tmp_path) as file:
        assert await call(file, "status", *flags) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.split()[-len(titles) :] == titles
    assert row.split()[-len(cells) :] == cells


async def test_labels_of_nodes_are_columns_too(tmp_path: Path, capsys: Capture) -> None:
    async with a_cluster(tmp_path) as file:
        assert await call(file, "status", "--by", "node", "-L", "karpenter.sh/capacity-type") == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "CAPACITY-TYPE"
    assert [row.split()[-1] for row in rows] == ["on-demand"] * 2 + ["spot"] * 2


def test_labels_are_no_part_of_json(capsys: Capture) -> None:
    assert run(["spotalis", "status", "--show-labels", "-o", "json"]) == 2
    assert "-L and --show-labels need a table" in capsys.readouterr().err


async def test_quiet_prints_no_notes(tmp_path: Path, capsys: Capture) -> None:
    async with a_cluster(tmp_path) as file:
        assert await call(file, "status", "-n", "empty") == 0
        assert capsys.readouterr().err.startswith("No managed workloads")
        assert await call(file, "status", "-n", "empty", "-q") == 0
    assert capsys.readouterr() == ("", "")


async def test_quiet_prints_errors(tmp_path: Path, capsys: Capture) -> None:
    async with a_cluster(tmp_path) as file:
        assert await call(file, "status", "deploy/ap-0", "-q") == 1
    assert capsys.readouterr().err.startswith('error[SP043]: deployment "ap-0" not found')


async def test_level_6_prints_each_request_and_no_credentials(
    tmp_path: Path, capsys: Capture
) -> None:
    async with a_cluster(tmp_path) as file:
        assert await call(file, "status", "--token", "secret") == 0
        assert capsys.readouterr().err == ""
        assert await call(file, "status", "-v=6", "--token", "secret") == 0
    lines = capsys.readouterr().err.splitlines()
    [pods] = [line for line in lines if "/api/v1/pods?" in line]
    assert pods.startswith("GET http://127.0.0.1:")
    assert pods.partition("?")[2].split()[:2] == ["limit=250", "200"]
    assert pods.endswith(" ms")
    assert "secret" not in "".join(lines)


def failing(arguments: object) -> int:
    raise KeyError("a bug")


@pytest.mark.parametrize("command", ["spotalis", "kubectl-spotalis"])
def test_a_bug_is_one_error_and_a_file_with_the_traceback(
    command: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "run", failing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run([command, "status", "--token=secret", "deploy/api"]) == 1
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    name = main.program_name(command)
    assert capsys.readouterr().err.splitlines() == [
        f"error[SP900]: {name} status failed because of a bug in Spotalis",
        f"  wrote {file}: the traceback, without arguments and credentials",
        "fix: report the bug with this file; to print the traceback: SPOTALIS_TRACEBACK=1",
    ]
    text = file.read_text()
    assert text.splitlines()[1] == f"{name} status --token"
    assert "KeyError: 'a bug'" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("words", "variable", "folder"),
    [
        pytest.param(["-v", "1"], "", ".", id="-v 1"),
        pytest.param(["-v1"], "", ".", id="-v1"),
        pytest.param(["--v=1"], "", ".", id="--v=1"),
        pytest.param([], "1", ".", id="variable"),
        pytest.param([], "", "missing", id="no folder to write to"),
    ],
)
def test_the_traceback_of_a_bug_is_printed_on_request_and_never_lost(
    words: list[str],
    variable: str,
    folder: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "run", failing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    monkeypatch.setenv(bug_report.SHOW, variable)
    assert run(["spotalis", "status", *words]) == 1
    error = capsys.readouterr().err
    assert "KeyError: 'a bug'" in error
    assert error.endswith(
        "error[SP900]: spotalis status failed because of a bug in Spotalis\n"
        "fix: report the bug with the text above\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_bug_in_the_operator_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "run", failing)
    with pytest.raises(KeyError):
        run(["spotalis", "controller"])
