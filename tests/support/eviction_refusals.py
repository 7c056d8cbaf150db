"""Admission control that refuses the eviction of some pods, on both test beds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from spotalis.embedded.server.errors import ApiError
from spotalis.kube.resources import PODS
from tests.support.cluster import TestCluster
from tests.support.embedded_cluster import EmbeddedTestCluster

POLICY = "policy"
"""A ValidatingAdmissionPolicy denies the eviction."""
WEBHOOK = "webhook"
"""The server of a validating webhook with failure policy ``Fail`` is not running."""
UNKNOWN = "unknown"
"""The API server fails without saying whether the eviction took place. Embedded only."""

_NAME = "refuse-evictions"
_API = "/apis/admissionregistration.k8s.io/v1"
_ANSWERS = {
    POLICY: (
        422,
        "Invalid",
        f"ValidatingAdmissionPolicy '{_NAME}' with binding '{_NAME}' denied request: not this one",
    ),
    WEBHOOK: (
        500,
        "InternalError",
        f'Internal error occurred: failed calling webhook "{_NAME}.example.com": no connection',
    ),
    UNKNOWN: (500, "InternalError", "etcdserver: request timed out"),
}


@asynccontextmanager
async def refusing_evictions(
    cluster: TestCluster, prefix: str, by: str = POLICY
) -> AsyncIterator[None]:
    """Refuse the evictions of pods whose name has this prefix during the block."""
    if isinstance(cluster, EmbeddedTestCluster):
        code, reason, message = _ANSWERS[by]

        def admit(name: str) -> None:
            if name.startswith(prefix):
                raise ApiError(code, reason, message)

        cluster.embedded.api.admit_eviction = admit
        yield
        cluster.embedded.api.admit_eviction = lambda name: None
        return
    objects = _policy(prefix) if by == POLICY else _webhook(prefix)
    for plural, body in objects:
        answered = await cluster.api.raw("POST", f"{_API}/{plural}", body)
        assert answered.status == 201, answered.body
    await _wait_until_refused(cluster, prefix, is_refused=True)
    yield
    for plural, _ in objects:
        await cluster.api.raw("DELETE", f"{_API}/{plural}/{_NAME}")
    await _wait_until_refused(cluster, prefix, is_refused=False)


async def _wait_until_refused(cluster: TestCluster, prefix: str, *, is_refused: bool) -> None:
    async def found() -> bool:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": cluster.namespace, "name": f"{prefix}-missing"},
        }
        path = PODS.path(cluster.namespace, f"{prefix}-missing", "eviction")
        answered = await cluster.api.raw("POST", path, body)
        return (answered.status != 404) is is_refused

    await cluster.wait_until(found, f"evictions of {prefix} are refused: {is_refused}")


_RULE = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods/eviction"],
}


def _policy(prefix: str) -> list[tuple[str, dict[str, Any]]]:
    metadata = {"name": _NAME}
    version = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [_RULE]},
            "validations": [
                {
                    "expression": f"!request.name.startsWith('{prefix}')",
                    "message": "not this one",
                }
            ],
        },
    }
    binding = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": {"policyName": _NAME, "validationActions": ["Deny"]},
    }
    return [
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding),
    ]


def _webhook(prefix: str) -> list[tuple[str, dict[str, Any]]]:
    hook = {
        "name": f"{_NAME}.example.com",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "rules": [_RULE],
        "matchConditions": [
            {"name": "prefix", "expression": f"request.name.startsWith('{prefix}')"}
        ],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": _NAME},
        "webhooks": [hook],
    }
    return [("validatingwebhookconfigurations", body)]
