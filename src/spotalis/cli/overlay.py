"""Workloads of the cluster with the labels and annotations of manifests."""

from __future__ import annotations

from collections.abc import Sequence

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


def overlay(files: Sequence[str], inspection: Inspection, namespace: str) -> list[Workload]:
    """The workloads that manifests name, as they would be after `kubectl apply`.

    Only labels and annotations of Spotalis are taken from the manifests. Namespaces among them
    count too. Workloads that do not exist yet are reported on stderr and left out.

    Args:
        namespace: of manifests without one.

    Raises:
        CommandError: a file cannot be read, or is not YAML.
    """
    cluster, found = inspection.cluster, []
    manifests = []
    for document in read_manifests(files):
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
            found.append(msgspec.structs.replace(workload, **texts))
    return found
