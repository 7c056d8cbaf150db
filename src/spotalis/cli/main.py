"""The command line: find the command, run it, and report expected failures as messages."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from spotalis.cli.errors import CommandError, ExitCode, usage_error

GROUPS = {
    "See": {
        "status": "Show where the replicas are, and whether that is right.",
        "explain": "Explain a workload, a pod, a node or a namespace.",
        "plan": "Show the moves to come, in order; makes none.",
        "events": "Show what Spotalis has reported.",
    },
    "Steer": {
        "set": "Change the policy of a workload or namespace.",
        "pause": "Stop the moves of a workload, a namespace or the cluster.",
        "resume": "Allow moves again.",
    },
    "Check": {
        "validate": "Check manifests, for example in CI.",
        "doctor": "Check the installation, or a cluster before it.",
    },
    "Learn": {
        "demo": "Watch Spotalis work on an embedded cluster (15 s).",
        "key": "Describe the labels and annotations.",
        "completion": "Print the completion script of a shell.",
        "version": "Print the version.",
    },
    "Run": {
        "controller": "Run the operator against a cluster.",
        "rescue": "Release pods that wait for spot while no operator runs.",
        "config": "Print the settings of the operator, or their schema.",
    },
}
"""Each is a module of this package; it is imported only when its command runs."""
COMMANDS = [name for group in GROUPS.values() for name in group]
OPERATOR_PACKAGES = ("aiohttp", "cryptography", "prometheus_client")
"""What the extra ``controller`` in pyproject.toml installs."""
EXAMPLES = {
    "status -A": "what is where, and is it right?",
    "explain deploy/api": "why is it like that?",
    "plan -A": "what would be moved?",
    "validate k8s/": "are the manifests right?",
    "demo": "see it work, without a cluster",
}


def program_name(argv0: str) -> str:
    """How the user has called the program: ``spotalis`` or ``kubectl spotalis``."""
    return "kubectl spotalis" if os.path.basename(argv0).startswith("kubectl-") else "spotalis"


def root_help(program: str) -> str:
    """The help without a command."""
    examples = [f"  {program + ' ' + text:<38}{why}".rstrip() for text, why in EXAMPLES.items()]
    groups = [
        line
        for title, commands in GROUPS.items()
        for line in (f"{title}:", *(f"  {name:<12}{text}" for name, text in commands.items()), "")
    ]
    return "\n".join(
        [
            "Keep workloads split between spot and on-demand nodes.",
            "",
            *examples,
            "",
            *groups,
            f"Run `{program} COMMAND --help` for the flags of a command.",
        ]
    )


def as_called(text: str, program: str) -> str:
    """Replace ``spotalis COMMAND`` in a text by what the user has to type."""
    if program == "spotalis":
        return text
    import re

    return re.sub(rf"(?<!kubectl )\bspotalis (?=({'|'.join(COMMANDS)})\b)", f"{program} ", text)


def run(argv: Sequence[str]) -> int:
    """Run a command line, program name first, and return the exit code."""
    program = program_name(argv[0])
    try:
        return _run(program, argv[1:])
    except CommandError as error:
        return _fail(error, program)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout closed it. Point stdout elsewhere so that Python's final flush
        # does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except Exception as error:
        if argv[1:2] == ["controller"]:
            raise  # its log is where the traceback belongs
        from spotalis.cli.bug_report import bug_report

        command = " ".join([program, *argv[1:2]])
        return _fail(bug_report(error, command, argv[2:], os.environ), program)


def _fail(error: CommandError, program: str) -> int:
    print(as_called(str(error), program), file=sys.stderr)
    return error.exit_code


@contextlib.contextmanager
def _without_notes(*, quiet: bool) -> Iterator[None]:
    """With ``--quiet``, print nothing on stderr but the error with which the command ends."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _run(program: str, arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help") and not rest:
        print(root_help(program))
        return ExitCode.SUCCESS
    if name == "help":
        name, rest = rest[0], ["--help"]
    if name == "--version":
        name, rest = "version", []
    if name not in COMMANDS:
        from spotalis.model.suggestion import did_you_mean

        hint = did_you_mean(name, COMMANDS, quote="'")
        kind = "flag" if name.startswith("-") else "command"
        raise usage_error(f"unknown {kind} '{name}'{hint}", f"{program} --help")

    from spotalis.cli.parser import Parser

    command = import_module(f"spotalis.cli.{name}")
    parser = Parser(f"{program} {name}", as_called(command.DESCRIPTION, program))
    parser.set_defaults(command=f"{program} {name}")
    command.add_arguments(parser)
    try:
        parsed = parser.parse(rest)
    except SystemExit:  # the help was printed
        return ExitCode.SUCCESS
    try:
        with _without_notes(quiet=getattr(parsed, "quiet", False)):
            return command.run(parsed) or ExitCode.SUCCESS
    except ModuleNotFoundError as error:
        if error.name not in OPERATOR_PACKAGES:
            raise
        raise CommandError(
            code="SP045",
            what=f"{program} {name} needs the package {error.name}, which is not installed",
            detail=("spotalis without extras contains what the other commands need",),
            fix="pip install 'spotalis[controller]'",
        ) from None
