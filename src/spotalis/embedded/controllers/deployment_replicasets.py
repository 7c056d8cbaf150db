"""The ReplicaSets of a Deployment: which one is new, and their annotations.

Pure functions. Upstream: ``pkg/controller/deployment/util/deployment_util.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from spotalis.embedded.controllers.name_hash import short_hash
from spotalis.embedded.controllers.pod_template import HASH_LABEL, same_template, without_hash
from spotalis.embedded.controllers.rollout_arithmetic import Limits, Size, limits
from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.owners import key_of, reference_to, replicas_of, uid_of
from spotalis.embedded.objects.resources import Object
from spotalis.model.names import MAX_NAME_LENGTH

_PREFIX = "deployment.kubernetes.io/"
REVISION = _PREFIX + "revision"
HISTORY = _PREFIX + "revision-history"
DESIRED = _PREFIX + "desired-replicas"
MAX_REPLICAS = _PREFIX + "max-replicas"
_NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        DESIRED,
        MAX_REPLICAS,
    )
)
_MAX_HISTORY_CHARACTERS = 2000


def limits_of(deployment: Object) -> Limits:
    """The bounds of the strategy at the desired size."""
    strategy = deployment["spec"].get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    return limits(
        replicas_of(deployment),
        rolling.get("maxSurge", "25%"),
        rolling.get("maxUnavailable", "25%"),
        rolling=is_rolling(deployment),
    )


def is_rolling(deployment: Object) -> bool:
    """Whether the strategy is RollingUpdate (the default) and not Recreate."""
    strategy = deployment["spec"].get("strategy") or {}
    return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def by_age(sets: Iterable[Object]) -> list[Object]:
    """Sort ReplicaSets, oldest first."""
    return sorted(sets, key=_age)


def new_and_old(deployment: Object, sets: list[Object]) -> tuple[Object | None, list[Object]]:
    """Return the ReplicaSet of the current template (the oldest of several), and the others."""
    template = deployment["spec"]["template"]
    for candidate in by_age(sets):
        if same_template(candidate["spec"]["template"], template):
            uid = uid_of(candidate)
            return candidate, [other for other in sets if uid_of(other) != uid]
    return None, list(sets)


def size_of(replicaset: Object) -> Size:
    """The size of a ReplicaSet."""
    created, name = _age(replicaset)
    return Size(
        name=name,
        replicas=replicas_of(replicaset),
        available=int((replicaset.get("status") or {}).get("availableReplicas", 0)),
        created=created,
        max_replicas=int_annotation(replicaset, MAX_REPLICAS) or 0,
    )


def active(sets: Iterable[Object]) -> list[Object]:
    """The ReplicaSets whose ``spec.replicas`` is not 0."""
    return [one for one in sets if replicas_of(one) > 0]


def int_annotation(replicaset: Object, annotation: str) -> int | None:
    """The whole number in an annotation; None if it is absent or not a number."""
    text = (replicaset["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() else None


def next_revision(old: Iterable[Object]) -> int:
    """One more than the highest revision of the old ReplicaSets."""
    return max((int_annotation(one, REVISION) or 0 for one in old), default=0) + 1


def annotations_for_new(deployment: Object, have: dict[str, str], revision: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: those of the Deployment, and the revision.

    If an existing ReplicaSet becomes the new one again (a rollback), its previous revision is
    appended to the history annotation.
    """
    own = (deployment["metadata"].get("annotations") or {}).items()
    wanted = {**have, **{key: value for key, value in own if key not in _NOT_COPIED}}
    before = have.get(REVISION, "")
    if before and not before.isdigit():
        return wanted
    if int(before or 0) >= revision:
        return wanted
    wanted[REVISION] = str(revision)
    if before:
        wanted[HISTORY] = _with_history(have.get(HISTORY, ""), before)
    return wanted


def size_annotations(bounds: Limits) -> dict[str, str]:
    """The annotations by which a later sync distinguishes scaling from a rollout."""
    return {DESIRED: str(bounds.replicas), MAX_REPLICAS: str(bounds.max_total)}


def template_hash(deployment: Object) -> str:
    """The pod-template-hash of the current template."""
    collisions = (deployment.get("status") or {}).get("collisionCount")
    return short_hash(without_hash(deployment["spec"]["template"]), collisions)


def new_replicaset(deployment: Object, replicas: int, revision: int) -> Object:
    """A ReplicaSet for the current template, to be created."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    unique = template_hash(deployment)
    template = deep_copy(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = unique
    selector = deep_copy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = unique
    annotations = annotations_for_new(deployment, {}, revision)
    annotations.update(size_annotations(limits_of(deployment)))
    result: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name'][: MAX_NAME_LENGTH - 1 - len(unique)]}-{unique}",
            "namespace": metadata.get("namespace", ""),
            "labels": dict(template["metadata"]["labels"]),
            "annotations": annotations,
            "ownerReferences": [reference_to(deployment, "apps/v1", "Deployment")],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        result["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return result


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the new ReplicaSet has the desired size and all its pods are available."""
    if new is None:
        return False
    wanted = replicas_of(deployment)
    return (
        replicas_of(new) == wanted
        and int_annotation(new, DESIRED) == wanted
        and size_of(new).available == wanted
    )


def to_clean_up(deployment: Object, old: list[Object]) -> list[Object]:
    """The empty ReplicaSets beyond ``revisionHistoryLimit``, lowest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit >= 2**31 - 1:
        return []
    alive = [one for one in old if not one["metadata"].get("deletionTimestamp")]
    alive.sort(key=lambda one: (int_annotation(one, REVISION) or 0, _age(one)))
    return [one for one in alive[: max(0, len(alive) - int(limit))] if _is_empty(one)]


def _is_empty(replicaset: Object) -> bool:
    status = replicaset.get("status") or {}
    return (
        status.get("replicas", 0) == 0
        and replicas_of(replicaset) == 0
        and replicaset["metadata"].get("generation", 1) <= status.get("observedGeneration", 0)
    )


def _age(replicaset: Object) -> tuple[str, str]:
    metadata = replicaset["metadata"]
    return (metadata.get("creationTimestamp") or "", key_of(replicaset).partition("/")[2])


def _with_history(history: str, revision: str) -> str:
    revisions = [*(one for one in history.split(",") if one), revision]
    while len(",".join(revisions)) > _MAX_HISTORY_CHARACTERS:
        revisions.pop(0)
    return ",".join(revisions)
