"""``spotalis preview``: what the operator would do with a cluster, without any write."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from spotalis.cli.setting_flags import add_setting_flags, load, sources

if TYPE_CHECKING:
    from spotalis.controller.result import ReconcileResult

DESCRIPTION = """\
Print what Spotalis would do with each opted-in workload of a cluster. Only
reads: no Lease, no Event, no webhook, no open port, and no namespace needed.

Examples:
  spotalis preview
  spotalis preview --context staging --watch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--kubeconfig", default="", metavar="FILE", help="Kubeconfig file.")
    parser.add_argument(
        "--context", default="", metavar="NAME", help="Context. Default: the current one."
    )
    parser.add_argument(
        "--watch", action="store_true", help="Continue until Ctrl-C, and print every change."
    )
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the preview.

    Raises:
        CommandError: a setting is invalid, or the API server cannot be read.
    """
    settings = load(sources(arguments)).settings

    import asyncio
    import os
    import random
    import sys

    from spotalis.app import logs
    from spotalis.app.clock import SystemClock
    from spotalis.app.preview import preview
    from spotalis.cli.connect import connect, explain_startup_failure
    from spotalis.kube.http import HttpTransport

    logs.configure(sys.stderr, form="text", level="error")
    access = connect(os.environ, kubeconfig=arguments.kubeconfig, context=arguments.context)
    print(f"Reading {access.server}; nothing is written", flush=True)

    async def show() -> int:
        clock = SystemClock()
        transport = HttpTransport(access, clock=clock, replica="preview")
        try:
            return await preview(
                transport,
                settings=settings.controller,
                clock=clock,
                rng=random.Random(),  # noqa: S311  # jitter, no secret
                show=lambda result: print(line(result), flush=True),
                watch=arguments.watch,
            )
        finally:
            await transport.close()

    with explain_startup_failure(access.server):
        count = asyncio.run(show())
    if not count:
        print("No workload has the label spotalis.io/enabled=true yet.")


def line(result: ReconcileResult) -> str:
    """One workload in words."""
    key, state = result.key, result.state
    have = f"{state.on_demand} on-demand + {state.spot} spot"
    want = f"{state.desired_on_demand} + {state.desired_spot}"
    return (
        f"{key.kind.lower()} {key.namespace}/{key.name}: {have}, wanted {want}; "
        f"{result.reason}: {result.decision.message}"
    )
