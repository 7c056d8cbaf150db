"""The flags of every command that reads a cluster, with kubectl's letters and meanings."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from spotalis.cli.errors import ExitCode, usage_error
from spotalis.cli.output import FORMATS, Style, tell

if TYPE_CHECKING:
    from spotalis.app.inspection import ClusterConnection, Inspection
    from spotalis.kube.config.access import ClusterAccess
    from spotalis.model.environment import Clock
    from spotalis.model.objects import Workload
    from spotalis.model.transport import Transport

OPERATOR_NAMESPACE = "spotalis-system"


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that select a cluster, a user and a namespace."""
    group = parser.add_argument_group("Flags of kubectl")
    add = group.add_argument
    add("-n", "--namespace", default="", metavar="NAME", help="Default: that of the context.")
    add("--kubeconfig", default="", metavar="FILE", help="Kubeconfig file.")
    add("--context", default="", metavar="NAME", help="Context. Default: the current one.")
    add("--cluster", default="", metavar="NAME", help="Cluster of the kubeconfig.")
    add("--user", default="", metavar="NAME", help="User of the kubeconfig.")
    add("-s", "--server", default="", metavar="URL", help="Address of the API server.")
    add("--token", default="", metavar="TEXT", help="Bearer token.")
    add("--client-certificate", default="", metavar="FILE", help="Client certificate, in PEM.")
    add("--client-key", default="", metavar="FILE", help="Its private key, in PEM.")
    add("--as", dest="as_user", default="", metavar="USER", help="User to impersonate.")
    add("--as-group", action="append", default=[], metavar="GROUP", help="May be repeated.")
    add("--as-uid", default="", metavar="UID", help="UID to impersonate.")
    add("--certificate-authority", default="", metavar="FILE", help="CA of the API server.")
    add("--tls-server-name", default="", metavar="NAME", help="Name in its certificate.")
    add(
        "--insecure-skip-tls-verify",
        action="store_true",
        help="Do not verify the certificate of the API server.",
    )
    add(
        "--request-timeout",
        default="0",
        metavar="TIME",
        help="Limit of a single request, such as 30s. Default: 0, which means no other limit "
        "than 10 s for an object and 60 s for a list.",
    )
    add(
        "-v",
        "--v",
        dest="verbosity",
        type=int,
        default=0,
        metavar="LEVEL",
        help="From 6 on, print each request on stderr; from 1 on, also the traceback of a bug.",
    )
    add("-q", "--quiet", action="store_true", help="Print no notes on stderr, only errors.")
    own = parser.add_argument_group("Flags for the operator")
    own.add_argument(
        "--operator-namespace",
        default=OPERATOR_NAMESPACE,
        metavar="NAME",
        help=f"Where Spotalis is installed. Default: {OPERATOR_NAMESPACE}.",
    )


def add_output_flags(parser: argparse.ArgumentParser, formats: tuple[str, ...] = FORMATS) -> None:
    """Add the flags that select what is printed, and how."""
    parser.add_argument(
        "-o",
        "--output",
        choices=formats,
        default=formats[0],
        metavar="FORMAT",
        help=f"{', '.join(formats[:-1])} or {formats[-1]}. Default: {formats[0]}.",
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        metavar="WHEN",
        help="auto, always or never. Default: auto; $NO_COLOR and $FORCE_COLOR are respected.",
    )
    parser.add_argument("--ascii", action="store_true", help="Draw with ASCII characters only.")
    if "table" in formats:
        parser.add_argument("--no-headers", action="store_true", help="Print rows only.")


def add_selection_flags(parser: argparse.ArgumentParser, *, by_label: bool = True) -> None:
    """Add the flags that select workloads."""
    parser.add_argument(
        "names", nargs="*", metavar="TYPE/NAME", help="Workloads, such as deploy/api."
    )
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="All namespaces.")
    if by_label:
        parser.add_argument(
            "-l", "--selector", default="", metavar="SELECTOR", help="Labels of workloads: app=web."
        )


def style_of(arguments: argparse.Namespace) -> Style:
    """The style of standard output."""
    return Style.of(sys.stdout, color=arguments.color, ascii_only=arguments.ascii)


def access_of(arguments: argparse.Namespace) -> ClusterAccess:
    """How to connect to the selected cluster.

    Raises:
        CommandError: the cluster does not exist, or the kubeconfig is invalid.
    """
    import os

    from spotalis.cli.connect import connect
    from spotalis.kube.config.access import Overrides

    return connect(
        os.environ,
        kubeconfig=arguments.kubeconfig,
        context=arguments.context,
        overrides=Overrides(
            cluster=arguments.cluster,
            user=arguments.user,
            server=arguments.server,
            token=arguments.token,
            client_certificate=arguments.client_certificate,
            client_key=arguments.client_key,
            as_user=arguments.as_user,
            as_groups=tuple(arguments.as_group),
            as_uid=arguments.as_uid,
            insecure_skip_tls_verify=arguments.insecure_skip_tls_verify,
            tls_server_name=arguments.tls_server_name,
            certificate_authority=arguments.certificate_authority,
        ),
    )


