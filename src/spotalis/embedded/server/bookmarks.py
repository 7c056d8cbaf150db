"""What stands in a bookmark's object besides its version: the zero value of its kind.

As kube-apiserver v1.36 writes it, nulls where the schema requires a list included.
"""

from __future__ import annotations

from typing import Any

import msgspec

from spotalis.embedded.objects.resources import Resource

_TEMPLATE = {"metadata": {}, "spec": {"containers": None}}
_ZERO: dict[str, dict[str, Any]] = {
    "Pod": {"spec": {"containers": None}, "status": {}},
    "Node": {
        "spec": {},
        "status": {
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "",
                "osImage": "",
                "containerRuntimeVersion": "",
                "kubeletVersion": "",
                "kubeProxyVersion": "",
                "operatingSystem": "",
                "architecture": "",
            },
        },
    },
    "Namespace": {"spec": {}, "status": {}},
    "Service": {"spec": {}, "status": {"loadBalancer": {}}},
    "Deployment": {
        "spec": {"replicas": 0, "selector": None, "template": _TEMPLATE, "strategy": {}},
        "status": {},
    },
    "StatefulSet": {
        "spec": {
            "replicas": 0,
            "selector": None,
            "template": _TEMPLATE,
            "serviceName": "",
            "updateStrategy": {},
        },
        "status": {"replicas": 0, "availableReplicas": 0},
    },
    "ReplicaSet": {
        "spec": {"replicas": 0, "selector": None, "template": _TEMPLATE},
        "status": {"replicas": 0},
    },
    "DaemonSet": {
        "spec": {"selector": None, "template": _TEMPLATE, "updateStrategy": {}},
        "status": {
            "currentNumberScheduled": 0,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 0,
            "numberReady": 0,
        },
    },
    "ControllerRevision": {"data": None, "revision": 0},
    "Job": {"spec": {"template": _TEMPLATE}, "status": {}},
    "PodDisruptionBudget": {
        "spec": {},
        "status": {
            "disruptionsAllowed": 0,
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "expectedPods": 0,
        },
    },
    "Lease": {"spec": {}},
}
_EVENT: dict[str, dict[str, Any]] = {
    "v1": {
        "involvedObject": {},
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "events.k8s.io/v1": {
        "eventTime": None,
        "regarding": {},
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    },
}


def bookmark(resource: Resource, revision: int, *, ends_list: bool = False) -> bytes:
    """A bookmark as a line of a watch; ``ends_list``: what was before it was the whole list."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if ends_list:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    zero = _ZERO.get(resource.kind, {})
    if resource.kind == "Event":
        zero = _EVENT[resource.api_version]
    return msgspec.json.encode({"type": "BOOKMARK", "object": {**head, **zero}}) + b"\n"
