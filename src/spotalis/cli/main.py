"""The command line: find the command, run it, turn every expected failure into a message."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError, UnknownOptionError

from spotalis import __version__
from spotalis.cli.faults import ExitCode, Fault, tell

HELP = """Keep workloads split between spot and on-demand nodes.

  spotalis demo                see it work in 30 s, no cluster needed
  spotalis controller          run the operator against a cluster
  spotalis config --show       every setting in force, and where it comes from
  spotalis version             print the version

Run `spotalis COMMAND --help` for flags."""


COMMANDS = ("config", "controller", "demo", "version")


def application() -> App:
    """The command tree; each command imports what it needs when it runs."""
    app = App(
        name="spotalis",
        help=HELP,
        help_format="plaintext",
        version=__version__,
        version_flags=["--version"],
        help_flags=["--help", "-h"],
    )
    for name in COMMANDS:
        app.command(f"spotalis.cli.{name}:{name}", name=name)
    return app


def run(argv: Sequence[str]) -> int:
    """Run one command line, program name first; the exit code."""
    app = application()
    try:
        result = app(
            list(argv[1:]),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except Fault as fault:
        return tell(fault)
    except CycloptsError as error:
        return tell(_usage(app, error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has closed it: point stdout elsewhere, or its flush complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    return int(result or 0)


def _usage(app: App, error: CycloptsError) -> Fault:
    """A wrong command line, in our shape."""
    name = " ".join(error.command_chain or ())
    command = f"spotalis {name}".strip()
    fix = f"{command} --help"
    if isinstance(error, UnknownOptionError) and error.token is not None:
        token = error.token.keyword or error.token.value
        what = f"unknown flag {token} for `{command}`"
        collection = error.argument_collection or ()
        known = [n for argument in collection for n in argument.names]
        close = difflib.get_close_matches(token, known, n=1)
        return _fault(what + (f"; did you mean {close[0]}?" if close else ""), fix)
    if isinstance(error, UnknownCommandError):
        word = error.unused_tokens[0] if error.unused_tokens else ""
        close = difflib.get_close_matches(word, COMMANDS, n=1)
        what = f"unknown command '{word}'" + (f"; did you mean '{close[0]}'?" if close else "")
        return _fault(what, fix)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "bad usage")
    return _fault(first, fix)


def _fault(what: str, fix: str) -> Fault:
    return Fault(code="SP020", what=what, fix=fix, exit_code=ExitCode.USAGE)
