"""Which pods belong to a controller: it adopts orphans that its selector matches, and lets go of
pods that it no longer matches (upstream: ``PodControllerRefManager``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from spotalis.embedded.objects.owners import controller_of, deleting, reference_to, uid_of
from spotalis.embedded.objects.pods import is_active
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.query_selectors import from_object

if TYPE_CHECKING:
    from spotalis.embedded.controllers.indexes import Indexes
    from spotalis.embedded.server.api import Api


async def claim(api: Api, indexes: Indexes, owner: Object, *, user: str) -> None:
    """Adopt and release pods of an ``apps/v1`` owner, which does neither while it is deleted.

    Raises:
        ApiError: a pod has changed meanwhile.
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


def claimants(pod: Object, owners: Iterable[Object]) -> Iterator[Object]:
    """Those of ``owners`` that would adopt an orphan."""
    if controller_of(pod) is not None or not is_active(pod):
        return
    labels = pod["metadata"].get("labels") or {}
    for owner in owners:
        selector = from_object(owner["spec"].get("selector"))
        if selector is not None and selector.matches(labels):
            yield owner


def _orphans(indexes: Indexes, owner: Object) -> list[Object]:
    namespace = owner["metadata"].get("namespace", "")
    return [
        pod
        for pod in indexes.orphans_in(namespace)
        if list(claimants(pod, [owner])) and _has_ordinal_name(pod, owner)
    ]


def _has_ordinal_name(pod: Object, owner: Object) -> bool:
    """A StatefulSet adopts only what has a name of its own."""
    if owner["kind"] != "StatefulSet":
        return True
    base, _, number = pod["metadata"]["name"].rpartition("-")
    return bool(base == owner["metadata"]["name"]) and number.isdigit()


def _unmatched_pods(indexes: Indexes, owner: Object) -> list[Object]:
    """Pods of the owner that its selector does not match; asked of their labels in sum first."""
    selector = from_object(owner["spec"].get("selector"))
    tally = indexes.tally_of(uid_of(owner))
    if selector is None or all(selector.matches(dict(labels)) for labels in +tally.labels):
        return []
    return [
        pod
        for pod in indexes.pods_of(uid_of(owner))
        if not selector.matches(pod["metadata"].get("labels") or {})
    ]


async def _write(api: Api, pod: Object, references: list[Object], user: str) -> None:
    metadata = {**pod["metadata"], "ownerReferences": references}
    await api.update("pods", {**pod, "metadata": metadata}, user=user)
