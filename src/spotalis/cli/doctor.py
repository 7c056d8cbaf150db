"""``spotalis doctor``: check an installation, or a cluster before the installation."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import (
    add_connection_flags,
    add_output_flags,
    read_cluster,
    run_connected,
    style_of,
)
from spotalis.cli.errors import ExitCode
from spotalis.cli.output import Style, dump

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spotalis.app.inspection import ClusterConnection
    from spotalis.cli.operator_checks import Check

DESCRIPTION = """\
Check that Spotalis works in this cluster: the API server, your permissions, the
operator, its webhook and certificate, the nodes, the policies, and what can
block moves. Changes nothing; the webhook is tried by a dry run.

With --pre, check whether Spotalis can be installed. The exit code is 3 if a
check fails.

Examples:
  spotalis doctor --pre
  spotalis doctor
  spotalis doctor -o json"""

FORMATS = ("text", "json", "yaml")
_MARKS = {"ok": True, "failed": False, "warning": None, "unknown": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--pre", action="store_true", help="Check before the installation.")
    add_output_flags(parser, FORMATS)
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the results of the checks.

    Raises:
        CommandError: the cluster cannot be reached.
    """

    async def diagnose(connection: ClusterConnection) -> int:
        from msgspec.structs import replace

        from spotalis.cli.diagnosis import CheckList, Diagnosis
        from spotalis.cli.main import as_called

        client = connection.client()
        inspection = await read_cluster(arguments, connection)
        diagnosis = Diagnosis(inspection, client, arguments.operator_namespace)
        found = await (diagnosis.before_installation() if arguments.pre else diagnosis.installed())
        program = arguments.command.rpartition(" ")[0]
        checks = [replace(check, fix=as_called(check.fix, program)) for check in found]
        if arguments.output == "text":
            print("\n".join(_lines(checks, style_of(arguments))))
        else:
            print(dump(CheckList(items=checks), arguments.output))
        failed = any(check.state == "failed" for check in checks)
        return ExitCode.FINDINGS if failed else ExitCode.SUCCESS

    return run_connected(arguments, diagnose)


def _lines(checks: Sequence[Check], style: Style) -> Iterator[str]:
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{style.mark(_MARKS[check.state])} {check.name:<{width}}  {check.message}"
        if check.fix:
            yield f"  {'':<{width}}  fix: {check.fix}"
    counts = {state: sum(check.state == state for check in checks) for state in _MARKS}
    words = [f"{count} {state}" for state, count in counts.items() if count]
    yield f"{len(checks)} checks: {', '.join(words)}"
