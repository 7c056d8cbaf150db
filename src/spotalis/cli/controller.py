"""``spotalis controller``: run the operator against a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@dataclass(frozen=True, kw_only=True)
class ControllerFlags:
    """What `spotalis controller` can be told."""

    kubeconfig: str = ""
    "Path of a kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's own account."
    context: str = ""
    "Context of the kubeconfig."
    namespace: Annotated[str, Parameter(name=["--namespace", "-n"])] = "spotalis-system"
    "Where the operator lives: its Lease; workloads there are never touched."
    host: str = ""
    "Address to listen on; default: all."
    webhook_port: int = 9443
    "Port of the webhook (TLS)."
    metrics_port: int = 8080
    "Port of /metrics."
    health_port: int = 8081
    "Port of /healthz and /readyz."
    certificate_file: Path | None = None
    "The webhook's certificate (PEM); with --key-file. Default: self-made, caBundle is written."
    key_file: Path | None = None
    "The key of --certificate-file."
    read_only: Annotated[bool, Parameter(negative="")] = False
    "Decide and report, move nothing."
    leader_election: bool = True
    "Compete for the Lease; off only for a single replica."
    resync: str = "30s"
    "How often everything is looked at although nothing changed; at least 5s."
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    "Least level that is logged."
    log_format: Literal["json", "text"] = "json"
    "How log lines are written to stderr."


def controller(*, flags: Annotated[ControllerFlags, Parameter(name="*")] | None = None) -> int:
    """Run the operator until SIGTERM or SIGINT."""
    import asyncio
    import os
    import sys
    from datetime import timedelta

    from spotalis.app import logs
    from spotalis.app.process import Process, ServingOptions
    from spotalis.cli.connect import connect, refused_start
    from spotalis.cli.faults import ExitCode, Fault
    from spotalis.model.durations import parse_duration
    from spotalis.model.settings import ControllerConfiguration, LeaderElection, NamespaceFilter

    flags = flags or ControllerFlags()
    try:
        resync = parse_duration(flags.resync)
        if resync < timedelta(seconds=5):
            raise ValueError("must not be shorter than 5s")
    except ValueError as error:
        raise Fault(
            code="SP021",
            what=f"--resync {error}; it is '{flags.resync}'",
            fix="--resync 30s",
            exit_code=ExitCode.USAGE,
        ) from None
    if (flags.certificate_file is None) != (flags.key_file is None):
        raise Fault(
            code="SP022",
            what="--certificate-file and --key-file go together; one of them is missing",
            fix="give both, or neither for a self-made certificate",
            exit_code=ExitCode.USAGE,
        )
    logs.configure(sys.stderr, form=flags.log_format, level=flags.log_level)
    access = connect(os.environ, kubeconfig=flags.kubeconfig, context=flags.context)
    settings = ControllerConfiguration(
        namespace=flags.namespace,
        read_only=flags.read_only,
        resync=resync,
        namespaces=NamespaceFilter(excluded=frozenset({"kube-system", flags.namespace})),
        leader_election=LeaderElection(enabled=flags.leader_election),
    )
    serving = ServingOptions(
        host=flags.host,
        webhook_port=flags.webhook_port,
        metrics_port=flags.metrics_port,
        health_port=flags.health_port,
        certificate_file=flags.certificate_file,
        key_file=flags.key_file,
    )

    async def serve() -> None:
        await Process(access, settings, serving).run()

    with refused_start(access.server):
        asyncio.run(serve())
    return ExitCode.DONE
