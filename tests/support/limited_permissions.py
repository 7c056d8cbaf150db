"""Let the API server deny what the operator asks about some namespaces, on both beds."""

from __future__ import annotations

import json
from typing import Any

from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.model.transport import Request, Response
from tests.support.cluster import TestCluster
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.operator_replicas import HOME
from tests.support.real_cluster import RealTestCluster
from tests.support.recorded_requests import RecordedRequests

DENIED = Response(status=403, body=json.dumps({"kind": "Status", "code": 403}).encode())
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_NOT_NAMESPACED: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["nodes", "namespaces"], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "verbs": ["get", "list", "watch", "patch"],
    },
]


async def limit_permissions(
    cluster: TestCluster, recorded: RecordedRequests, *namespaces: str
) -> None:
    """Let the operator read and evict in these namespaces only. Call it again to add some."""
    if isinstance(cluster, EmbeddedTestCluster):
        allowed = {HOME, *namespaces}

        def deny(request: Request) -> NetworkFault:
            _, separator, rest = request.path.partition("/namespaces/")
            namespace, _, kind = rest.partition("/")
            is_denied = separator and kind and namespace not in allowed
            return NetworkFault(response=DENIED) if is_denied else DELIVER

        recorded.inject = deny
        return
    assert isinstance(cluster, RealTestCluster)
    cluster.expects_denials = True
    role = {"metadata": {"name": "spotalis-nodes"}, "rules": _NOT_NAMESPACED}
    await cluster.api.raw("POST", f"{_RBAC}/clusterroles", role)
    await cluster.api.raw("POST", f"{_RBAC}/clusterrolebindings", _binding("spotalis-nodes"))
    for namespace in namespaces:
        path = f"{_RBAC}/namespaces/{namespace}/rolebindings"
        await cluster.api.raw("POST", path, _binding("spotalis"))
    await cluster.api.raw("DELETE", f"{_RBAC}/clusterrolebindings/spotalis")


def _binding(role: str) -> dict[str, Any]:
    """A binding of the operator's account to a ClusterRole."""
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "spotalis", "namespace": HOME}],
    }
