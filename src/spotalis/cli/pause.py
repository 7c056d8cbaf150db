"""``spotalis pause``: stop the moves of a workload, a namespace or the cluster."""

from __future__ import annotations

import argparse

from spotalis.cli.cluster_flags import add_connection_flags
from spotalis.cli.errors import usage_error
from spotalis.cli.names import WORKLOADS

DESCRIPTION = """\
Stop all evictions of a workload, a namespace or, with --all, of the cluster.
New pods are still placed. Without --for, the pause has no end.

Examples:
  spotalis pause deploy/api -n shop --for 2h
  spotalis pause ns/shop --reason "migration"
  spotalis pause --all                    # emergency stop"""

KINDS = (*WORKLOADS, "Namespace")
REASON = "spotalis.io/paused-reason"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_pause_flags(parser)
    parser.add_argument("--for", dest="span", default="", metavar="TIME", help="Such as 2h.")
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help=f"Kept in the annotation {REASON}."
    )


def add_pause_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that ``pause`` and ``resume`` share."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="TYPE/NAME",
        help="Workloads or namespaces: deploy/api, ns/shop.",
    )
    parser.add_argument("--all", action="store_true", help="The whole cluster.")
    parser.add_argument(
        "--dry-run", action="store_true", help="Let the API server check the change only."
    )
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Pause.

    Raises:
        CommandError: nothing is named, or the API server rejects the change.
    """
    from spotalis.app.clock import SystemClock
    from spotalis.model.durations import parse_duration
    from spotalis.model.policy_text import check_length
    from spotalis.model.timestamps import format_time

    until = "forever"
    if arguments.span:
        try:
            until = format_time(SystemClock().now() + parse_duration(arguments.span))
        except ValueError as error:
            raise usage_error(
                f"--for {error}", f"{arguments.command} deploy/NAME --for 2h"
            ) from None
    try:
        reason = check_length(arguments.reason)
    except ValueError as error:
        example = f"{arguments.command} deploy/NAME --reason migration"
        raise usage_error(f"--reason {error}", example) from None
    write_pause(arguments, until, reason or None)


def write_pause(arguments: argparse.Namespace, until: str | None, reason: str | None) -> None:
    """Write ``paused-until``, or remove it.

    Raises:
        CommandError: nothing is named, or the API server rejects the change.
    """
    from spotalis.cli.annotate import annotate, read_objects
    from spotalis.cli.names import Target

    if arguments.all and arguments.names:
        raise usage_error("--all and a name contradict each other", f"{arguments.command} --all")
    if arguments.all:
        targets = [Target("Namespace", arguments.operator_namespace)]
    else:
        targets = read_objects(arguments, KINDS)
    annotate(arguments, targets, {"spotalis.io/paused-until": until, REASON: reason})
