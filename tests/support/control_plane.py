"""The real control plane on loopback: etcd, API server, controllers, scheduler, kwok.

    with ControlPlane.boot(folder) as control_plane:
        control_plane.add_nodes(spot=2, on_demand=2)
        control_plane.apply(manifest)
        ready = lambda: len(control_plane.ready_pods("default")) == 10
        eventually(ready, within=20, what="10 ready pods")
        assert [e.name for e in control_plane.evictions("spotalis")] == []

Booting takes about four seconds, so that a fresh control plane is the cheapest clean-up, and
several can run side by side. kwok simulates nodes and kubelets; testbed/kwok/stages.yaml defines
how, and which annotations make a pod slow, crash or never become ready. `python -m testbed` builds
the binaries.
"""
# ruff: noqa: TID251  # CI says in the environment that it is CI

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from testbed import build
from testbed.programs import CONTROL_PLANE, ProgramSet
from tests.support.api_requests import ApiError, Json
from tests.support.audit_log import AuditEvent, AuditLog
from tests.support.control_plane_config import (
    WITHOUT_PERMISSIONS,
    ControlPlaneConfig,
    ProcessName,
)
from tests.support.control_plane_errors import ControlPlaneError, KubectlError
from tests.support.control_plane_processes import ControlPlaneProcesses, say_if_building
from tests.support.eventually import NeverHappenedError, eventually
from tests.support.free_ports import PortClaim

__all__ = [
    "CAPACITY_TYPE_LABEL",
    "WITHOUT_PERMISSIONS",
    "ApiError",
    "AuditEvent",
    "ControlPlane",
    "ControlPlaneConfig",
    "ControlPlaneError",
    "Json",
    "KubectlError",
    "NeverHappenedError",
    "ProcessName",
    "binaries_or_skip",
    "control_plane",
    "eventually",
]

CAPACITY_TYPE_LABEL = "karpenter.sh/capacity-type"
"""The node label by which `add_nodes` marks the capacity type: "spot" or "on-demand"."""


_OWNED = {
    "name": "owned-by-replicaset-or-statefulset",
    "expression": "has(object.metadata.ownerReferences) && "
    "object.metadata.ownerReferences.exists(o, has(o.controller) && "
    "o.controller && o.kind in ['ReplicaSet', 'StatefulSet'])",
}
"""The match condition of the manifests."""
_POD_CREATION = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
    "scope": "Namespaced",
}


