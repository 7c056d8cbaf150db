"""``spotalis demo``: watch Spotalis work, without a cluster, kubectl or a network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spotalis.cli.errors import CommandError

DESCRIPTION = """\
Run the real operator against an embedded cluster and print what happens when
spot nodes are reclaimed and when the policy changes. Takes about 15 s.

Examples:
  spotalis demo
  spotalis demo --stay --kubeconfig-out /tmp/demo.kubeconfig"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--kubeconfig-out",
        type=Path,
        metavar="FILE",
        help="Write a kubeconfig for the embedded cluster to this file, for use with kubectl.",
    )
    parser.add_argument(
        "--stay", action="store_true", help="Keep the cluster running afterwards, until Ctrl-C."
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=7,
        metavar="NUMBER",
        help="Seed of generated names and of choices between equals. Default: 7.",
    )
    parser.add_argument("--ascii", action="store_true", help="Draw bars with #, ~ and . only.")


def run(arguments: argparse.Namespace) -> None:
    """Play the demo.

    Raises:
        CommandError: a step did not end with the expected state, or a port or file is unusable.
    """
    import asyncio

    from spotalis.app import logs
    from spotalis.simulator.demo_script import DemoFailed

    logs.configure(sys.stderr, form="text", level="error")
    try:
        asyncio.run(_play(arguments))
    except DemoFailed as error:
        raise CommandError(
            code="SP040",
            what=f"the demo failed: {error}",
            fix="run it again; if it fails again, report it with the output above",
        ) from None
    except OSError as error:
        raise CommandError(
            code="SP041", what=f"the demo could not start: {error}", fix="see the line above"
        ) from None


async def _play(arguments: argparse.Namespace) -> None:
    import asyncio
    import random

    from spotalis.app.clock import SystemClock
    from spotalis.simulator.demo_cluster import demo_cluster
    from spotalis.simulator.demo_script import DemoScript, Step

    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    on_demand_cell, spot_cell, pending_cell = "█▒·" if is_utf8 and not arguments.ascii else "#~."
    kubeconfig: Path | None = arguments.kubeconfig_out

    def show(step: Step) -> None:
        have, (on_demand, spot) = step.measured, step.want
        cells = on_demand_cell * have.on_demand + spot_cell * have.spot
        cells += pending_cell * have.pending
        minutes, seconds = divmod(int(step.seconds), 60)
        print(f"\n{minutes:02}:{seconds:02}  {step.event}")
        print(
            f"       {cells:<12} {have.on_demand}/{on_demand} {have.spot}/{spot}  "
            f"{step.reason or '-':<14} {step.remark}",
            flush=True,
        )

    rng = random.Random(arguments.seed)  # noqa: S311  # names and ties, no secret
    async with demo_cluster(clock=SystemClock(), rng=rng, spot=3, on_demand=3) as cluster:
        print(
            f"Embedded cluster: 3 on-demand and 3 spot nodes with 4 CPUs each, API on {cluster.url}"
            "\nOperator and webhook are the real ones. Each line shows on-demand have/want, then "
            "spot.",
            flush=True,
        )
        if kubeconfig is not None:
            await asyncio.to_thread(kubeconfig.write_text, cluster.kubeconfig)
            print(f"Watch it: kubectl --kubeconfig {kubeconfig} get pods -o wide -w")
        async for step in DemoScript(cluster).play():
            show(step)
        print(f"\n{'ok' if arguments.ascii else '✔'} every step ended with the expected split")
        print("See what it would do with your cluster, which is only read:")
        print(f"  {sys.argv[0]} plan -A --all --set spot-percentage=70")
        if arguments.stay:
            print("The cluster keeps running until Ctrl-C.", flush=True)
            await asyncio.Event().wait()
