"""The MutatingWebhookConfiguration, and the injection of the caBundle into it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from spotalis import logs
from spotalis.kube.client import Client, PatchType
from spotalis.kube.resources import WEBHOOK_CONFIGURATIONS
from spotalis.model.single_objects import WebhookConfiguration

log = logs.get(__name__)

OWNER_CONDITION = (
    "has(object.metadata.ownerReferences) && "
    "object.metadata.ownerReferences.exists(o, has(o.controller) && "
    "o.controller && o.kind in ['ReplicaSet', 'StatefulSet'])"
)
"""CEL: the API server only sends pods of ReplicaSets and StatefulSets."""


def webhook_configuration(
    *, name: str, client_config: Mapping[str, Any], excluded: Sequence[str]
) -> dict[str, Any]:
    """Return the MutatingWebhookConfiguration of an installation, with every default explicit.

    It does not select pods by the opt-in annotation, because that is on the workload. Pods are
    created unchanged if the webhook does not answer (``failurePolicy: Ignore``).

    ``client_config`` is a ``service``, or a ``url`` with the path ``/mutate``. Pods of the
    ``excluded`` namespaces are never sent.
    """
    not_excluded = {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": list(excluded),
    }
    pod_creation = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
        "scope": "Namespaced",
    }
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
                "namespaceSelector": {"matchExpressions": [not_excluded]},
                "objectSelector": {},
                "matchConditions": [
                    {"name": "owned-by-replicaset-or-statefulset", "expression": OWNER_CONDITION}
                ],
                "rules": [pod_creation],
            }
        ],
    }


def ca_bundle_differs(configuration: WebhookConfiguration, ca_pem: bytes) -> bool:
    """Whether a webhook of this configuration has another caBundle than ``ca_pem``."""
    return any(bundle != ca_pem for _, bundle in configuration.ca_bundles)


async def inject_ca_bundle(client: Client, name: str, ca_pem: bytes) -> bool:
    """Set the caBundle of every webhook in a configuration; returns False if it does not exist.

    Writes nothing else, and only if a caBundle differs: the manifests own the configuration.

    Raises:
        ApiError: the API server rejected the request.
        TransportError: the API server did not respond.
    """
    found = await client.get(WEBHOOK_CONFIGURATIONS, "", name)
    if found is None:
        return False
    if patch := _patch(found, ca_pem):
        await client.patch(WEBHOOK_CONFIGURATIONS, "", name, patch, patch_type=PatchType.JSON)
        log.info("Updated caBundle", configuration=name)
    return True


def _patch(configuration: WebhookConfiguration, ca_pem: bytes) -> list[dict[str, object]]:
    encoded = base64.b64encode(ca_pem).decode("ascii")
    patch: list[dict[str, object]] = []
    for index, (name, bundle) in enumerate(configuration.ca_bundles):
        if bundle != ca_pem:
            # The test operation fails if the webhooks were reordered in the meantime.
            patch.append({"op": "test", "path": f"/webhooks/{index}/name", "value": name})
            where = f"/webhooks/{index}/clientConfig/caBundle"
            patch.append({"op": "add", "path": where, "value": encoded})
    return patch
