"""The form of the ConfigMaps in which the operator remembers something."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spotalis.kube.resources import LEDGER_LABEL
from spotalis.model.ledger import LedgerObject


def config_map(
    namespace: str, name: str, before: LedgerObject | None, data: Mapping[str, object]
) -> dict[str, object]:
    """The body of a request that writes a ConfigMap.

    Args:
        namespace: the operator's own.
        name: of the ConfigMap.
        before: the object that is replaced, and no other one; None if it is created.
        data: written as JSON.
    """
    metadata: dict[str, object] = {
        "name": name,
        "namespace": namespace,
        "labels": {LEDGER_LABEL: "true"},
    }
    if before is not None:
        metadata["uid"] = before.uid
        metadata["resourceVersion"] = before.resource_version
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {key: msgspec.json.encode(value).decode() for key, value in data.items()},
    }
