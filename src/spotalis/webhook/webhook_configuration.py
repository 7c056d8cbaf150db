"""Tells the API server whom to trust: caBundle in a webhook configuration that others own."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spotalis.kube.client import Client, PatchType
from spotalis.kube.errors import error_from
from spotalis.model.environment import Clock

logger = logging.getLogger(__name__)

OWNED = (
    "has(object.metadata.ownerReferences) && "
    "object.metadata.ownerReferences.exists(o, has(o.controller) && "
    "o.controller && o.kind in ['ReplicaSet', 'StatefulSet'])"
)
"""CEL: only pods that a ReplicaSet or StatefulSet makes are sent."""
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def webhook_configuration(
    *, name: str, client_config: Mapping[str, Any], excluded: Sequence[str]
) -> dict[str, Any]:
    """The MutatingWebhookConfiguration that an installation applies, every default written out.

    It excludes namespaces and does not select by opt-in: pods do not carry it. It fails open, and
    is asked only about pods that a ReplicaSet or StatefulSet makes.

    Args:
        name: of the configuration.
        client_config: a ``service`` or a ``url`` that ends in :data:`PATH`.
        excluded: namespaces that are never sent.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "spotalis"}},
        "webhooks": [
            {
                "name": "pods.spotalis.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": dict(client_config),
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "timeoutSeconds": 2,
                "namespaceSelector": {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": list(excluded),
                        }
                    ]
                },
                "objectSelector": {},
                "matchConditions": [
                    {"name": "owned-by-replicaset-or-statefulset", "expression": OWNED}
                ],
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "Namespaced",
                    }
                ],
            }
        ],
    }


class _ClientConfig(msgspec.Struct, rename="camel"):
    ca_bundle: str = ""


class _Webhook(msgspec.Struct, rename="camel"):
    name: str
    client_config: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Configuration(msgspec.Struct):
    webhooks: list[_Webhook] | None = None


def ca_bundle_differs(body: bytes, ca_pem: bytes) -> bool:
    """Whether a webhook of this configuration (as JSON) trusts anything but ``ca_pem``."""
    return bool(_patch(body, ca_pem))


async def inject_ca_bundle(client: Client, clock: Clock, name: str, ca_pem: bytes) -> bool:
    """Make every webhook of the named configuration trust ``ca_pem``; False if it is not there.

    Only caBundle is written, and only where it differs: the manifests own all the rest.

    Raises:
        ApiError, TransportError: not allowed, or no answer.
    """
    path = f"{CONFIGURATIONS}/{name}"
    answer = await client.raw("GET", path)
    if answer.status == 404:
        return False
    if answer.status >= 300:
        raise error_from(answer, clock.now())
    if patch := _patch(answer.body, ca_pem):
        answer = await client.raw("PATCH", path, patch, content_type=PatchType.JSON.value)
        if answer.status >= 300:
            raise error_from(answer, clock.now())
        logger.info("caBundle written", extra={"fields": {"configuration": name}})
    return True


def _patch(body: bytes, ca_pem: bytes) -> list[dict[str, object]]:
    webhooks = msgspec.json.decode(body, type=_Configuration).webhooks or []
    bundle = base64.b64encode(ca_pem).decode("ascii")
    patch: list[dict[str, object]] = []
    for index, webhook in enumerate(webhooks):
        if webhook.client_config.ca_bundle != bundle:
            # The test makes a configuration that was reordered meanwhile refuse the patch.
            patch.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook.name})
            where = f"/webhooks/{index}/clientConfig/caBundle"
            patch.append({"op": "add", "path": where, "value": bundle})
    return patch
