"""What went wrong, in the shape that every message of the command line has (interface B.4)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's end means to a script."""

    DONE = 0
    FAILED = 1
    """Could not do it: no API server, not allowed, a port in use."""
    USAGE = 2
    """The command line itself is wrong."""
    FINDINGS = 3
    """Done, and there is something to see to."""
    GAVE_UP = 4
    """Waited, and it did not come."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


@dataclass(kw_only=True, eq=False)
class Fault(Exception):
    """A reason to stop that the user can do something about."""

    code: str
    """Stable: ``SP002``."""
    what: str
    """What is wrong, in one line."""
    detail: tuple[str, ...] = ()
    """What was tried, what happens meanwhile."""
    fix: str = ""
    """One command or one edit."""
    exit_code: ExitCode = ExitCode.FAILED

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}", *(f"  {line}" for line in self.detail)]
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


def tell(fault: Fault) -> int:
    """Print a fault to stderr; its exit code."""
    print(fault, file=sys.stderr)
    return int(fault.exit_code)
