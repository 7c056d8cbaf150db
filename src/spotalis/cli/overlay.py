"""Workloads of the cluster with the labels and annotations of manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from spotalis.app.inspection import Inspection
from spotalis.cli.checks import WORKLOAD_KINDS, namespace_of, own_texts
from spotalis.cli.errors import CommandError, ExitCode
from spotalis.cli.manifests import Manifest, read_manifests
from spotalis.cli.names import SHORT
from spotalis.cli.output import tell
from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.store import StoreChange
from spotalis.model.objects import Workload
from spotalis.model.replicas import desired_spot


def overlay(
    files: Sequence[str], inspection: Inspection, namespace: str, *, recursive: bool = False
) -> list[Workload]:
    """The workloads that manifests name, as they would be after `kubectl apply`.

    Only labels and annotations of Spotalis are taken from the manifests. Namespaces among them
    count too. Workloads that do not exist yet are reported on stderr and left out.

    Args:
        namespace: of manifests without one.
        recursive: read the directories in directories too.

    Raises:
        CommandError: a file cannot be read, or is not YAML.
    """
    cluster, found = inspection.cluster, []
    manifests = []
    for document in read_manifests(files, recursive=recursive):
        if not isinstance(document, Manifest):
            raise CommandError(
                code="SP100",
                what=f"{document.place}: {document.message}",
                fix="spotalis validate FILE",
                exit_code=ExitCode.USAGE,
            )
        manifests.append(document)
    for manifest in manifests:
        if manifest.kind == "Namespace":
            changed = namespace_of(manifest)
            held = cluster.namespaces.get("", changed.name)
            cluster.namespaces.by_namespace.setdefault("", {})[changed.name] = changed
            cluster.on_namespace_change(StoreChange(held, changed))
    for manifest in manifests:
        if manifest.kind in WORKLOAD_KINDS:
            name = str(manifest.metadata.get("name", ""))
            scope = str(manifest.metadata.get("namespace") or namespace)
            workload = cluster.find_workload(WorkloadKey(manifest.kind, scope, name))
            if workload is None:
                tell(f"note: {scope}/{SHORT[manifest.kind]}/{name} does not exist yet")
                continue
            texts: dict[str, dict[str, str]] = {"labels": {}, "annotations": {}}
            for section, key, value in own_texts(manifest):
                texts[section][key] = str(value)
            changed_workload = msgspec.structs.replace(workload, **texts)
            found.append(changed_workload)
            spec = manifest.value.get("spec")
            replicas = spec.get("replicas") if isinstance(spec, Mapping) else None
            if isinstance(replicas, int) and replicas != workload.replicas:
                tell(_scaling(inspection, changed_workload, replicas))
    return found


def _scaling(inspection: Inspection, workload: Workload, replicas: int) -> str:
    """A note about ``spec.replicas``, which a manifest changes.

    Scaling needs no move: new pods are placed, and the pods with the highest numbers are deleted.
    """
    policy = inspection.configuration_of(workload)
    spot = desired_spot(replicas, policy.percent, policy.floor)
    name = f"{workload.namespace}/{SHORT[workload.kind]}/{workload.name}"
    split = f": {replicas - spot} on-demand and {spot} spot, without moves"
    return (
        f"note: {name} is scaled from {workload.replicas} to {replicas}"
        + (split if policy.has_policy else "")
        + f"; the plan is for {workload.replicas}"
    )
