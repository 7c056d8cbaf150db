"""``spotalis plan``: the moves that the operator would make, in order; makes none."""

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
from spotalis.cli.output import Style, counted, dump, duration, missing, split_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spotalis.app.inspection import Inspection
    from spotalis.cli.views import PlannedMove, WorkloadPlan
    from spotalis.model.environment import Clock

DESCRIPTION = """\
Show the moves that Spotalis would make, in order, with what delays or blocks
them. Changes nothing; Spotalis need not be installed.

The forecast assumes that nothing else changes, and that each replacement is
ready after the median start time of the workload's replicas.

Examples:
  spotalis plan -A
  spotalis plan deploy/api -n shop --set spot-percentage=90
  spotalis plan -A --all --set spot-percentage=70
  spotalis plan -R -f k8s/                  # what would these manifests change?
  spotalis plan -A --check                  # exit code 3 if there are moves"""

FORMATS = ("text", "json", "yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_selection_flags(parser)
    add_output_flags(parser, FORMATS)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="Try this value of the policy instead. May be repeated; KEY without spotalis.io/.",
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="Try the labels and annotations of these manifests: a file, a directory, or -.",
    )
    parser.add_argument(
        "-R", "--recursive", action="store_true", help="-f also reads directories in directories."
    )
    parser.add_argument(
        "--all", action="store_true", help="Also workloads that have not opted in. Needs --set."
    )
    parser.add_argument("--check", action="store_true", help="Exit with 3 if there are moves.")
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan.

    Raises:
        CommandError: a flag is invalid, or the cluster cannot be read.
    """
    changes = _changes(arguments)
    if arguments.filename and (arguments.names or arguments.all or arguments.selector):
        raise usage_error("-f selects the workloads itself", f"{arguments.command} -R -f k8s/")
    if arguments.all and "spot-percentage" not in changes:
        raise usage_error("--all needs a policy to try", "--set spot-percentage=70")

    async def show(inspection: Inspection, namespace: str, clock: Clock) -> int:
        plans = await read_plans(arguments, changes, inspection, namespace, clock)
        if arguments.output == "text":
            print(plan_text(plans, style_of(arguments)))
        else:
            from spotalis.cli.views import WorkloadPlanList

            notes = [str(right) for right in inspection.missing]
            print(dump(WorkloadPlanList(items=plans, notes=notes), arguments.output))
        moves = any(plan.moves for plan in plans)
        return ExitCode.FINDINGS if arguments.check and moves else ExitCode.SUCCESS

    return run_inspection(arguments, show)


def _changes(arguments: argparse.Namespace) -> dict[str, str]:
    from spotalis.model.policy_values import KEYS
    from spotalis.model.suggestion import did_you_mean

    changes = {}
    for text in arguments.changes:
        key, equals, value = text.partition("=")
        key = key.removeprefix("spotalis.io/")
        if not equals:
            raise usage_error(f"--set needs KEY=VALUE, not '{text}'", "--set spot-percentage=70")
        if key not in KEYS:
            hint = did_you_mean(key, KEYS, quote="'")
            raise usage_error(f"'{key}' is not a key of the policy{hint}", "spotalis key --list")
        changes[key] = value
    return changes


async def read_plans(
    arguments: argparse.Namespace,
    changes: dict[str, str],
    inspection: Inspection,
    namespace: str,
    clock: Clock,
) -> list[WorkloadPlan]:
    """The forecasts of the selected workloads, those with moves first."""
    from spotalis.cli.views import workload_plan, workload_split
    from spotalis.planner.forecast import forecast, start_time_of

    if arguments.filename:
        from spotalis.cli.overlay import overlay

        selected = overlay(arguments.filename, inspection, namespace, recursive=arguments.recursive)
    else:
        selected = await select_workloads(arguments, inspection, namespace)
    plans = []
    for workload in selected:
        enable = arguments.all or bool(arguments.names and changes)
        configuration = inspection.configuration_of(workload, changes, enable=enable)
        if not (configuration.enabled or configuration.problems or arguments.names):
            continue
        plan = await inspection.plan(workload, configuration)
        now = clock.now()
        found = forecast(plan.observed, now, start_time_of(plan.observed.replicas))
        split = workload_split(plan, now)
        plans.append(workload_plan(split, found, plan.observed.budgets))
    return sorted(plans, key=lambda plan: not plan.moves)


def plan_text(plans: Sequence[WorkloadPlan], style: Style) -> str:
    """The plans in words."""
    quiet = [plan for plan in plans if plan.end == "Balanced" and not plan.moves]
    lines = [line for plan in plans if plan not in quiet for line in _plan_lines(plan, style)]
    moving = [plan for plan in plans if plan.moves]
    moves = sum(len(plan.moves) for plan in moving)
    longest = max((plan.duration_seconds for plan in moving), default=0.0)
    stopped = [plan for plan in plans if plan.end != "Balanced"]
    if quiet:
        lines.append(f"{counted(len(quiet), 'workload')} balanced, without moves")
    total = "no moves"
    if moves:
        total = f"{counted(moves, 'move')} in {counted(len(moving), 'workload')}, "
        total += f"about {duration(longest)}"
    if stopped:
        total += f"; {counted(len(stopped), 'workload')} not balanced afterwards"
    return "\n".join([*lines, f"Plan: {total}. Nothing was changed."])


def _gates(move: PlannedMove) -> str:
    """What a move waits for, as the end of its line: ``  after pod/web-1, if pdb/web allows``."""
    earlier = [gate for gate in move.gates if gate.startswith("pod/")]
    budgets = [gate for gate in move.gates if gate not in earlier]
    words = []
    if move.waits_for:
        words.append(f"after {move.waits_for}")
    elif earlier:
        more = f" and {len(earlier) - 1} more" if len(earlier) > 1 else ""
        words.append(f"after {earlier[0]}{more}")
    if budgets:
        words.append(f"if {' and '.join(budgets)} allows")
    return f"  {', '.join(words)}" if words else ""


def _plan_lines(plan: WorkloadPlan, style: Style) -> Iterator[str]:
    split = plan.split
    name = f"{split.namespace}/{split.short}"
    before = split_bar(split, style)
    if not plan.moves:
        yield f"{name}  {before}  no moves; {plan.end}: {plan.end_message}"
        return
    to_spot = sum(move.target == "spot" for move in plan.moves)
    shift = to_spot - (len(plan.moves) - to_spot)
    on_demand, spot = split.have.on_demand - shift, split.have.spot + shift
    after = style.bar(max(0, on_demand), max(0, spot), missing(split))
    words = [
        f"{count} to {target}"
        for count, target in ((to_spot, "spot"), (len(plan.moves) - to_spot, "on-demand"))
        if count
    ]
    yield style.paint(f"{name}  {before} => {after}  move {', '.join(words)}", "bold")
    width = max(len(move.pod) for move in plan.moves)
    for number, move in enumerate(plan.moves, 1):
        line = f"  {number:>2}  +{duration(move.after_seconds):<5}  evict {move.pod:<{width}}"
        line += f"  from {move.node}" if move.node else "  (no node yet)"
        line += "  as a probe" if move.probe else ""
        yield line + _gates(move)
    if plan.end != "Balanced":
        yield f"      then {plan.end}: {plan.end_message}"
