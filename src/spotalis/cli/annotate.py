"""Writing annotations of workloads and namespaces: ``set``, ``pause`` and ``resume``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spotalis.cli.cluster_flags import run_connected
from spotalis.cli.errors import usage_error
from spotalis.cli.names import Target, not_found, read_targets
from spotalis.cli.output import tell

if TYPE_CHECKING:
    from spotalis.app.inspection import ClusterConnection
    from spotalis.kube.client import Client
    from spotalis.kube.resources import Resource

PREFIX = "spotalis.io/"
FIELD_MANAGER = "spotalis-cli"
OWNERS = {
    "argocd": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "helm": "Helm",
    "Terraform": "Terraform",
    "HashiCorp": "Terraform",
    "pulumi": "Pulumi",
}
"""Field managers of tools that keep objects equal to a Git repository or a state, by the beginning
of their names. Each is documented by its tool."""
_ARGO_TRACKING = "argocd.argoproj.io/tracking-id"


def read_objects(arguments: argparse.Namespace, kinds: tuple[str, ...]) -> list[Target]:
    """The objects to annotate: those that are named.

    Raises:
        CommandError: none is named, or a name is invalid.
    """
    targets = read_targets(arguments.names, arguments.command, kinds)
    if not targets:
        raise usage_error("name a workload or a namespace", f"{arguments.command} deploy/NAME")
    return targets


def annotate(
    arguments: argparse.Namespace, targets: list[Target], annotations: Mapping[str, str | None]
) -> None:
    """Set annotations, or remove those whose value is None, and print what was done.

    Args:
        annotations: by key, with the prefix.

    Raises:
        CommandError: an object does not exist, or the API server rejects the change.
    """

    async def write(connection: ClusterConnection) -> None:
        client, namespace = connection.client(), connection.namespace
        for target in targets:
            print(await _annotate(client, target, namespace, annotations, arguments.dry_run))

    run_connected(arguments, write)


async def _annotate(
    client: Client,
    target: Target,
    namespace: str,
    annotations: Mapping[str, str | None],
    dry_run: bool,
) -> str:
    import msgspec

    resource = _resource(target.kind)
    scope = namespace if resource.namespaced else ""
    query = [("fieldManager", FIELD_MANAGER), *([("dryRun", "All")] if dry_run else [])]
    response = await client.raw(
        "PATCH",
        resource.path(scope, target.name),
        {"metadata": {"annotations": dict(annotations)}},
        query,
        content_type="application/merge-patch+json",
    )
    if response.status == 404:
        known = [str(one.name) for one in await client.list_all(resource, scope)]
        raise not_found(target, scope, known)
    if response.status >= 300:
        from spotalis.kube.errors import error_from

        raise error_from(response, client.clock.now())
    written: dict[str, Any] = msgspec.json.decode(response.body)
    owner = other_owner(written.get("metadata", {}))
    if owner:
        lines = "".join(f"\n    {key}: {value!r}" for key, value in annotations.items() if value)
        tell(
            f"warning: {owner} manages {target.kind.lower()}/{target.name} and may revert this; "
            f"change it in its source as well{':' if lines else ''}{lines}"
        )
    suffix = " (server dry run)" if dry_run else ""
    group = f".{resource.group}" if resource.group else ""
    return f"{target.kind.lower()}{group}/{target.name} annotated{suffix}"


def _resource(kind: str) -> Resource[Any]:
    from spotalis.kube.resources import NAMESPACES, WORKLOADS

    resources: dict[str, Resource[Any]] = {**WORKLOADS, "Namespace": NAMESPACES}
    return resources[kind]


def other_owner(metadata: Mapping[str, Any]) -> str:
    """The tool that manages an object, such as Argo CD; empty if none is recognized."""
    annotations = metadata.get("annotations") or {}
    if _ARGO_TRACKING in annotations:
        return "Argo CD"
    for entry in metadata.get("managedFields") or ():
        manager = str(entry.get("manager", ""))
        for start, tool in OWNERS.items():
            if manager.startswith(start):
                return tool
    labels = metadata.get("labels") or {}
    return "Helm" if labels.get("app.kubernetes.io/managed-by") == "Helm" else ""
