"""The garbage collector (upstream: ``pkg/controller/garbagecollector``).

It handles background deletion only. An owner of a kind that the API server does not serve counts
as existing.
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
                return
            references = obj["metadata"].get("ownerReferences")
            changed = old is None or old["metadata"].get("ownerReferences") != references
            if changed and references:
                self.queue.add(f"{plural}/{key_of(obj)}")

        self.on(plural, observe)

    def _add_dependents(self, uid: str) -> None:
        for plural, index in self._dependents.items():
            for obj in index.of(uid):
                self.queue.add(f"{plural}/{key_of(obj)}")

    async def sync(self, key: str) -> float | None:
        """Delete an object without existing owners, or remove those that are gone from it."""
        plural, _, rest = key.partition("/")
        namespace, _, name = rest.partition("/")
        obj = self.store.get(plural, namespace, name)
        if obj is None or deleting(obj):
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

    def _exists(self, reference: Object, dependent: Object) -> bool:
        resource = _OWNERS.get(reference["kind"])
        if resource is None:
            return True
        namespace = dependent["metadata"].get("namespace", "") if resource.namespaced else ""
        owner = self.store.get(resource.plural, namespace, reference["name"])
        return owner is not None and uid_of(owner) == reference["uid"]

    async def _set_owners(self, plural: str, obj: Object, owners: list[Object]) -> None:
        metadata = {**obj["metadata"], "ownerReferences": owners}
        if not owners:
            del metadata["ownerReferences"]
        await self.api.update(plural, {**obj, "metadata": metadata}, user=self.user)
