"""Adoption and release of pods by their controller (upstream: ``PodControllerRefManager``).

A controller adopts pods without a controller that its selector matches, and releases its pods that
the selector no longer matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from spotalis.embedded.objects.owners import controller_of, deleting, reference_to, uid_of
from spotalis.embedded.objects.pods import is_active
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.objects.selectors import label_selector

if TYPE_CHECKING:
    from spotalis.embedded.controllers.indexes import Indexes
    from spotalis.embedded.server.api import Api


async def claim_pods(api: Api, indexes: Indexes, owner: Object, *, user: str) -> None:
    """Adopt and release pods of an ``apps/v1`` owner, unless the owner is being deleted.

    Raises:
        ApiError: a pod changed in the meantime.
    """
    if deleting(owner):
        return
    uid = uid_of(owner)
    for pod in _orphans(indexes, owner):
        reference = reference_to(owner, "apps/v1", owner["kind"])
        others = pod["metadata"].get("ownerReferences") or ()
        await _write(api, pod, [*others, reference], user)
    for pod in _unmatched_pods(indexes, owner):
        kept = [one for one in pod["metadata"]["ownerReferences"] if one["uid"] != uid]
        await _write(api, pod, kept, user)


def adopters(pod: Object, list_owners: Callable[[], Iterable[Object]]) -> Iterator[Object]:
    """The owners that would adopt the pod; ``list_owners`` is called only for an active orphan."""
    if controller_of(pod) is not None or not is_active(pod):
        return
    labels = pod["metadata"].get("labels") or {}
    for owner in list_owners():
        selector = label_selector(owner["spec"].get("selector"))
        if selector is not None and selector.matches(labels):
            yield owner


def _orphans(indexes: Indexes, owner: Object) -> list[Object]:
    namespace = owner["metadata"].get("namespace", "")
    return [
        pod
        for pod in indexes.orphans_in(namespace)
        if any(adopters(pod, lambda: [owner])) and _has_valid_name(pod, owner)
    ]


def _has_valid_name(pod: Object, owner: Object) -> bool:
    """Whether the owner may adopt a pod of this name: a StatefulSet needs its ordinal names."""
    base, _, number = pod["metadata"]["name"].rpartition("-")
    is_ordinal = base == owner["metadata"]["name"] and number.isdigit()
    return owner["kind"] != "StatefulSet" or bool(is_ordinal)


def _unmatched_pods(indexes: Indexes, owner: Object) -> list[Object]:
    """Pods of the owner that its selector does not match.

    The label sets in the owner's pod counts are checked first, because they rarely mismatch.
    """
    selector = label_selector(owner["spec"].get("selector"))
    counts = indexes.pod_counts(uid_of(owner))
    if selector is None or all(selector.matches(dict(labels)) for labels in +counts.labels):
        return []
    return [
        pod
        for pod in indexes.pods_of(uid_of(owner))
        if not selector.matches(pod["metadata"].get("labels") or {})
    ]


async def _write(api: Api, pod: Object, references: list[Object], user: str) -> None:
    metadata = {**pod["metadata"], "ownerReferences": references}
    await api.update("pods", {**pod, "metadata": metadata}, user=user)
