"""``spotalis status --watch`` and ``--wait``: follow the cluster."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from spotalis.app.inspection import Inspection, follow
from spotalis.cli.cluster_flags import Selection, run_with_transport, style_of
from spotalis.cli.errors import CommandError, ExitCode, usage_error
from spotalis.cli.output import tell
from spotalis.cli.status import print_splits, read_splits, split_table
from spotalis.cli.views import WorkloadSplit
from spotalis.model.durations import parse_duration

POLL_SECONDS = 0.5
"""How often the splits are computed from what the watches have delivered; costs no request."""


def watch_status(arguments: argparse.Namespace) -> int:
    """Print every change of the selected workloads.

    With ``--wait``, until all of them are balanced.

    Raises:
        CommandError: a flag is invalid, or the cluster cannot be watched.
    """
    timeout = _timeout(arguments)

    async def follow_cluster(selection: Selection) -> int:
        async with follow(selection.transport, **selection.options) as inspection:
            try:
                async with asyncio.timeout(timeout):
                    return await _print_changes(arguments, inspection, selection)
            except TimeoutError:
                tell(f"timed out after {arguments.timeout}: not every workload is Balanced")
                return ExitCode.TIMED_OUT

    return run_with_transport(arguments, follow_cluster)


def _timeout(arguments: argparse.Namespace) -> float | None:
    if arguments.timeout == "0":
        return None
    try:
        return parse_duration(arguments.timeout).total_seconds()
    except ValueError as error:
        raise usage_error(f"--timeout {error}", "--timeout 5m") from None


async def _print_changes(
    arguments: argparse.Namespace, inspection: Inspection, selection: Selection
) -> int:
    shown: dict[tuple[str, str], WorkloadSplit] = {}
    while True:
        splits = await read_splits(arguments, inspection, selection.namespace, selection.clock)
        changed = [split for split in splits if _differs(shown.get(_key(split)), split)]
        if changed:
            _print(arguments, changed, first=not shown)
            shown.update({_key(split): split for split in changed})
        if arguments.wait and splits and all(split.status == "Balanced" for split in splits):
            return ExitCode.SUCCESS
        if arguments.wait and not splits:
            raise CommandError(
                code="SP042",
                what="there is no workload to wait for",
                fix="name a workload, or select another namespace with -n",
            )
        await asyncio.sleep(POLL_SECONDS)


def _key(split: WorkloadSplit) -> tuple[str, str]:
    return split.namespace, split.short


def _differs(before: WorkloadSplit | None, after: WorkloadSplit) -> bool:
    return before is None or (before.have, before.want, before.ready, before.status) != (
        after.have,
        after.want,
        after.ready,
        after.status,
    )


def _print(arguments: argparse.Namespace, splits: Sequence[WorkloadSplit], *, first: bool) -> None:
    if arguments.output not in ("table", "wide"):
        print_splits(arguments, splits, [])
        return
    rows = argparse.Namespace(**vars(arguments))
    rows.no_headers = arguments.no_headers or not first
    print(split_table(rows, splits, style_of(arguments)), flush=True)
