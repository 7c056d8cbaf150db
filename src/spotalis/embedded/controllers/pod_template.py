"""A pod made from a workload's template (upstream: ``GetPodFromTemplate``)."""

from __future__ import annotations

from spotalis.embedded.objects.resources import Object

HASH_LABEL = "pod-template-hash"


def pod_from(template: Object, namespace: str, owner: Object) -> Object:
    """A new pod, still without a name, controlled by the ``owner`` reference.

    Its parts below the first level are the template's: the API server copies what it is given.
    """
    source = template.get("metadata") or {}
    metadata: Object = {"namespace": namespace, "ownerReferences": [owner]}
    for field in ("labels", "annotations", "finalizers"):
        if source.get(field):
            metadata[field] = source[field].copy()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": dict(template["spec"]),
    }


def name_prefix(name: str) -> str:
    """What generated pod names begin with: the owner's name and a dash."""
    return f"{name}-"


def without_hash(template: Object) -> Object:
    """The template as its Deployment has it: without the label of its ReplicaSet."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    if HASH_LABEL not in labels:
        return template
    kept = {key: value for key, value in labels.items() if key != HASH_LABEL}
    metadata = {key: value for key, value in template["metadata"].items() if key != "labels"}
    if kept:
        metadata["labels"] = kept
    return {**template, "metadata": metadata}


def same_template(one: Object, other: Object) -> bool:
    """Whether two templates mean the same pods; empty fields of metadata do not count."""
    left, right = without_hash(one), without_hash(other)
    return left["spec"] == right["spec"] and _said(left) == _said(right)


def _said(template: Object) -> Object:
    return {key: value for key, value in (template.get("metadata") or {}).items() if value}
