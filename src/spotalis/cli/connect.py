"""Connecting to a cluster, and explaining why that failed."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spotalis.cli.errors import CommandError, usage_error
from spotalis.kube.config.access import ClusterAccess, Overrides, load
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.errors import ApiError, Forbidden, NotFound
from spotalis.kube.resources import InvalidName
from spotalis.model.environment import Clock
from spotalis.model.errors import NamespaceMissing, PortInUse
from spotalis.model.transport import TransportError
from spotalis.webhook.issuer import IssueFailed
from spotalis.webhook.serving_certificate import CertificateMismatch

_EXPECTED = (
    TransportError,
    ConfigError,
    ApiError,
    NamespaceMissing,
    PortInUse,
    CertificateMismatch,
    IssueFailed,
    OSError,
)


def connect(
    environment: Mapping[str, str],
    *,
    kubeconfig: str,
    context: str,
    overrides: Overrides = Overrides(),
) -> ClusterAccess:
    """Find the API server and the credentials.

    Raises:
        CommandError: the configuration is missing or invalid.
    """
    try:
        return load(environment, kubeconfig=kubeconfig, context=context, overrides=overrides)
    except ConfigError as error:
        raise _from_config_error(error) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a message says besides the cause: it differs for the operator and for commands."""

    consequence: tuple[str, ...] = ()
    if_unreachable: tuple[str, ...] = ()
    if_forbidden: str
    if_not_found: str
    check_server: str


OPERATOR_ADVICE = Advice(
    consequence=("nothing was started",),
    if_unreachable=("nothing was changed; pods are created unchanged meanwhile",),
    if_forbidden="apply build/k8s/rbac.yaml, or use an account with these permissions",
    if_not_found="apply build/k8s/install.yaml, and check the server address in the kubeconfig",
    check_server="check `kubectl get --raw /readyz` with the same kubeconfig and context",
)


_REPEATED_FLAGS = (
    *("kubeconfig", "context", "cluster", "user", "server"),
    *("client-certificate", "client-key", "certificate-authority", "tls-server-name"),
)
"""Flags of kubectl that select a connection, and are not secrets."""


def repeated_flags(arguments: argparse.Namespace) -> str:
    """The flags with which the user has selected a cluster and a user, each after a space."""
    values = {name: str(getattr(arguments, name.replace("-", "_"))) for name in _REPEATED_FLAGS}
    values["as"] = arguments.as_user
    flags = "".join(f" --{name} {shlex.quote(value)}" for name, value in values.items() if value)
    return flags + (" --insecure-skip-tls-verify" if arguments.insecure_skip_tls_verify else "")


def command_advice(arguments: argparse.Namespace) -> Advice:
    """For a command with the flags of kubectl, which the commands of the fix repeat."""
    flags = repeated_flags(arguments)
    return Advice(
        if_forbidden=f"kubectl auth can-i --list{flags}     lists what this user may do; ask for "
        "the permission, or use another --context or --user",
        if_not_found=f"kubectl api-resources{flags}     lists what the server has",
        check_server=f"kubectl get --raw /readyz{flags}     shows whether the server answers",
    )


@contextlib.contextmanager
def explain_failure(access: ClusterAccess, advice: Advice, clock: Clock) -> Iterator[None]:
    """Turn the expected failures into messages; other exceptions pass.

    Raises:
        CommandError: the API server is unreachable or rejects a request, the namespace is
            missing, a port is in use, or no certificate can be used.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of stdout has gone, not the API server
    except InvalidName as error:
        raise usage_error(str(error), "kubectl get namespaces") from None
    except _EXPECTED as error:
        raise _explain(error, access, advice, clock) from None


def _explain(error: Exception, access: ClusterAccess, advice: Advice, clock: Clock) -> CommandError:
    server, detail = access.server, advice.consequence
    match error:
        case ConfigError():
            return _from_config_error(error)
        case TransportError(__cause__=ConfigError() as cause):
            return _from_config_error(cause)
        case ApiError(status=401):
            code = "SP010"
            what = f"{server} rejected the credentials: {error.message or error}"
            why, fix = access.credentials.explain_rejection(clock.now())
            detail = (why, *detail)
        case ApiError():
            code, what, fix = _explain_api_error(error, server, advice)
        case TransportError():
            code, what, fix = "SP002", f"{server} did not answer", advice.check_server
            detail = (str(error), *advice.if_unreachable)
        case NamespaceMissing():
            code, what = "SP008", str(error)
            detail = ("the operator keeps its Lease and its ledgers there", *detail)
            fix = (
                f"kubectl create namespace {error.namespace}\n"
                "  or, to only look, without a namespace: spotalis status -A"
            )
        case PortInUse():
            code, what = "SP030", str(error)
            fix = "stop the other process, or set --webhook-port, --metrics-port or --health-port"
        case CertificateMismatch() | IssueFailed():
            code, what = "SP031", f"no certificate for the webhook: {error}"
            fix = "check --certificate-file and --key-file; they must be one pair, in PEM"
        case _:
            code, what, fix = "SP032", str(error), "see the line above"
    return CommandError(code=code, what=what, detail=detail, fix=fix)


def _explain_api_error(error: ApiError, server: str, advice: Advice) -> tuple[str, str, str]:
    """Return code, message and fix."""
    message = error.message or str(error)
    if isinstance(error, Forbidden):
        return "SP003", f"{server} denied a request: {message}", advice.if_forbidden
    if isinstance(error, NotFound):
        return "SP009", f"{server} has no such object: {message}", advice.if_not_found
    return "SP011", f"{server} failed with HTTP {error.status}: {message}", advice.check_server


def _from_config_error(error: ConfigError) -> CommandError:
    return CommandError(code=error.code, what=error.what, detail=error.lines, fix=error.fix)
