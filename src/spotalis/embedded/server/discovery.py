"""Version, health, and the discovery of API groups and resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spotalis.embedded.objects.resources import RESOURCES, Object, Resource

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.1+spotalis-embedded",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
GROUPS = sorted({(one.group, one.version) for one in RESOURCES if one.group})
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_HEALTH = ("/readyz", "/livez", "/healthz")


def document(path: str, custom: Mapping[str, Mapping[str, list[Object]]]) -> Object | str | None:
    """The response to a GET of a path that is not a resource; None if there is none.

    Args:
        custom: groups of custom resources, with their objects by plural.
    """
    served = sorted({*GROUPS, *((group, "v1") for group in custom)})
    if path in _HEALTH:
        return "ok"
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        groups = [_group(group, version) for group, version in served]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    parts = path.strip("/").split("/")
    if parts == ["api", "v1"]:
        return _resources("v1", (one for one in RESOURCES if not one.group))
    if parts[0] != "apis":
        return None
    for group, version in served:
        if parts[1:] == [group]:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, version)}
        if parts[1:] == [group, version]:
            of_group = (one for one in RESOURCES if (one.group, one.version) == (group, version))
            return _resources(f"{group}/{version}", of_group)
        if parts[1:-1] == [group, version] and parts[-1] in custom.get(group, ()):
            items = custom[group][parts[-1]]
            return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}
    return None


def _group(group: str, version: str) -> Object:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resources(group_version: str, resources: Iterable[Resource]) -> Object:
    listed = [one for resource in resources for one in _described(resource)]
    head = {"kind": "APIResourceList", "apiVersion": "v1"}
    return {**head, "groupVersion": group_version, "resources": listed}


def _described(resource: Resource) -> Iterable[Object]:
    described: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short_names:
        described["shortNames"] = list(resource.short_names)
    yield described
    for subresource in resource.subresources:
        kind, group, verbs = _SUBRESOURCES.get(
            subresource, (resource.kind, "", ["get", "patch", "update"])
        )
        one: Object = {
            "name": f"{resource.plural}/{subresource}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": kind,
            "verbs": verbs,
        }
        yield {**one, "group": group, "version": "v1"} if group else one


_SUBRESOURCES = {
    "scale": ("Scale", "autoscaling", ["get", "patch", "update"]),
    "eviction": ("Eviction", "policy", ["create"]),
    "binding": ("Binding", "", ["create"]),
    "log": ("Pod", "", ["get"]),
}
