"""Connecting to a cluster, and explaining why the operator could not start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from spotalis.cli.errors import CommandError
from spotalis.kube.config.access import ClusterAccess, load
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.errors import ApiError, Forbidden, NotFound
from spotalis.model.errors import NamespaceMissing, PortInUse
from spotalis.model.transport import TransportError
from spotalis.webhook.issuer import IssueFailed
from spotalis.webhook.serving_certificate import CertificateMismatch

_NOTHING_STARTED = ("nothing was started",)
_UNAUTHORIZED = 401


def connect(environment: Mapping[str, str], *, kubeconfig: str, context: str) -> ClusterAccess:
    """Find the API server and the credentials.

    Raises:
        CommandError: there is no configuration, or it is invalid.
    """
    try:
        return load(environment, kubeconfig=kubeconfig, context=context)
    except ConfigError as error:
        raise _from_config_error(error) from None


@contextlib.contextmanager
def explain_startup_failure(server: str) -> Iterator[None]:
    """Turn the expected reasons for a failed start into messages; other exceptions pass.

    Raises:
        CommandError: the API server is unreachable or rejects a request, the namespace is
            missing, a port is in use, or there is no certificate.
    """
    try:
        yield
    except TransportError as error:
        raise CommandError(
            code="SP002",
            what=f"{server} did not answer",
            detail=(str(error), "nothing was changed; pods are created unchanged meanwhile"),
            fix="check `kubectl get --raw /readyz` with the same kubeconfig and context",
        ) from None
    except ConfigError as error:
        raise _from_config_error(error) from None
    except ApiError as error:
        raise _from_api_error(server, error) from None
    except NamespaceMissing as error:
        raise CommandError(
            code="SP008",
            what=str(error),
            detail=("the operator keeps its Lease and its ledgers there", *_NOTHING_STARTED),
            fix=f"kubectl create namespace {error.namespace}\n"
            "  or, to only observe: --read-only --no-leader-election",
        ) from None
    except PortInUse as error:
        raise CommandError(
            code="SP030",
            what=str(error),
            detail=_NOTHING_STARTED,
            fix="stop the other process, or set --webhook-port, --metrics-port or --health-port",
        ) from None
    except (CertificateMismatch, IssueFailed) as error:
        raise CommandError(
            code="SP031",
            what=f"no certificate for the webhook: {error}",
            detail=_NOTHING_STARTED,
            fix="check --certificate-file and --key-file; they must be one pair, in PEM",
        ) from None
    except OSError as error:
        raise CommandError(
            code="SP032", what=str(error), detail=_NOTHING_STARTED, fix="see the line above"
        ) from None


def _from_config_error(error: ConfigError) -> CommandError:
    return CommandError(code=error.code, what=error.what, detail=error.lines, fix=error.fix)


def _from_api_error(server: str, error: ApiError) -> CommandError:
    message = error.message or str(error)
    if isinstance(error, Forbidden):
        code, what = "SP003", f"{server} denied a request: {message}"
        fix = "apply build/k8s/rbac.yaml, or use an account with these permissions"
    elif isinstance(error, NotFound):
        code, what = "SP009", f"{server} has no such object: {message}"
        fix = "apply build/k8s/install.yaml, and check the server address in the kubeconfig"
    elif error.status == _UNAUTHORIZED:
        code, what = "SP010", f"{server} rejected the credentials: {message}"
        fix = "renew the credentials of this kubeconfig user, or choose another --context"
    else:
        code, what = "SP011", f"{server} failed with HTTP {error.status}: {message}"
        fix = "check `kubectl get --raw /readyz` with the same kubeconfig and context"
    return CommandError(code=code, what=what, detail=_NOTHING_STARTED, fix=fix)
