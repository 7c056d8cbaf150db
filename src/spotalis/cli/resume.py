"""``spotalis resume``: allow moves again."""

from __future__ import annotations

import argparse

from spotalis.cli.pause import add_pause_flags, write_pause

DESCRIPTION = """\
Remove a pause from a workload, a namespace or, with --all, the whole cluster.

Examples:
  spotalis resume deploy/api -n shop
  spotalis resume --all"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_pause_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Resume.

    Raises:
        CommandError: nothing is named, or the API server rejects the change.
    """
    write_pause(arguments, None, None)
