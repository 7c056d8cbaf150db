"""``spotalis status --watch`` and ``--wait``: follow the cluster."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from spotalis.app.inspection import ClusterConnection, Inspection, follow
from spotalis.cli.cluster_flags import parse_seconds, run_connected, style_of
from spotalis.cli.errors import CommandError, ExitCode
from spotalis.cli.labels import shows_labels
from spotalis.cli.operator_settings import read_settings
from spotalis.cli.output import tell
from spotalis.cli.status import Splits, print_splits, read_splits, split_table
from spotalis.cli.views import WorkloadSplit

_CLEAR = "\x1b[H\x1b[2J"
"""Moves the cursor to the top left corner and erases the screen (ECMA-48, CUP and ED)."""
POLL_SECONDS = 0.5
"""How often the splits are computed from what the watches have delivered."""
LIST_POLL_SECONDS = 5.0
"""The same if the API server lists workloads each time: for ``--selector``, and for labels."""


def watch_status(arguments: argparse.Namespace) -> int:
    """Print every change of the selected workloads.

    With ``--wait``, until all of them are balanced.

    Raises:
        CommandError: a flag is invalid, or the cluster cannot be watched.
    """

    timeout = parse_seconds(arguments.timeout, "--timeout") or None

    async def follow_cluster(connection: ClusterConnection) -> int:
        settings = await read_settings(arguments, connection.client())
        async with follow(connection, settings) as inspection:
            try:
                async with asyncio.timeout(timeout):
                    return await print_changes(arguments, inspection, connection)
            except TimeoutError:
                tell(f"timed out after {arguments.timeout}: not every workload is Balanced")
                return ExitCode.TIMED_OUT

    return run_connected(arguments, follow_cluster)


async def print_changes(
    arguments: argparse.Namespace, inspection: Inspection, connection: ClusterConnection
) -> int:
    """Print the changes until every selected workload is balanced, or without ``--wait`` forever.

    Raises:
        ApiError, TransportError: the cluster cannot be read.
        CommandError: with ``--wait``, no workload is selected.
    """
    shown: dict[tuple[str, str], WorkloadSplit] = {}
    lists = bool(arguments.selector) or shows_labels(arguments)
    is_first, quiet = True, arguments.watch_only
    while True:
        splits = await read_splits(arguments, inspection, connection.namespace, connection.clock)
        changed = [split for split in splits.items if _differs(shown.get(_key(split)), split)]
        gone = shown.keys() - {_key(split) for split in splits.items}
        if not quiet and _redraws(arguments) and (changed or gone):
            print(_CLEAR + split_table(arguments, splits, style_of(arguments)), flush=True)
        elif not quiet and changed:
            _print(arguments, replace(splits, items=changed), first=is_first)
        is_first, quiet = is_first and (quiet or not changed), False
        shown.update({_key(split): split for split in changed})
        for key in gone:
            del shown[key]
        if arguments.wait and splits.items and all(s.status == "Balanced" for s in splits.items):
            return ExitCode.SUCCESS
        if arguments.wait and not splits.items:
            raise CommandError(
                code="SP042",
                what="no workload is selected, so --wait has nothing to wait for",
                fix="name a workload, or select another namespace with -n",
            )
        await asyncio.sleep(LIST_POLL_SECONDS if lists else POLL_SECONDS)


def _redraws(arguments: argparse.Namespace) -> bool:
    """A terminal shows the present table; a pipe gets a line for each change, as of kubectl."""
    tables = arguments.output in ("table", "wide")
    return tables and not arguments.wait and sys.stdout.isatty()


def _key(split: WorkloadSplit) -> tuple[str, str]:
    return split.namespace, split.short


def _differs(before: WorkloadSplit | None, after: WorkloadSplit) -> bool:
    return before is None or (before.have, before.want, before.ready, before.status) != (
        after.have,
        after.want,
        after.ready,
        after.status,
    )


def _print(arguments: argparse.Namespace, splits: Splits, *, first: bool) -> None:
    if arguments.output not in ("table", "wide"):
        print_splits(arguments, splits, [])
        return
    rows = argparse.Namespace(**vars(arguments))
    rows.no_headers = arguments.no_headers or not first
    print(split_table(rows, splits, style_of(arguments)), flush=True)
