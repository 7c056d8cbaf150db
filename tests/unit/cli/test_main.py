"""The command line: help, unknown words, exit codes and start-up errors."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from spotalis.cli.connect import explain_startup_failure
from spotalis.cli.errors import CommandError
from spotalis.cli.main import COMMANDS, run
from spotalis.kube.errors import ApiError, Forbidden, NotFound
from spotalis.model.transport import TransportError


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",)])
def test_root_help_lists_each_command_on_one_line_and_shows_examples(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spotalis", *argv]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", text, re.MULTILINE)
    assert "  spotalis status -A " in text
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_into_80_columns_and_splits_no_flag(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["spotalis", command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("-") and "validate -" not in line]


@pytest.mark.parametrize(
    ("argv", "message", "fix"),
    [
        (["contorller"], "unknown command 'contorller'; did you mean 'controller'?", ""),
        (["--verison"], "unknown flag '--verison'; did you mean 'version'?", ""),
        (["version", "x"], "spotalis version: unexpected argument 'x'", " version"),
        (
            ["controller", "--resinc=9s"],
            "spotalis controller: unknown flag --resinc; did you mean --resync?",
            " controller",
        ),
        (
            ["config", "--resync"],
            "spotalis config: argument --resync: expected one argument",
            " config",
        ),
    ],
)
def test_a_wrong_command_line_exits_with_code_2(
    argv: list[str], message: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["spotalis", *argv]) == 2
    assert capsys.readouterr().err == f"error[SP020]: {message}\nfix: spotalis{fix} --help\n"


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    version = importlib.metadata.version("spotalis")
    for argv in (["version"], ["--version"], ["version", "-o", "json"]):
        assert run(["spotalis", *argv]) == 0
        assert version in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "fix"),
    [
        (Forbidden(403, message="no"), "SP003", "apply build/k8s/rbac.yaml"),
        (NotFound(404, message="no"), "SP009", "apply build/k8s/install.yaml"),
        (ApiError(401, message="no"), "SP010", "renew the credentials"),
        (ApiError(503, message="no"), "SP011", "check `kubectl get --raw /readyz`"),
        (TransportError("no"), "SP002", "check `kubectl get --raw /readyz`"),
    ],
)
def test_a_failed_start_names_its_cause_and_a_fix(error: Exception, code: str, fix: str) -> None:
    with pytest.raises(CommandError) as caught, explain_startup_failure("https://api:6443"):
        raise error
    assert caught.value.code == code
    assert caught.value.fix.startswith(fix)
