"""Columns with labels, as those of `kubectl get -L` and `--show-labels`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from spotalis.cli.errors import usage_error


def add_label_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that select labels to show."""
    parser.add_argument(
        "-L",
        "--label-columns",
        action="append",
        default=[],
        metavar="LABELS",
        help="Labels to show, separated by commas, a column for each. May be repeated.",
    )
    parser.add_argument("--show-labels", action="store_true", help="Show all labels.")


def shows_labels(arguments: argparse.Namespace) -> bool:
    """Whether the table has columns with labels.

    Raises:
        CommandError: the output is not a table.
    """
    wanted = bool(arguments.label_columns or arguments.show_labels)
    if wanted and arguments.output not in ("table", "wide"):
        raise usage_error("-L and --show-labels need a table", "-o wide")
    return wanted


def label_headers(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The titles of the columns: as of kubectl, what follows the prefix of the label."""
    titles = (key.rpartition("/")[2].upper() for key in _keys(arguments))
    return (*titles, *(["LABELS"] if arguments.show_labels else []))


def label_cells(arguments: argparse.Namespace, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of one object."""
    cells = [labels.get(key, "") for key in _keys(arguments)]
    if arguments.show_labels:
        cells.append(",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>")
    return tuple(cells)


def _keys(arguments: argparse.Namespace) -> list[str]:
    return [key for text in arguments.label_columns for key in text.split(",") if key]
