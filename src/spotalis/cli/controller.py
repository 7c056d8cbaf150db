"""``spotalis controller``: run the operator against a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from spotalis.cli.flags import CONFIG_HELP, SettingFlags


def controller(
    *,
    kubeconfig: str = "",
    context: str = "",
    config: Annotated[Path | None, Parameter(help=CONFIG_HELP)] = None,
    flags: SettingFlags = None,
) -> int:
    """Run the operator until SIGTERM or SIGINT; SIGHUP reads log levels again.

    Every setting is also a key of the settings file and a variable: `spotalis config --show`.
    The first signal ends it in order, within 15 s: moves, then reviews, then the Lease; exit code
    0. A second one ends it at once, as the signal's own default does (143 for SIGTERM in a shell).
    1: it could not start, or a bug ended it. 2: the command line or a setting is wrong.

    Parameters
    ----------
    kubeconfig
        Path of a kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's own account.
    context
        Context of the kubeconfig.
    """
    from spotalis.cli.flags import load, sources

    read_from = sources(config, flags)
    loaded = load(read_from)

    import asyncio
    import os
    import sys

    from spotalis.app import logs
    from spotalis.app.process import Process
    from spotalis.app.reload import Reloader
    from spotalis.cli.connect import connect, refused_start
    from spotalis.cli.faults import ExitCode

    settings = loaded.settings
    log = settings.logging
    form: Literal["json", "text"] = "text" if log.format == "text" else "json"
    logs.configure(sys.stderr, form=form, level=log.level, levels=log.levels)
    access = connect(os.environ, kubeconfig=kubeconfig, context=context)

    async def serve() -> None:
        process = Process(
            access,
            settings.controller,
            settings.serving,
            hung_up=Reloader(read_from, loaded),
        )
        await process.run()

    with refused_start(access.server):
        asyncio.run(serve())
    return ExitCode.DONE
