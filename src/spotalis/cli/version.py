"""``spotalis version``."""

from __future__ import annotations

import argparse
import json
import sys

from spotalis import __version__

DESCRIPTION = "Print the version."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        metavar="FORMAT",
        help="Output format: text or json. Default: text.",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the version of Spotalis and of Python."""
    python = ".".join(map(str, sys.version_info[:3]))
    if arguments.output == "json":
        print(json.dumps({"version": __version__, "python": python}))
    else:
        print(f"spotalis {__version__} (Python {python})")
