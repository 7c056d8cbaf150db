"""Connecting to a cluster, and explaining why the operator could not start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from spotalis.cli.errors import CommandError, usage_error
from spotalis.kube.config.access import ClusterAccess, Overrides, load
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.errors import ApiError, Forbidden, NotFound
from spotalis.kube.resources import InvalidName
from spotalis.model.errors import NamespaceMissing, PortInUse
from spotalis.model.transport import TransportError
from spotalis.webhook.issuer import IssueFailed
from spotalis.webhook.serving_certificate import CertificateMismatch

_NOTHING_STARTED = ("nothing was started",)
_CHECK_SERVER = "check `kubectl get --raw /readyz` with the same kubeconfig and context"
_UNAUTHORIZED = 401
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


@contextlib.contextmanager
def explain_startup_failure(server: str) -> Iterator[None]:
    """Turn the expected reasons for a failed start into messages; other exceptions pass.

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
        raise _explain(error, server) from None


def _explain(error: Exception, server: str) -> CommandError:
    detail: tuple[str, ...] = _NOTHING_STARTED
    match error:
        case ConfigError():
            return _from_config_error(error)
        case ApiError():
            code, what, fix = _explain_api_error(error, server)
        case TransportError():
            code, what, fix = "SP002", f"{server} did not answer", _CHECK_SERVER
            detail = (str(error), "nothing was changed; pods are created unchanged meanwhile")
        case NamespaceMissing():
            code, what = "SP008", str(error)
            detail = ("the operator keeps its Lease and its ledgers there", *_NOTHING_STARTED)
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


def _explain_api_error(error: ApiError, server: str) -> tuple[str, str, str]:
    """Return code, message and fix."""
    message = error.message or str(error)
    if isinstance(error, Forbidden):
        fix = "apply build/k8s/rbac.yaml, or use an account with these permissions"
        return "SP003", f"{server} denied a request: {message}", fix
    if isinstance(error, NotFound):
        fix = "apply build/k8s/install.yaml, and check the server address in the kubeconfig"
        return "SP009", f"{server} has no such object: {message}", fix
    if error.status == _UNAUTHORIZED:
        fix = "renew the credentials of this kubeconfig user, or choose another --context"
        return "SP010", f"{server} rejected the credentials: {message}", fix
    return "SP011", f"{server} failed with HTTP {error.status}: {message}", _CHECK_SERVER


def _from_config_error(error: ConfigError) -> CommandError:
    return CommandError(code=error.code, what=error.what, detail=error.lines, fix=error.fix)
