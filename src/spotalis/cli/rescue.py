"""``spotalis rescue``: release pods that wait for spot while no operator runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.cluster_flags import add_connection_flags, run_connected

if TYPE_CHECKING:
    from spotalis.app.inspection import ClusterConnection

DESCRIPTION = """\
Delete the pods that Spotalis has sent to spot and that have been Pending for 10
minutes, if no instance of the operator has renewed its Lease for 10 minutes.
Their controllers create new pods, which run on any node. Without this, such
pods wait until a spot node comes or the operator runs again.

build/k8s/optional/rescue.yaml runs this every 5 minutes.

Examples:
  spotalis rescue --dry-run
  spotalis rescue"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--dry-run", action="store_true", help="Only name the pods.")
    parser.add_argument(
        "--lease-name",
        default="",
        metavar="NAME",
        help="Lease of the operator. Default: that in its settings.",
    )
    add_connection_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Release the pods, and print which.

    Raises:
        CommandError: a request failed.
    """

    async def release(connection: ClusterConnection) -> None:
        from spotalis.cli.operator_settings import read_settings
        from spotalis.controller.rescue import rescue

        client, lease = connection.client(), arguments.lease_name
        if not lease:
            lease = (await read_settings(arguments, client)).leader_election.lease_name
        found = await rescue(
            client,
            namespace=arguments.operator_namespace,
            lease=lease,
            dry_run=arguments.dry_run,
        )
        print(found.leader)
        for pod in found.released:
            print(f"pod/{pod.name} in {pod.namespace} {'would be ' * arguments.dry_run}deleted")

    return run_connected(arguments, release)
