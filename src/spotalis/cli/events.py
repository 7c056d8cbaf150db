"""``spotalis events``: what Spotalis has reported about workloads."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import (
    add_connection_flags,
    add_output_flags,
    add_selection_flags,
    run_connected,
    style_of,
)
from spotalis.cli.names import SHORT, read_targets
from spotalis.cli.output import dump, duration, table, tell

if TYPE_CHECKING:
    from spotalis.app.inspection import ClusterConnection
    from spotalis.cli.reported_events import ReportedEvent

DESCRIPTION = """\
Show the Events of Spotalis, oldest first. The API server keeps Events for one
hour unless it is configured otherwise.

Examples:
  spotalis events -A
  spotalis events deploy/api -n shop"""

FORMATS = ("table", "json", "yaml")
HEADERS = ("LAST-SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_selection_flags(parser, by_label=False)
    add_output_flags(parser, FORMATS)
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the Events.

    Raises:
        CommandError: a name is invalid, or the Events cannot be read.
    """
    targets = read_targets(arguments.names, arguments.command)

    async def show(connection: ClusterConnection) -> None:
        from spotalis.cli.reported_events import ReportedEventList, read_events

        namespace = "" if arguments.all_namespaces else connection.namespace
        found = await read_events(connection.client(), namespace)
        if targets:
            wanted = {(target.kind, target.name) for target in targets}
            found = [event for event in found if (event.type, event.name) in wanted]
        if arguments.output != "table":
            print(dump(ReportedEventList(items=found), arguments.output))
        elif found:
            print(_table(arguments, found, connection.clock.now()))
        else:
            tell("No Events of Spotalis found.")

    return run_connected(arguments, show)


def _table(arguments: argparse.Namespace, events: list[ReportedEvent], now: datetime) -> str:
    style = style_of(arguments)
    headers = ("NAMESPACE", *HEADERS) if arguments.all_namespaces else HEADERS
    rows = [
        (
            *([event.namespace] if arguments.all_namespaces else []),
            _age(event, now),
            style.paint(event.severity, "yellow" if event.severity == "Warning" else ""),
            event.reason,
            f"{SHORT.get(event.type, event.type.lower())}/{event.name}",
            event.message,
        )
        for event in events
    ]
    return table(rows, headers=None if arguments.no_headers else headers)


def _age(event: ReportedEvent, now: datetime) -> str:
    if event.last_seen is None:
        return "<unknown>"
    age = duration((now - event.last_seen).total_seconds())
    return f"{age} (x{event.count})" if event.count > 1 else age
