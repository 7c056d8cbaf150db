"""Pods made from pod templates (upstream: ``GetPodFromTemplate``)."""

from __future__ import annotations

from spotalis.embedded.objects.resources import Object
from spotalis.model.names import MAX_NAME_LENGTH

HASH_LABEL = "pod-template-hash"


def pod_from(template: Object, namespace: str, owner: Object) -> Object:
    """A new pod without a name, controlled by the ``owner`` reference.

    It shares nested values with the template, which is safe because the API server copies objects.
    """
    source = template.get("metadata") or {}
    metadata: Object = {"namespace": namespace, "ownerReferences": [owner]}
    for field in ("labels", "annotations", "finalizers"):
        if source.get(field):
            metadata[field] = source[field].copy()
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template["spec"])}


def name_prefix(name: str) -> str:
    """The prefix of generated pod names (pkg/controller/controller_utils.go, getPodsPrefix)."""
    return f"{name}-" if len(name) < MAX_NAME_LENGTH else name


def without_hash(template: Object) -> Object:
    """The template without the label that its ReplicaSet adds."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    if HASH_LABEL not in labels:
        return template
    kept = {key: value for key, value in labels.items() if key != HASH_LABEL}
    metadata = {key: value for key, value in template["metadata"].items() if key != "labels"}
    if kept:
        metadata["labels"] = kept
    return {**template, "metadata": metadata}


def same_template(one: Object, other: Object) -> bool:
    """Whether two templates are equal; empty metadata fields are ignored."""
    left, right = without_hash(one), without_hash(other)
    return left["spec"] == right["spec"] and _metadata(left) == _metadata(right)


def _metadata(template: Object) -> Object:
    return {key: value for key, value in (template.get("metadata") or {}).items() if value}
