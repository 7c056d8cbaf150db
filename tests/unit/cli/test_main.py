"""The command line: help, unknown words, exit codes and start-up errors."""

from __future__ import annotations

import gc
import importlib.metadata
import re

import pytest

from spotalis.__main__ import main
from spotalis.cli.cluster_flags import add_connection_flags
from spotalis.cli.connect import OPERATOR_ADVICE, command_advice, explain_failure
from spotalis.cli.errors import CommandError
from spotalis.cli.main import COMMANDS, as_called, run
from spotalis.cli.parser import Parser
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.errors import ApiError, Forbidden, NotFound
from spotalis.model.transport import TransportError
from tests.support.manual_clock import ManualClock


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


FAILURES = [
    (Forbidden(403, message="no"), "SP003", "apply build/k8s/rbac.yaml", "kubectl auth can-i"),
    (NotFound(404, message="no"), "SP009", "apply build/k8s/install", "kubectl api-resources"),
    (ApiError(401, message="no"), "SP010", "renew the credentials", "renew the credentials"),
    (ConfigError("SP006", "no", fix="log in"), "SP006", "log in", "log in"),
    (ApiError(503, message="no"), "SP011", "check `kubectl get", "kubectl get --raw /readyz"),
    (TransportError("no"), "SP002", "check `kubectl get", "kubectl get --raw /readyz"),
]


@pytest.mark.parametrize(("error", "code", "fix", "fix_of_command"), FAILURES)
def test_a_failure_names_its_cause_and_a_fix_for_the_operator_and_for_commands(
    error: Exception, code: str, fix: str, fix_of_command: str
) -> None:
    parser = Parser("spotalis status", "")
    add_connection_flags(parser)
    advice = command_advice(parser.parse(["--context", "prod eu", "-s", "https://api:6443"]))
    for given, expected in ((OPERATOR_ADVICE, fix), (advice, fix_of_command)):
        access = ClusterAccess(server="https://api:6443")
        explained = explain_failure(access, given, ManualClock())
        with pytest.raises(CommandError) as caught, explained:
            raise error
        assert caught.value.code == code
        assert caught.value.fix.startswith(expected)
        if given is advice:
            assert "nothing was" not in str(caught.value)
            if expected.startswith("kubectl "):
                assert "--context 'prod eu' --server https://api:6443" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "as_plugin"),
    [
        ("fix: spotalis explain deploy/api", "fix: kubectl spotalis explain deploy/api"),
        ("or try: spotalis demo", "or try: kubectl spotalis demo"),
        ("fix: kubectl spotalis status -A", "fix: kubectl spotalis status -A"),
        ("the field manager spotalis wrote it", "the field manager spotalis wrote it"),
        ("kubectl -n spotalis-system get pods", "kubectl -n spotalis-system get pods"),
    ],
)
def test_a_fix_names_the_program_as_it_was_called(text: str, as_plugin: str) -> None:
    assert as_called(text, "kubectl spotalis") == as_plugin
    assert as_called(text, "spotalis") == text


@pytest.mark.parametrize("command", ["controller", "demo"])
def test_a_command_of_the_extra_names_the_package_and_how_to_install_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_without(arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(f"spotalis.cli.{command}.run", run_without)
    assert run(["spotalis", command]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error[SP045]: spotalis {command} needs the package aiohttp, which is not installed",
        "  spotalis without extras contains what the other commands need",
        "fix: pip install 'spotalis[controller]'",
    ]


def test_the_message_of_a_plugin_names_the_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kubectl-spotalis", "key", "spot-percentge"]) == 2
    assert capsys.readouterr().err.endswith("fix: kubectl spotalis key --list\n")


def test_a_command_that_ends_leaves_no_objects_for_the_last_garbage_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["spotalis", "version"])
    try:
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code, gc.get_freeze_count() > 0) == (0, True)
    finally:
        gc.unfreeze()
