"""argparse with Spotalis' error messages and a help layout that never breaks a flag."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import NoReturn

from spotalis.cli.errors import usage_error
from spotalis.model.suggestion import did_you_mean


def _terminal_width() -> int:
    """As argparse finds it: $COLUMNS, or the terminal, or 80; less 2.

    argparse loads shutil for this, and with it the compression libraries (4 ms).
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        return (os.get_terminal_size(sys.stdout.fileno()).columns or 80) - 2
    except (ValueError, OSError):  # no terminal
        return 78


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Each flag on a line of its own, its description indented below."""

    def __init__(self, prog: str, width: int | None = None) -> None:
        super().__init__(prog, max_help_position=6, width=width or _terminal_width())

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """Begin the usage line with a capital letter, like the other headings."""
        super().add_usage(usage, actions, groups, prefix or "Usage: ")

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = ", ".join(action.option_strings)
        return names if action.nargs in (0, "?") else f"{names} {action.metavar}"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class BooleanFlag(argparse.Action):
    """``--flag``, ``--flag=false`` and ``--no-flag``; stores the text ``true`` or ``false``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the text."""
        negated = (option_string or "").startswith("--no-")
        if negated and values is not None:
            parser.error(f"{option_string} takes no value")
        setattr(namespace, self.dest, values or ("false" if negated else "true"))


class Parser(argparse.ArgumentParser):
    """Parses the flags of one command."""

    def __init__(self, command: str, description: str) -> None:
        """Make a parser without flags.

        Args:
            command: as it is typed: ``spotalis controller``.
            description: shown above the flags as it is, at most 80 columns wide.
        """
        super().__init__(
            prog=command,
            description=description,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self._optionals.title = "Flags"
        self._positionals.title = "Arguments"
        self.add_argument("-h", "--help", action="help", help="Print this help.")

    def format_help(self, width: int | None = None) -> str:
        """The help, as wide as the terminal or ``width``."""
        names = [str(action.metavar) for action in self._actions if not action.option_strings]
        self.usage = " ".join([self.prog, *(f"[{name}]" for name in names), "[flags]"])
        if width is not None:
            self.formatter_class = lambda prog: HelpFormatter(prog, width)
        return super().format_help()

    @property
    def flags(self) -> list[str]:
        """Every flag, in all its spellings."""
        return list(self._option_string_actions)

    @property
    def takes_names(self) -> bool:
        """Whether arguments are ``TYPE/NAME``."""
        return any(str(action.metavar).startswith("TYPE/NAME") for action in self._actions)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments after the command.

        Raises:
            CommandError: they are not valid.
            SystemExit: after printing the help.
        """
        parsed, unknown = self.parse_known_args(list(arguments))
        if unknown:
            word, _, _ = unknown[0].partition("=")
            if not word.startswith("-"):
                self.error(f"unexpected argument '{word}'")
            hint = did_you_mean(word, self._option_string_actions, quote="")
            self.error(f"unknown flag {word}{hint}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Reject the command line.

        Raises:
            CommandError: always.
        """
        raise usage_error(f"{self.prog}: {message}", f"{self.prog} --help")