def run_connected(
    arguments: argparse.Namespace, body: Callable[[ClusterConnection], Awaitable[int | None]]
) -> int:
    """Connect to the selected cluster and run ``body``.

    Raises:
        CommandError: the cluster cannot be reached, or rejects a request.
    """
    import asyncio
    import random

    from spotalis.app import logs
    from spotalis.app.clock import SystemClock
    from spotalis.app.inspection import ClusterConnection, LimitedTransport
    from spotalis.cli.connect import command_advice, explain_failure
    from spotalis.cli.request_log import REQUESTS_LEVEL, LoggedTransport
    from spotalis.kube.http_threads import ThreadTransport

    access = access_of(arguments)
    request_seconds = parse_seconds(arguments.request_timeout, "--request-timeout")
    logs.configure(sys.stderr, form="text", level="error")

    clock = SystemClock()

    async def connect_and_run() -> int:
        transport: Transport = ThreadTransport(access, clock=clock, replica="cli")
        if request_seconds:
            transport = LimitedTransport(transport, request_seconds)
        if arguments.verbosity >= REQUESTS_LEVEL:
            transport = LoggedTransport(transport, access.server, clock)
        connection = ClusterConnection(
            transport=transport,
            clock=clock,
            rng=random.Random(),  # noqa: S311  # jitter, no secret
            namespace=arguments.namespace or access.namespace,
        )
        try:
            return await body(connection) or ExitCode.SUCCESS
        finally:
            await transport.close()

    with explain_failure(access, command_advice(arguments), clock):
        return asyncio.run(connect_and_run())


async def read_cluster(arguments: argparse.Namespace, connection: ClusterConnection) -> Inspection:
    """Read the settings of the operator, and what it would watch.

    Raises:
        ApiError, TransportError: the API server rejected the credentials or did not answer.
        CommandError: the version of Kubernetes is not supported.
    """
    from spotalis.app.inspection import inspect
    from spotalis.cli.operator_settings import read_settings
    from spotalis.cli.progress import progress
    from spotalis.kube.errors import NotFound

    async with progress("reading the cluster"):
        try:
            return await inspect(connection, await read_settings(arguments, connection.client()))
        except NotFound:
            from spotalis.cli.server_version import check_server_version

            await check_server_version(connection.client())
            raise


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Do not look for garbage: everything that was read stays until the command ends, and each
    look takes longer with the number of objects (5 % of the CPU for 10,000 pods, measured)."""
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_inspection(
    arguments: argparse.Namespace, body: Callable[[Inspection, str, Clock], Awaitable[int | None]]
) -> int:
    """Read the cluster, then run ``body`` with it, the selected namespace and the clock.

    Raises:
        CommandError: the cluster cannot be read.
    """

    async def read_and_run(connection: ClusterConnection) -> int | None:
        with _without_collections():
            inspection = await read_cluster(arguments, connection)
            for right in inspection.missing:
                tell(f"note: {right}")
            return await body(inspection, connection.namespace, connection.clock)

    return run_connected(arguments, read_and_run)


def parse_seconds(text: str, flag: str) -> float:
    """A limit of time as kubectl reads it: seconds, or a number with a unit; 0 means no limit.

    Raises:
        CommandError: the text is neither.
    """
    from spotalis.model.durations import parse_duration

    if text.isdecimal():
        return float(text)
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise usage_error(f"{flag} {error}", f"{flag} 30s") from None


async def select_workloads(
    arguments: argparse.Namespace, inspection: Inspection, namespace: str
) -> list[Workload]:
    """The workloads that names, ``-l``, ``-n`` and ``-A`` select, by namespace, type and name.

    Raises:
        CommandError: a named workload does not exist, or flags contradict each other.
    """
    from spotalis.cli.names import not_found, read_targets
    from spotalis.controller.cluster import WorkloadKey
    from spotalis.kube.resources import WORKLOADS

    cluster = inspection.cluster
    targets = read_targets(arguments.names, arguments.command)
    if targets and arguments.all_namespaces:
        raise usage_error("a workload cannot be named with --all-namespaces", "-n NAMESPACE")
    if targets and arguments.selector:
        raise usage_error("a workload cannot be named with --selector", "-l SELECTOR")
    found = list(cluster.workloads())
    if not arguments.all_namespaces:
        found = [workload for workload in found if workload.namespace == namespace]
    if targets:
        named = []
        for target in targets:
            workload = cluster.find_workload(WorkloadKey(target.kind, namespace, target.name))
            if workload is None:
                raise not_found(target, namespace, [w.name for w in found if w.kind == target.kind])
            named.append(workload)
        return named
    if arguments.selector:
        scope = "" if arguments.all_namespaces else namespace
        matching = {
            workload.uid
            for kind, resource in WORKLOADS.items()
            if kind != "Rollout" or cluster.watches_rollouts
            for workload in await inspection.client.list_all(
                resource, scope, label_selector=arguments.selector
            )
        }
        found = [workload for workload in found if workload.uid in matching]
    return sorted(found, key=lambda w: (w.namespace, w.kind, w.name))
