"""The garbage collector (upstream: ``pkg/controller/garbagecollector``).

It handles background, foreground and orphaning deletion. An owner of a kind that the API server
does not serve counts as existing.
"""

from __future__ import annotations

from typing import ClassVar

from spotalis.embedded.controllers.controller import Controller, ControllerContext
from spotalis.embedded.controllers.indexes import Index
from spotalis.embedded.objects.owners import deleting, key_of, owner_uids, uid_of
from spotalis.embedded.objects.resources import RESOURCES, Object
from spotalis.embedded.server.writes import DeleteOptions

_OWNERS = {resource.kind: resource for resource in RESOURCES}
_DEPENDENTS = tuple(resource.plural for resource in RESOURCES if resource.plural != "events")
_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"


class GarbageCollector(Controller):
    """Deletes objects whose owners are gone. Keys are ``plural/namespace/name``."""

    name: ClassVar[str] = "garbage-collector"
    user: ClassVar[str] = "system:serviceaccount:kube-system:generic-garbage-collector"
    workers: ClassVar[int] = 20

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._dependents: dict[str, Index] = {}

    def listen(self) -> None:
        """Subscribe to every kind that can own objects or be owned."""
        for plural in _DEPENDENTS:
            index = self._dependents[plural] = Index(self.store, plural, owner_uids)
            self._subscriptions.append(index.close)
        for plural in _DEPENDENTS:
            self._listen_to(plural)

    def _listen_to(self, plural: str) -> None:
        def observe(change: str, obj: Object, old: Object | None) -> None:
            if change == "DELETED":
                self._add_dependents(uid_of(obj))
                for reference in obj["metadata"].get("ownerReferences") or ():
                    self._add_owner(reference, obj)
                return
            references = obj["metadata"].get("ownerReferences")
            changed = old is None or old["metadata"].get("ownerReferences") != references
            if (changed and references) or _is_finalizing(obj):
                self.queue.add(f"{plural}/{key_of(obj)}")

        self.on(plural, observe)

    def _add_dependents(self, uid: str) -> None:
        for plural, index in self._dependents.items():
            for obj in index.of(uid):
                self.queue.add(f"{plural}/{key_of(obj)}")

    def _add_owner(self, reference: Object, dependent: Object) -> None:
        owner = self._owner(reference, dependent)
        if owner is not None and _is_finalizing(owner):
            self.queue.add(f"{_OWNERS[reference['kind']].plural}/{key_of(owner)}")

    async def sync(self, key: str) -> float | None:
        """Delete an object without existing owners, or finish the deletion of an owner."""
        plural, _, rest = key.partition("/")
        namespace, _, name = rest.partition("/")
        obj = self.store.get(plural, namespace, name)
        if obj is None:
            return None
        if deleting(obj):
            await self._finish(plural, obj)
            return None
        references = obj["metadata"].get("ownerReferences") or ()
        if not references:
            return None
        existing = [one for one in references if self._exists(one, obj)]
        if not existing:
            await self.api.delete(
                plural, namespace, name, DeleteOptions(uid=uid_of(obj)), user=self.user
            )
        elif len(existing) < len(references):
            await self._set_owners(plural, obj, existing)
        return None

    def _owner(self, reference: Object, dependent: Object) -> Object | None:
        resource = _OWNERS.get(reference["kind"])
        if resource is None:
            return None
        namespace = dependent["metadata"].get("namespace", "") if resource.namespaced else ""
        owner = self.store.get(resource.plural, namespace, reference["name"])
        return owner if owner is not None and uid_of(owner) == reference["uid"] else None

    def _exists(self, reference: Object, dependent: Object) -> bool:
        if reference["kind"] not in _OWNERS:
            return True
        owner = self._owner(reference, dependent)
        if owner is None:
            return False
        is_foreground = _FOREGROUND in (owner["metadata"].get("finalizers") or ())
        return not (deleting(owner) and is_foreground)

    async def _finish(self, plural: str, obj: Object) -> None:
        """Orphan or delete the dependents of an object, then remove its finalizer."""
        finalizers = obj["metadata"].get("finalizers") or []
        if _ORPHAN in finalizers:
            for kind, one in self._dependents_of(obj):
                others = [r for r in one["metadata"]["ownerReferences"] if r["uid"] != uid_of(obj)]
                await self._set_owners(kind, one, others)
        elif _FOREGROUND in finalizers:
            dependents = list(self._dependents_of(obj))
            for kind, one in dependents:
                if not deleting(one):
                    self.queue.add(f"{kind}/{key_of(one)}")
            if any(_blocks_deletion(one, obj) for _, one in dependents):
                return
        else:
            return
        kept = [one for one in finalizers if one not in (_ORPHAN, _FOREGROUND)]
        metadata = {**obj["metadata"], "finalizers": kept}
        await self.api.update(plural, {**obj, "metadata": metadata}, user=self.user)

    def _dependents_of(self, owner: Object) -> list[tuple[str, Object]]:
        uid = uid_of(owner)
        indexes = self._dependents.items()
        return [(plural, one) for plural, index in indexes for one in index.of(uid)]

    async def _set_owners(self, plural: str, obj: Object, owners: list[Object]) -> None:
        metadata = {**obj["metadata"], "ownerReferences": owners}
        if not owners:
            del metadata["ownerReferences"]
        await self.api.update(plural, {**obj, "metadata": metadata}, user=self.user)


def _is_finalizing(obj: Object) -> bool:
    return deleting(obj) and not {_FOREGROUND, _ORPHAN}.isdisjoint(
        obj["metadata"].get("finalizers") or ()
    )


def _blocks_deletion(dependent: Object, owner: Object) -> bool:
    return any(
        one["uid"] == uid_of(owner) and one.get("blockOwnerDeletion")
        for one in dependent["metadata"].get("ownerReferences") or ()
    )
