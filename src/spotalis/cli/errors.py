"""Errors of the command line: one shape for every message, and the exit codes."""

from __future__ import annotations

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


class CommandError(Exception):
    """An error that the user can fix."""

    def __init__(
        self,
        *,
        code: str,
        what: str,
        detail: tuple[str, ...] = (),
        fix: str = "",
        exit_code: ExitCode = ExitCode.FAILED,
    ) -> None:
        """Create an error.

        Args:
            code: stable: ``SP002``.
            what: what is wrong, in one line.
            detail: what was tried, and what happens meanwhile.
            fix: one command or one edit.
            exit_code: of the process.
        """
        self.code, self.what, self.detail, self.fix = code, what, detail, fix
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}", *(f"  {line}" for line in self.detail)]
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


def usage_error(what: str, fix: str) -> CommandError:
    """The command line itself is wrong."""
    return CommandError(code="SP020", what=what, fix=fix, exit_code=ExitCode.USAGE)
