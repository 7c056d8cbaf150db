"""How the lists of the built-in kinds are merged: by the key of their items, as sets, or whole.

The markers are those of the API's types (``x-kubernetes-patch-merge-key`` and
``x-kubernetes-list-map-keys``); a list is known by the name of its field, which is unambiguous for
the kinds served here but for ``ports``.
"""

from __future__ import annotations

from typing import Any

from spotalis.embedded.objects.resources import Object

SETS = frozenset({"finalizers"})
"""Lists of text whose items are merged one by one."""
_KEYS: dict[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "schedulingGates": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "addresses": ("type",),
    "webhooks": ("name",),
    "matchConditions": ("name",),
}
_APPLIED_OTHERWISE = {"addresses", "hostIPs"}


def strategic_key(field: str, items: list[Any]) -> str:
    """The merge key of a list in a strategic merge patch; ``""``: the list is replaced."""
    if field == "ports":
        by_container = any(isinstance(one, dict) and "containerPort" in one for one in items)
        return "containerPort" if by_container else "port"
    return _KEYS.get(field, ("",))[0]


def map_keys(field: str, items: list[Any]) -> tuple[str, ...]:
    """The keys of a list under server-side apply; none: the list belongs to one manager whole."""
    if field == "ports":
        return (strategic_key(field, items), "protocol")
    return () if field in _APPLIED_OTHERWISE else _KEYS.get(field, ())


def identity(item: Object, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """The values of an item's keys; a port's protocol is TCP where it says nothing."""
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)
