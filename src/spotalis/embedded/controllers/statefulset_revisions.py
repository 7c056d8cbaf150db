"""The ControllerRevisions of a StatefulSet, which hold its pod templates.

Pure functions. Upstream: ``pkg/controller/history`` and
``pkg/controller/statefulset/stateful_set_utils.go``.
"""

from __future__ import annotations

from spotalis.embedded.controllers.name_hash import short_hash
from spotalis.embedded.controllers.pod_template import same_template
from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.owners import reference_to
from spotalis.embedded.objects.resources import Object

_HASH_LABEL = "controller.kubernetes.io/hash"


def by_number(revisions: list[Object]) -> list[Object]:
    """Sort revisions, lowest number first; ties are broken by creation time and name."""
    return sorted(
        revisions,
        key=lambda one: (
            one.get("revision", 0),
            one["metadata"].get("creationTimestamp", ""),
            one["metadata"]["name"],
        ),
    )


def template_in(revision: Object) -> Object:
    """The pod template that a revision holds."""
    template = revision["data"]["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}


def equal_to(revisions: list[Object], template: Object) -> list[Object]:
    """The revisions that hold this template, in the given order."""
    return [one for one in revisions if same_template(template_in(one), template)]


def new_revision(statefulset: Object, number: int, collisions: int) -> Object:
    """A revision with the current template, to be created."""
    metadata = statefulset["metadata"]
    template = deep_copy(statefulset["spec"]["template"])
    data = {"spec": {"template": {**template, "$patch": "replace"}}}
    unique = short_hash(data, collisions)
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels[_HASH_LABEL] = unique
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{metadata['name'][:223]}-{unique}",
            "namespace": metadata.get("namespace", ""),
            "labels": labels,
            "ownerReferences": [reference_to(statefulset, "apps/v1", "StatefulSet")],
        },
        "data": data,
        "revision": number,
    }
