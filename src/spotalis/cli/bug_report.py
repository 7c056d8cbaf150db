"""What a command reports if it fails because of a bug: a file with the traceback."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence

from spotalis import __version__
from spotalis.cli.errors import CommandError

SHOW = "SPOTALIS_TRACEBACK"
"""The environment variable with which the traceback is printed."""


def bug_report(
    error: Exception, command: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> CommandError:
    """The message about an unexpected error, once its traceback is in a file or on stderr.

    Args:
        error: what was raised.
        command: as it was called: ``spotalis status``.
        arguments: of the command; only the names of flags are written.
        environment: of the process.
    """
    flags = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    text = (
        f"spotalis {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{' '.join([command, *flags])}\n\n{''.join(traceback.format_exception(error))}"
    )
    path = None if environment.get(SHOW) or _is_verbose(arguments) else _write(text)
    if path is None:
        print(text, file=sys.stderr)
    return CommandError(
        code="SP900",
        what=f"{command} failed because of a bug in Spotalis",
        detail=(f"wrote {path}: the traceback, without arguments and credentials",) if path else (),
        fix="report the bug with "
        + (f"this file; to print the traceback: {SHOW}=1" if path else "the text above"),
    )


def _is_verbose(arguments: Sequence[str]) -> bool:
    """Whether ``-v`` is among them; they are not parsed, because that may be what failed."""
    names = ("-v", "--v")
    return any(word.partition("=")[0] in names or word[:2] == "-v" for word in arguments)


def _write(text: str) -> str | None:
    """Write a file that only the user can read; returns its path, None if that fails."""
    try:
        number, path = tempfile.mkstemp(prefix="spotalis-bug-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        return None
    return path
