"""How a strategic merge patch merges lists of the built-in kinds: by a key, as sets, or as a whole.

The keys are those of the API types (``x-kubernetes-patch-merge-key``). A list is identified by the
name of its field, which is ambiguous only for ``ports`` in the kinds that are served.
"""

from __future__ import annotations

from typing import Any

SETS = frozenset({"finalizers"})
"""Lists of text that are merged as sets."""
_KEYS: dict[str, str] = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "schedulingGates": "name",
    "ownerReferences": "uid",
    "topologySpreadConstraints": "topologyKey",
    "addresses": "type",
    "webhooks": "name",
    "matchConditions": "name",
}


def merge_key(field: str, items: list[Any]) -> str:
    """The merge key of a list; ``""`` if the patch replaces the list."""
    if field == "ports":
        is_container = any(isinstance(one, dict) and "containerPort" in one for one in items)
        return "containerPort" if is_container else "port"
    return _KEYS.get(field, "")
