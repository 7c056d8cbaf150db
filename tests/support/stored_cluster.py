"""A cluster that an API server only lists: deployments with their pods, ledgers and nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from spotalis.controller.config_maps import config_map
from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.ledger import Ledger
from spotalis.model.transport import Request, Response, StreamRefused
from tests.support.api_objects import Json, a_list, a_pod, metadata, text

_KARPENTER = "karpenter.sh/capacity-type"
_HOME = ControllerConfiguration().namespace


@dataclass
class StoredObjects:
    """An API server that only lists these objects, by plural name."""

    objects: dict[str, list[Json]]

    async def send(self, request: Request) -> Response:
        found = self.find(request.path)
        return Response(status=200 if found else 404, body=found or b"404 page not found")

    def find(self, path: str) -> bytes | None:
        """The list at a path; None if there is none."""
        found = self.objects.get(path.rpartition("/")[2])
        return None if found is None else text(a_list(found))

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        raise StreamRefused(Response(status=404))

    async def close(self) -> None:
        """Does nothing."""


def stored_cluster(size: int) -> StoredObjects:
    """``size`` workloads, each with a ledger and both replicas on on-demand, and ``size`` nodes of
    each type."""
    found: dict[str, list[Json]] = {"namespaces": [{"metadata": metadata("shop", "")}]}
    for number in range(size):
        name = f"app-{number}"
        template = {"spec": a_pod()["spec"]}
        policy = {"spotalis.io/enabled": "true", "spotalis.io/spot-percentage": "50"}
        owner = {"apiVersion": "apps/v1", "controller": True, "uid": f"uid-{name}", "name": name}
        status = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 2)
        _add(found, "deployments", name, {"replicas": 2, "template": template}, status, policy)
        owners = [{**owner, "kind": "Deployment"}]
        _add(found, "replicasets", name, {"replicas": 2}, owners=owners)
        for replica in range(2):
            spec = {"nodeName": f"on-demand-{number}"}
            pod = a_pod(f"{name}-{replica}", spec=spec, ownerReferences=[])
            pod["metadata"]["ownerReferences"] = [{**owner, "kind": "ReplicaSet"}]
            found.setdefault("pods", []).append(pod)
        ledger = Ledger(workload=f"Deployment/shop/{name}", futile_moves=1)
        body: Any = config_map(_HOME, f"{LEDGER_PREFIX}uid-{name}", None, {"ledger": ledger})
        body["metadata"] |= {"uid": f"uid-ledger-{name}", "resourceVersion": "1"}
        found.setdefault("configmaps", []).append(body)
        for node_type in ("on-demand", "spot"):
            node = {
                "metadata": metadata(f"{node_type}-{number}", "", labels={_KARPENTER: node_type})
            }
            allocatable = {"cpu": "4", "memory": "8Gi", "pods": "100"}
            node["status"] = {"allocatable": allocatable, "conditions": [_READY]}
            found.setdefault("nodes", []).append(node)
    return StoredObjects({"statefulsets": [], "poddisruptionbudgets": [], **found})


_READY = {"type": "Ready", "status": "True"}


def _add(
    found: dict[str, list[Json]],
    plural: str,
    name: str,
    spec: Json,
    status: Json | None = None,
    annotations: dict[str, str] | None = None,
    owners: list[Json] | None = None,
) -> None:
    fields: Json = {"annotations": annotations or {}, "ownerReferences": owners or []}
    document = {"metadata": metadata(name, **fields), "spec": spec, "status": status or {}}
    found.setdefault(plural, []).append(document)
