"""From flags and environment to a cluster, and from its silence to a message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from spotalis.cli.faults import Fault
from spotalis.kube.config.access import ClusterAccess, load
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.errors import ApiError
from spotalis.model.errors import NamespaceMissing, PortInUse
from spotalis.model.transport import TransportError
from spotalis.webhook.issuer import IssueFailed
from spotalis.webhook.serving_certificate import CertificateMismatch


def connect(environment: Mapping[str, str], *, kubeconfig: str, context: str) -> ClusterAccess:
    """The way to the cluster.

    Raises:
        Fault: there is none, or it cannot be read.
    """
    try:
        return load(environment, kubeconfig=kubeconfig, context=context)
    except ConfigError as error:
        raise Fault(code=error.code, what=error.what, detail=error.lines, fix=error.fix) from None


@contextlib.contextmanager
def refused_start(server: str) -> Iterator[None]:
    """Turn what keeps the operator from starting into a message; bugs pass through.

    Raises:
        Fault: no answer, not allowed, a port in use, no certificate.
    """
    try:
        yield
    except TransportError as error:
        raise Fault(
            code="SP002",
            what=f"{server} did not answer",
            detail=(str(error), "nothing was changed; pods are created unchanged meanwhile"),
            fix="check `kubectl get --raw /readyz` with the same kubeconfig and context",
        ) from None
    except ConfigError as error:
        raise Fault(code=error.code, what=error.what, detail=error.lines, fix=error.fix) from None
    except ApiError as error:
        raise Fault(
            code="SP003",
            what=f"{server} refused: {error.message or error}",
            fix="apply build/k8s/rbac.yaml, or use an account that is allowed to",
        ) from None
    except NamespaceMissing as error:
        raise Fault(
            code="SP008",
            what=str(error),
            detail=("the operator keeps its Lease and its ledgers there", "nothing was started"),
            fix=f"kubectl create namespace {error.namespace}     or only look: "
            "--read-only --no-leader-election",
        ) from None
    except PortInUse as error:
        raise Fault(
            code="SP030",
            what=str(error),
            detail=("nothing was started",),
            fix="stop the other process, or choose: --webhook-port, --metrics-port, --health-port",
        ) from None
    except (CertificateMismatch, IssueFailed) as error:
        raise Fault(
            code="SP031",
            what=f"no certificate for the webhook: {error}",
            detail=("nothing was started",),
            fix="check --certificate-file and --key-file; they must be one pair, in PEM",
        ) from None
    except OSError as error:
        raise Fault(
            code="SP032", what=str(error), detail=("nothing was started",), fix="see the line above"
        ) from None
