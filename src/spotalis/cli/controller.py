"""``spotalis controller``: run the operator against a cluster."""

from __future__ import annotations

import argparse
from typing import Literal

from spotalis.cli.setting_flags import add_setting_flags, load, sources

DESCRIPTION = """\
Run the operator until SIGTERM or SIGINT. SIGHUP reloads the log levels.

Every setting is a key of the settings file, an environment variable and a flag.
Below are the flags that are used most; `spotalis config --show` lists all
settings, and docs/reference/configuration.md describes them.

On the first signal Spotalis stops evictions, drains the webhook and releases
the lease within 15 s, then exits with code 0. A second signal terminates it
at once. Exit code 1: the operator could not start or failed. Exit code 2: a
flag or a setting is invalid.

Examples:
  spotalis controller --config spotalis.yaml
  spotalis controller --context staging --no-leader-election
  spotalis controller --log-format text --log-level debug"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--kubeconfig",
        default="",
        metavar="FILE",
        help="Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod's service account.",
    )
    parser.add_argument(
        "--context",
        default="",
        metavar="NAME",
        help="Context of the kubeconfig. Default: its current context.",
    )
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the operator.

    Raises:
        CommandError: the settings are invalid, or the operator cannot start.
    """
    read_from = sources(arguments)
    loaded = load(read_from)

    import asyncio
    import os
    import sys

    from spotalis.app import logs
    from spotalis.app.clock import SystemClock
    from spotalis.app.process import Process
    from spotalis.app.reload import Reloader
    from spotalis.cli.connect import OPERATOR_ADVICE, connect, explain_failure

    settings = loaded.settings
    options = settings.logging
    form: Literal["json", "text"] = "text" if options.format == "text" else "json"
    logs.configure(sys.stderr, form=form, level=options.level, levels=options.levels)
    access = connect(os.environ, kubeconfig=arguments.kubeconfig, context=arguments.context)

    async def serve() -> None:
        process = Process(
            access,
            settings.controller,
            settings.serving,
            on_sighup=Reloader(read_from, loaded),
        )
        await process.run()

    with explain_failure(access, OPERATOR_ADVICE, SystemClock()):
        asyncio.run(serve())
