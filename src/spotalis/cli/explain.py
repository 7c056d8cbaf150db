"""``spotalis explain``: why a workload, a pod, a node or a namespace is as it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import (
    OPERATOR_NAMESPACE,
    add_connection_flags,
    add_output_flags,
    run_inspection,
    style_of,
)
from spotalis.cli.errors import usage_error

if TYPE_CHECKING:
    from spotalis.app.inspection import Inspection
    from spotalis.model.environment import Clock

DESCRIPTION = """\
Explain why a workload, a pod, a node or a namespace is as it is: the policy and
where each value comes from, the arithmetic, each condition for moves, and what
happens next. Only reads the cluster; Spotalis need not be installed.

Examples:
  spotalis explain deploy/api -n shop
  spotalis explain pod/api-7d4b9-x2x8p -n shop
  spotalis explain node/ip-10-0-1-4
  spotalis explain ns/shop"""

KINDS = ("Deployment", "StatefulSet", "Rollout", "Pod", "Node", "Namespace")
FORMATS = ("text", "json", "yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "names", nargs="*", metavar="TYPE/NAME", help="deploy, sts, pod, node or ns, and a name."
    )
    add_output_flags(parser, FORMATS)
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation.

    Raises:
        CommandError: the object does not exist, or the cluster cannot be read.
    """
    from spotalis.cli.names import read_targets

    targets = read_targets(arguments.names, arguments.command, KINDS)
    if len(targets) != 1:
        raise usage_error("name one object", f"{arguments.command} deploy/NAME")
    target = targets[0]

    async def show(inspection: Inspection, namespace: str, clock: Clock) -> None:
        from spotalis.cli.connect import repeated_flags
        from spotalis.cli.explanation_text import lines_of
        from spotalis.cli.explanations import Explainer
        from spotalis.cli.main import as_called
        from spotalis.cli.output import dump

        flags = repeated_flags(arguments)
        if arguments.operator_namespace != OPERATOR_NAMESPACE:
            flags += f" --operator-namespace {arguments.operator_namespace}"
        facts = await Explainer(inspection, namespace, clock, flags).facts(target)
        program = arguments.command.rpartition(" ")[0]
        if arguments.output == "text":
            text = "\n".join(lines_of(facts, style_of(arguments), clock.now()))
        else:
            text = dump(facts, arguments.output)
        print(as_called(text, program))

    return run_inspection(arguments, show)
