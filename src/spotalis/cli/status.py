"""``spotalis status``: where the replicas are, and whether that is right."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
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
from spotalis.cli.labels import add_label_flags, label_cells, label_headers, shows_labels
from spotalis.cli.output import Style, dump, duration, split_bar, table, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from spotalis.app.inspection import Inspection
    from spotalis.cli.autoscalers import Autoscaler
    from spotalis.cli.views import WorkloadSplit
    from spotalis.controller.cluster import WorkloadKey
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
WIDE_HEADERS = ("PERCENT", "FLOOR", "WAITING-FOR", "SCALED-BY", "LAST-MOVE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_selection_flags(parser)
    add_output_flags(parser)
    add_label_flags(parser)
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
        "--watch-only", action="store_true", help="As --watch, without the present state."
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
    follows = arguments.watch or arguments.watch_only or arguments.wait
    if arguments.by == "node" and (arguments.names or follows):
        raise usage_error("--by node accepts no names, no --wait and no --watch", "--by workload")
    shows_labels(arguments)
    if follows:
        from spotalis.cli.watching import watch_status

        return watch_status(arguments)

    async def show(inspection: Inspection, namespace: str, clock: Clock) -> int:
        if arguments.by == "node":
            from spotalis.cli.nodes import print_nodes

            return print_nodes(arguments, inspection, clock)
        splits = await read_splits(arguments, inspection, namespace, clock)
        print_splits(arguments, splits, [str(right) for right in inspection.missing])
        if not splits.items and arguments.output in ("table", "wide"):
            tell(_none(inspection, namespace, everywhere=arguments.all_namespaces))
        off_target = any(split.status != "Balanced" for split in splits.items)
        return ExitCode.FINDINGS if arguments.exit_code and off_target else ExitCode.SUCCESS

    return run_inspection(arguments, show)


@dataclass(frozen=True, slots=True)
class Splits:
    """What is printed."""

    items: Sequence[WorkloadSplit]
    at: datetime
    labels: Mapping[WorkloadKey, Mapping[str, str]]
    """Empty unless they are shown."""


async def read_splits(
    arguments: argparse.Namespace, inspection: Inspection, namespace: str, clock: Clock
) -> Splits:
    """The splits of the selected workloads; without names, only of the opted-in ones."""
    from spotalis.cli.views import workload_split
    from spotalis.controller.cluster import key_of

    scope = "" if arguments.all_namespaces else namespace

    selected = await select_workloads(arguments, inspection, namespace)
    if not arguments.names:
        selected = [workload for workload in selected if _is_managed(inspection, workload)]
    autoscalers: Mapping[WorkloadKey, Autoscaler] = {}
    if arguments.output in ("wide", "json", "yaml"):
        from spotalis.cli.autoscalers import read_autoscalers

        autoscalers = await read_autoscalers(inspection, scope)
    labels: Mapping[WorkloadKey, Mapping[str, str]] = {}
    if shows_labels(arguments):
        from spotalis.cli.workload_labels import read_labels

        labels = await read_labels(inspection, scope)
    found = [
        workload_split(await inspection.plan(one), clock.now(), autoscalers.get(key_of(one)))
        for one in selected
    ]
    return Splits(found, clock.now(), labels)


def _is_managed(inspection: Inspection, workload: Workload) -> bool:
    from spotalis.controller.cluster import key_of

    return inspection.cluster.find_configuration(key_of(workload)) is not None


def print_splits(arguments: argparse.Namespace, splits: Splits, notes: list[str]) -> None:
    """Print the splits in the selected format."""
    from spotalis.cli.views import WorkloadSplitList
    from spotalis.kube.resources import WORKLOADS

    match arguments.output:
        case "name":
            for split in splits.items:
                print(f"{split.type.lower()}.{WORKLOADS[split.type].group}/{split.name}")
        case "json" | "yaml":
            items = list(splits.items)
            print(dump(WorkloadSplitList(items=items, notes=notes), arguments.output))
        case _ if splits.items:
            print(split_table(arguments, splits, style_of(arguments)))


def split_table(arguments: argparse.Namespace, splits: Splits, style: Style) -> str:
    """The splits as a table."""
    from spotalis.controller.cluster import WorkloadKey

    wide = arguments.output == "wide"
    headers = (*(["NAMESPACE"] if arguments.all_namespaces else []), *HEADERS)
    headers = (*headers, *(WIDE_HEADERS if wide else ()), *label_headers(arguments))
    rows = []
    for split in splits.items:
        key = WorkloadKey(split.type, split.namespace, split.name)
        rows.append(
            (
                *([split.namespace] if arguments.all_namespaces else []),
                split.short,
                split_bar(split, style) or "-",
                _share(split, split.have.on_demand, split.want.on_demand),
                _share(split, split.have.spot, split.want.spot),
                style.paint(split.status, _COLORS.get(split.status, "yellow")),
                "<unknown>" if split.age_seconds is None else duration(split.age_seconds),
                *(_wide(split, splits.at) if wide else ()),
                *label_cells(arguments, splits.labels.get(key, {})),
            )
        )
    return table(rows, headers=None if arguments.no_headers else headers)


def _share(split: WorkloadSplit, have: int, want: int) -> str:
    known = "spot-percentage" in split.policy and split.status != "InvalidPolicy"
    return f"{have}/{want if known else '-'}"


def _wide(split: WorkloadSplit, now: datetime) -> tuple[str, ...]:
    percent = split.policy.get("spot-percentage")
    floor = split.policy.get("min-on-demand")
    return (
        f"{percent.value}%" if percent else "-",
        floor.value if floor else "-",
        split.waiting_for or "-",
        split.scaled_by.name if split.scaled_by else "-",
        _ago(split.last_move_at, now),
    )


def _ago(at: datetime | None, now: datetime) -> str:
    return "-" if at is None else duration((now - at).total_seconds())


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