class ControlPlane(ControlPlaneProcesses):
    """A control plane with methods for nodes, pods, evictions and the audit log.

    ControlPlaneProcesses starts, stops and pauses its processes and sends its requests.
    """

    def __init__(
        self,
        folder: Path,
        config: ControlPlaneConfig,
        binaries: Mapping[str, Path],
        ports: PortClaim,
    ) -> None:
        """Prepares a control plane without starting it: use `boot`."""
        super().__init__(folder, config, binaries, ports)
        self._audit_log = AuditLog(folder / "audit.log")
        self._node_numbers = {"spot": 0, "on-demand": 0}

    def pods(self, namespace: str, selector: str = "") -> list[Json]:
        """Return the pods of a namespace, by label selector ("app=web"), sorted by name."""
        return self._list(f"/api/v1/namespaces/{namespace}/pods", selector)

    def ready_pods(self, namespace: str, selector: str = "") -> list[Json]:
        """Return those of `pods` that are Ready and not terminating."""
        return [
            pod
            for pod in self.pods(namespace, selector)
            if "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready") == "True"
        ]

    def evict(
        self, namespace: str, name: str, *, uid: str | None = None, user: str = "admin"
    ) -> Json:
        """Evict a pod.

        Raises:
            ApiError: with status 429 if a PodDisruptionBudget blocks it.
        """
        body: Json = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
        }
        if uid is not None:
            body["deleteOptions"] = {"preconditions": {"uid": uid}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
        return self.request("POST", path, body, user=user)

    def add_nodes(
        self,
        *,
        spot: int = 0,
        on_demand: int = 0,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        taints: Sequence[Mapping[str, str]] = (),
        allocatable: Mapping[str, str] | None = None,
        wait: float = 30.0,
    ) -> list[str]:
        """Add nodes and wait until they are Ready and have no not-ready taint. Return their names.

        Args:
            spot, on_demand: number of nodes of each capacity type.
            labels: more labels for each node. An empty CAPACITY_TYPE_LABEL omits that label.
            allocatable: {"cpu": "32", "memory": "128Gi", "pods": "110"} by default.
            wait: timeout in seconds; 0 does not wait.

        Raises:
            NeverHappenedError, ApiError
        """
        resources = dict(allocatable or {"cpu": "32", "memory": "128Gi", "pods": "110"})
        names = []
        for capacity_type, count in (("spot", spot), ("on-demand", on_demand)):
            for _ in range(count):
                self._node_numbers[capacity_type] += 1
                name = f"{capacity_type}-{self._node_numbers[capacity_type]}"
                all_labels = {
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    CAPACITY_TYPE_LABEL: capacity_type,
                    **(labels or {}),
                }
                if not all_labels[CAPACITY_TYPE_LABEL]:
                    del all_labels[CAPACITY_TYPE_LABEL]
                metadata = {
                    "name": name,
                    "labels": all_labels,
                    "annotations": dict(annotations or {}),
                }
                node: Json = {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": metadata,
                    "spec": {"taints": [dict(taint) for taint in taints]},
                    "status": {"allocatable": resources, "capacity": resources},
                }
                self.request("POST", "/api/v1/nodes", node)
                names.append(name)
        if wait > 0 and names:
            eventually(
                lambda: set(names) <= self._usable_nodes(),
                within=wait,
                what=f"nodes {', '.join(names)} are Ready",
            )
        return names

    def remove_nodes(self, *names: str) -> None:
        """Remove nodes and all their pods at once, as a cloud provider does.

        Deletes the Node objects first, then their pods without a grace period, including pods that
        the scheduler binds to these nodes meanwhile.

        Raises:
            ApiError
        """
        for name in names:
            self.request("DELETE", f"/api/v1/nodes/{name}")
        while lost := [p for p in self._list("/api/v1/pods", "") if _node_of(p) in names]:
            for pod in lost:
                self._lose(pod)

    def _lose(self, pod: Json) -> None:
        metadata = pod["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        try:
            self.request("DELETE", path, options)
        except ApiError as error:
            if error.status not in (404, 409):  # already deleted, or recreated with the same name
                raise

    def register_webhook(
        self, url: str, ca_pem: str | bytes, *, name: str = "spotalis", timeout_seconds: int = 2
    ) -> None:
        """Register a webhook for pods as the operator's manifests do.

        Applies to pods whose owner is a ReplicaSet or a StatefulSet, outside kube-system and the
        operator's namespace. The API server ignores failures. It uses the registration within a
        second. A second call replaces the registration.

        Args:
            url: "https://127.0.0.1:<port>/mutate"; the certificate must be for 127.0.0.1.
            ca_pem: the CA to trust, PEM.
        """
        pem = ca_pem.encode() if isinstance(ca_pem, str) else ca_pem
        excluded = ["kube-system", self.config.namespace]
        configuration: Json = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": "pods.spotalis.io",
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {"url": url, "caBundle": base64.b64encode(pem).decode()},
                    "failurePolicy": "Ignore",
                    "matchPolicy": "Equivalent",
                    "reinvocationPolicy": "IfNeeded",
                    "sideEffects": "None",
                    "timeoutSeconds": timeout_seconds,
                    "namespaceSelector": {
                        "matchExpressions": [
                            {
                                "key": "kubernetes.io/metadata.name",
                                "operator": "NotIn",
                                "values": excluded,
                            }
                        ]
                    },
                    "matchConditions": [_OWNED],
                    "rules": [_POD_CREATION],
                }
            ],
        }
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        self.request(
            "PATCH",
            f"{path}/{name}?fieldManager=testbed&force=true",
            configuration,
            content_type="application/apply-patch+yaml",
        )

    def audit(
        self,
        *,
        user: str | None = None,
        verb: str | None = None,
        kind: str | None = None,
        stage: str | None = "ResponseComplete",
    ) -> list[AuditEvent]:
        """Return the requests to the API server from its audit log, in the order of its lines.

        The log is written in blocking mode: a request that has been answered is in it. (The
        response of a large read may arrive before its line.) It leaves out reads by the control
        plane itself (testbed/kubernetes/audit-policy.yaml). A running watch is found by stage
        "ResponseStarted" only.

        Args:
            user: a user of the control plane ("spotalis") or a full user name.
            kind: resource with subresource, such as "pods" or "pods/eviction".
            stage: None for all stages; by default each completed request once.
        """
        name = None if user is None else self.user_name(user)
        return [
            event
            for event in self._audit_log.events()
            if (name is None or event.user == name)
            and (verb is None or event.verb == verb)
            and (kind is None or event.kind == kind)
            and (stage is None or event.stage == stage)
        ]

    def evictions(self, user: str | None = None) -> list[AuditEvent]:
        """Return the successful evictions (2xx, no dry runs), in the order of the responses.

        Their `namespace` and `name` are those of the pod, `precondition_uid` is the UID in the
        request.
        """
        events = [
            event
            for event in self.audit(user=user, verb="create", kind="pods/eviction")
            if 200 <= event.code < 300 and not event.is_dry_run
        ]
        return sorted(events, key=lambda event: event.timestamp)

    def _list(self, path: str, selector: str) -> list[Json]:
        query = "?labelSelector=" + _quoted(selector) if selector else ""
        items: list[Json] = self.request("GET", path + query).get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def _usable_nodes(self) -> set[str]:
        return {
            node["metadata"]["name"]
            for node in self._list("/api/v1/nodes", "")
            if _condition(node, "Ready") == "True"
            and not any(
                taint["key"].startswith("node.kubernetes.io/not-ready")
                for taint in node["spec"].get("taints") or []
            )
        }


def _node_of(pod: Json) -> str:
    return str(pod["spec"].get("nodeName", ""))


def _quoted(selector: str) -> str:
    return "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in selector)


def _condition(item: Json, kind: str) -> str | None:
    """Return the status of a condition ("True", "False", "Unknown"), or None."""
    for condition in item.get("status", {}).get("conditions") or []:
        if condition["type"] == kind:
            return str(condition["status"])
    return None


def binaries_or_skip(programs: ProgramSet = CONTROL_PLANE) -> dict[str, Path]:
    """Return the paths of the binaries of a set. Builds them if necessary.

    Skips the test if they cannot be built; fails it if the environment says CI=true.
    """
    try:
        return build.obtain(programs, say_if_building)
    except (build.UnobtainableError, build.BuildFailedError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for the module, without nodes. Skips like `binaries_or_skip`."""
    binaries = binaries_or_skip()
    with ControlPlane.boot(
        tmp_path_factory.mktemp("real-control_plane"), binaries=binaries
    ) as control_plane:
        yield control_plane
