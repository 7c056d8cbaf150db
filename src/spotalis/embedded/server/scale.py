"""The scale subresource."""

from __future__ import annotations

from typing import Any

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.objects.selectors import format_selector
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import Cause


def scale_of(obj: Object) -> Object:
    """The ``autoscaling/v1`` Scale of a Deployment, StatefulSet or ReplicaSet."""
    spec, metadata = obj.get("spec") or {}, obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = spec.get("replicas", 1)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": format_selector(spec.get("selector")),
        },
    }


def scaled(resource: Resource, obj: Object, scale: Object) -> Object:
    """Set ``spec.replicas`` of ``obj`` from a Scale.

    Raises:
        ApiError: 400, it is not a Scale of this object; 422, the number is negative.
    """
    metadata = scale.get("metadata") or {}
    if scale.get("kind", "Scale") != "Scale":
        raise errors.bad_request(f"expected a Scale, got {scale.get('kind')}")
    if metadata.get("name", obj["metadata"]["name"]) != obj["metadata"]["name"]:
        raise errors.bad_request("the name of the object does not match the name on the URL")
    replicas: Any = (scale.get("spec") or {}).get("replicas") or 0
    if not isinstance(replicas, int) or replicas < 0:
        why = "must be greater than or equal to 0"
        cause = Cause("FieldValueInvalid", f"Invalid value: {replicas}: {why}", "spec.replicas")
        raise errors.invalid_kind("Scale.autoscaling", obj["metadata"]["name"], [cause])
    version = metadata.get("resourceVersion") or obj["metadata"]["resourceVersion"]
    return {
        **obj,
        "metadata": {**obj["metadata"], "resourceVersion": version},
        "spec": {**(obj.get("spec") or {}), "replicas": replicas},
    }
