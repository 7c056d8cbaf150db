"""``spotalis status``: where the replicas are, and whether that is right."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import (
    add_connection_flags,
    add_output_flags,
    add_selection_flags,
    run_inspection,
    select_workloads,
    style_of,
)
from spotalis.cli.errors import ExitCode, usage_error
from spotalis.cli.output import Style, dump, duration, split_bar, table, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spotalis.app.inspection import Inspection
    from spotalis.cli.views import WorkloadSplit
    from spotalis.model.environment import Clock
    from spotalis.model.objects import Workload

DESCRIPTION = """\
Show the split of each opted-in workload: replicas on on-demand and spot nodes,
as they are and as they are wanted, and the reason for any difference. Only
reads the cluster; Spotalis need not be installed.

Examples:
  spotalis status -A
  spotalis status deploy/api -n shop -o json
  spotalis status -A --by node
  spotalis status deploy/api --wait --timeout 5m"""

_COLORS = {"Balanced": "green", "InvalidPolicy": "red", "LedgerUnreadable": "red"}
HEADERS = ("NAME", "SPLIT", "ON-DEMAND", "SPOT", "STATUS", "AGE")
WIDE_HEADERS = ("PERCENT", "FLOOR", "PENDING", "MESSAGE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_selection_flags(parser)
    add_output_flags(parser)
    parser.add_argument(
        "--by",
        choices=("workload", "node"),
        default="workload",
        metavar="WHAT",
        help="workload or node. Default: workload.",
    )
    parser.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="Redraw the table at each change until Ctrl-C; in a pipe, print what has changed.",
    )
    parser.add_argument(
        "--wait", action="store_true", help="Wait until every selected workload is Balanced."
    )
    parser.add_argument("--timeout", default="0", metavar="TIME", help="Limit of --wait: 5m.")
    parser.add_argument(
        "--exit-code", action="store_true", help="Exit with 3 unless every workload is Balanced."
    )
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table.

    Raises:
        CommandError: a flag is invalid, or the cluster cannot be read.
    """
    if arguments.by == "node" and (arguments.names or arguments.wait or arguments.watch):
        raise usage_error("--by node accepts no names, no --wait and no --watch", "--by workload")
    if arguments.watch or arguments.wait:
        from spotalis.cli.watching import watch_status

        return watch_status(arguments)

    async def show(inspection: Inspection, namespace: str, clock: Clock) -> int:
        if arguments.by == "node":
            from spotalis.cli.nodes import print_nodes

            return print_nodes(arguments, inspection, clock)
        splits = await read_splits(arguments, inspection, namespace, clock)
        print_splits(arguments, splits, [str(right) for right in inspection.missing])
        if not splits and arguments.output in ("table", "wide"):
            tell(_none(inspection, namespace, everywhere=arguments.all_namespaces))
        off_target = any(split.status != "Balanced" for split in splits)
        return ExitCode.FINDINGS if arguments.exit_code and off_target else ExitCode.SUCCESS

    return run_inspection(arguments, show)


async def read_splits(
    arguments: argparse.Namespace, inspection: Inspection, namespace: str, clock: Clock
) -> list[WorkloadSplit]:
    """The splits of the selected workloads; without names, only of the opted-in ones."""
    from spotalis.cli.views import workload_split

    selected = await select_workloads(arguments, inspection, namespace)
    if not arguments.names:
        selected = [workload for workload in selected if _is_managed(inspection, workload)]
    return [workload_split(await inspection.plan(workload), clock.now()) for workload in selected]


def _is_managed(inspection: Inspection, workload: Workload) -> bool:
    from spotalis.controller.cluster import WorkloadKey

    key = WorkloadKey(workload.kind, workload.namespace, workload.name)
    return inspection.cluster.find_configuration(key) is not None


def print_splits(
    arguments: argparse.Namespace, splits: Sequence[WorkloadSplit], notes: list[str]
) -> None:
    """Print the splits in the selected format."""
    from spotalis.cli.views import WorkloadSplitList
    from spotalis.kube.resources import WORKLOADS

    match arguments.output:
        case "name":
            for split in splits:
                print(f"{split.type.lower()}.{WORKLOADS[split.type].group}/{split.name}")
        case "json" | "yaml":
            print(dump(WorkloadSplitList(items=list(splits), notes=notes), arguments.output))
        case _ if splits:
            print(split_table(arguments, splits, style_of(arguments)))


def split_table(
    arguments: argparse.Namespace, splits: Sequence[WorkloadSplit], style: Style
) -> str:
    """The splits as a table."""
    wide = arguments.output == "wide"
    headers = (*(["NAMESPACE"] if arguments.all_namespaces else []), *HEADERS)
    headers = (*headers, *WIDE_HEADERS) if wide else headers
    rows = [
        (
            *([split.namespace] if arguments.all_namespaces else []),
            split.short,
            split_bar(split, style) or "-",
            _share(split, split.have.on_demand, split.want.on_demand),
            _share(split, split.have.spot, split.want.spot),
            style.paint(split.status, _COLORS.get(split.status, "yellow")),
            "<unknown>" if split.age_seconds is None else duration(split.age_seconds),
            *(_wide(split) if wide else ()),
        )
        for split in splits
    ]
    return table(rows, headers=None if arguments.no_headers else headers)


def _share(split: WorkloadSplit, have: int, want: int) -> str:
    known = "spot-percentage" in split.policy and split.status != "InvalidPolicy"
    return f"{have}/{want if known else '-'}"


def _wide(split: WorkloadSplit) -> tuple[str, ...]:
    percent = split.policy.get("spot-percentage")
    floor = split.policy.get("min-on-demand")
    return (
        f"{percent.value}%" if percent else "-",
        floor.value if floor else "-",
        str(split.pending),
        split.message,
    )


def _none(inspection: Inspection, namespace: str, *, everywhere: bool) -> str:
    counts: dict[str, int] = {}
    for key in inspection.cluster.managed_keys():
        counts[key.namespace] = counts.get(key.namespace, 0) + 1
    here = "" if everywhere else f' in namespace "{namespace}"'
    if everywhere or not counts:
        return (
            f"No managed workloads{here}. "
            "A workload opts in with the label spotalis.io/enabled=true."
        )
    elsewhere = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    return f"No managed workloads{here}. Managed elsewhere: {elsewhere}. Try -A."
