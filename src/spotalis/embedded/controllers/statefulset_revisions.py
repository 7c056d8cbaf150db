"""The ControllerRevisions of a StatefulSet: its templates, numbered.

Pure; upstream: ``pkg/controller/history`` and ``statefulset/stateful_set_utils.go``.
"""

from __future__ import annotations

from spotalis.embedded.controllers.name_hash import short_hash
from spotalis.embedded.controllers.pod_template import same_template
from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.owners import reference_to
from spotalis.embedded.objects.resources import Object

_HASH_LABEL = "controller.kubernetes.io/hash"


def by_number(revisions: list[Object]) -> list[Object]:
    """Lowest number first; creation time and name break ties."""
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


def built(statefulset: Object, number: int, collisions: int) -> Object:
    """A revision of the current template, ready to be created."""
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


def to_forget(statefulset: Object, revisions: list[Object], living: frozenset[str]) -> list[Object]:
    """The oldest revisions that nothing uses, beyond ``revisionHistoryLimit``.

    Args:
        statefulset: whose they are.
        revisions: by number.
        living: names of the current, the update and the pods' revisions.
    """
    limit = statefulset["spec"].get("revisionHistoryLimit")
    unused = [one for one in revisions if one["metadata"]["name"] not in living]
    return unused[: max(0, len(unused) - (10 if limit is None else int(limit)))]
