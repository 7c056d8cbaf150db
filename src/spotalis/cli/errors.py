"""Errors of the command line: one shape for every message, and the exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; listed in docs/reference/exit-codes.md."""

    SUCCESS = 0
    FAILED = 1
    """The command could not do its work: no API server, no permission, a port in use."""
    USAGE = 2
    """A flag, a setting or the command itself is wrong."""
    FINDINGS = 3
    """The command has done its work and found something to report."""
    TIMED_OUT = 4
    """The command has waited and given up."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


@dataclass(kw_only=True, eq=False)
class CommandError(Exception):
    """An error that the user can fix."""

    code: str
    """Stable: ``SP002``."""
    what: str
    """What is wrong, in one line."""
    detail: tuple[str, ...] = ()
    """What was tried, and what happens meanwhile."""
    fix: str = ""
    """One command or one edit."""
    exit_code: ExitCode = ExitCode.FAILED

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}", *(f"  {line}" for line in self.detail)]
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


def usage_error(what: str, fix: str) -> CommandError:
    """The command line itself is wrong."""
    return CommandError(code="SP020", what=what, fix=fix, exit_code=ExitCode.USAGE)
