"""The command line: find the command, run it, and report expected failures as messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from spotalis.cli.errors import CommandError, ExitCode, usage_error

COMMANDS = {
    "demo": "Watch Spotalis work on an embedded cluster (takes 30 s).",
    "preview": "Print what Spotalis would do with a cluster; writes nothing.",
    "controller": "Run the operator against a cluster.",
    "config": "Print the effective settings, or the schema of the settings file.",
    "version": "Print the version.",
}
"""Each is a module of this package; it is imported only when its command runs."""

HELP = f"""Keep workloads split between spot and on-demand nodes.

Usage: spotalis COMMAND [flags]

Commands:
{chr(10).join(f"  {name:<12}{summary}" for name, summary in COMMANDS.items())}

Examples:
  spotalis demo                        # see Spotalis handle a spot interruption
  spotalis preview                     # what it would do; writes nothing
  spotalis config --show               # every setting, its value and its source

Run `spotalis COMMAND --help` for the flags of a command."""


def run(argv: Sequence[str]) -> int:
    """Run a command line, program name first, and return the exit code."""
    try:
        return _run(argv[1:])
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout closed it. Point stdout elsewhere so that Python's final flush
        # does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE


def _run(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        print(HELP)
        return ExitCode.SUCCESS
    if name == "--version":
        name, rest = "version", []
    if name not in COMMANDS:
        from spotalis.model.suggestion import did_you_mean

        hint = did_you_mean(name, COMMANDS, quote="'")
        kind = "flag" if name.startswith("-") else "command"
        raise usage_error(f"unknown {kind} '{name}'{hint}", "spotalis --help")

    from spotalis.cli.parser import Parser

    command = import_module(f"spotalis.cli.{name}")
    parser = Parser(f"spotalis {name}", command.DESCRIPTION)
    command.add_arguments(parser)
    try:
        parsed = parser.parse(rest)
    except SystemExit:  # the help was printed
        return ExitCode.SUCCESS
    command.run(parsed)
    return ExitCode.SUCCESS
