"""Creates, replaces and deletes objects: metadata, validation, finalizers and grace periods.

The rules are those of the generic registry of kube-apiserver and of its per-kind strategies.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.embedded.objects.resources import BY_PLURAL, Object, Resource
from spotalis.embedded.objects.timestamps import instant, stamp
from spotalis.embedded.server import errors
from spotalis.embedded.server.defaults import (
    add_default_tolerations,
    fill_condition_times,
    set_defaults,
)
from spotalis.embedded.server.initial_status import set_initial_status
from spotalis.embedded.server.validation import check_create, check_update
from spotalis.embedded.store import ObjectStore
from spotalis.model.environment import Clock, Random

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names (apimachinery/pkg/util/rand): no vowels, and no 0, 1 or 3."""
_MAX_BASE_LENGTH = 58
_SYSTEM_FIELDS = (
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_OPTIONAL_FIELDS = ("labels", "annotations", "ownerReferences", "finalizers", "managedFields")
"""Metadata fields that are left out if they are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """Options of a deletion."""

    uid: str = ""
    """Precondition: the UID of the object."""
    resource_version: str = ""
    """Precondition: the version of the object."""
    grace_seconds: int | None = None
    """None: the grace period of the pod."""


class Writer:
    """Writes to a store by the rules of the API."""

    def __init__(self, store: ObjectStore, clock: Clock, rng: Random) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng

    def name(self, resource: Resource, obj: Object) -> None:
        """Set a name generated from ``generateName``, in place."""
        metadata = obj["metadata"]
        base = (metadata.get("generateName") or "")[:_MAX_BASE_LENGTH]
        namespace = metadata.get("namespace", "")
        while base and not metadata.get("name"):
            name = base + self._suffix()
            if self._store.get(resource.plural, namespace, name) is None:
                metadata["name"] = name

    def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an admitted object, which is changed in place.

        Raises:
            ApiError: 409, the object exists; 422, it is invalid.
        """
        metadata = obj["metadata"]
        self.name(resource, obj)
        if metadata.get("resourceVersion"):
            why = "resourceVersion should not be set on objects to be created"
            raise errors.ApiError(500, "", why)
        for field in _SYSTEM_FIELDS:
            metadata.pop(field, None)
        for field in _OPTIONAL_FIELDS:
            if not metadata.get(field):
                metadata.pop(field, None)
        metadata["uid"] = self.uid()
        metadata["creationTimestamp"] = self.now()
        if resource.counts_generations:
            metadata["generation"] = 1
        set_initial_status(resource, obj, self._clock.now())
        set_defaults(resource.plural, obj)
        check_create(resource, obj)
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        there = self._store.get(resource.plural, namespace, name)
        if there is not None:
            deleting = "deletionTimestamp" in there["metadata"]
            raise errors.already_exists(resource, name, deleting=deleting)
        obj = _in_order(resource, obj)
        return obj if dry_run else self._store.put(resource.plural, obj)

    def replace(
        self,
        resource: Resource,
        new: Object,
        old: Object,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace ``old`` by ``new``, which is changed in place.

        Nothing is written if nothing changes. An object that is being deleted is removed when it
        loses its last finalizer.

        Raises:
            ApiError: 409, ``new`` is based on another version; 422, the change is not allowed.
        """
        _check_versions(resource, new, old)
        _keep_metadata(new, old)
        if subresource == "status":
            _keep(new, old, "spec")
            if resource.plural == "deployments":
                _keep(new["metadata"], old["metadata"], "labels")
            if resource.plural == "pods":
                _keep(new["metadata"], old["metadata"], "ownerReferences")
                fill_condition_times(resource.plural, new)
        else:
            if "status" in resource.subresources:
                _keep(new, old, "status")
            if "spec" not in new or new["spec"] != old.get("spec"):
                set_defaults(resource.plural, new)
                if resource.plural == "pods":
                    add_default_tolerations(new["spec"])
            if resource.counts_generations and _is_new_generation(resource, new, old):
                new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        check_update(resource, new, old)
        new = _in_order(resource, new)
        if new == old:
            return old
        if dry_run:
            return new
        metadata = new["metadata"]
        if (
            metadata.get("deletionTimestamp")
            and old["metadata"].get("finalizers")
            and not metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
        ):
            self._remove(resource, old)
            return new
        return self._store.put(resource.plural, new)

    def delete(
        self, resource: Resource, old: Object, options: DeleteOptions, *, dry_run: bool = False
    ) -> tuple[Object, bool]:
        """Delete an object or mark it for deletion.

        Returns:
            The object, and whether it has been removed.

        Raises:
            ApiError: 409, a precondition is not met.
        """
        check_preconditions(resource, old, options)
        if resource.plural == "namespaces":
            return self._terminate_namespace(resource, old, dry_run=dry_run)
        metadata = dict(old["metadata"])
        now = self._clock.now().replace(microsecond=0)
        graceful = False
        if resource.plural == "pods":
            shortened = _set_deletion_time(old, metadata, options.grace_seconds, now)
            if shortened is None:
                return old, False  # it terminates already, and no later than requested
            graceful = shortened
        finalizers, changed = metadata.get("finalizers"), graceful
        if finalizers and not graceful:
            _mark_deleting(metadata, now)
            changed = True
        current = {**old, "metadata": metadata}
        if changed and current != old and not dry_run:
            current = self._store.put(resource.plural, current)
        if finalizers or metadata.get("deletionGracePeriodSeconds"):
            return current, False
        if dry_run:
            return current, True
        return self._remove(resource, current), True

    def now(self) -> str:
        """The current time as the API writes it."""
        return stamp(self._clock.now())

    def uid(self) -> str:
        """A random (version 4) UUID."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _suffix(self) -> str:
        return "".join(ALPHABET[self._rng.getrandbits(32) % len(ALPHABET)] for _ in range(5))

    def _remove(self, resource: Resource, obj: Object) -> Object:
        namespace = obj["metadata"].get("namespace", "")
        last = self._store.remove(resource.plural, namespace, obj["metadata"]["name"])
        if namespace:
            self._remove_if_empty(namespace)
        return last

    def _terminate_namespace(
        self, resource: Resource, old: Object, *, dry_run: bool
    ) -> tuple[Object, bool]:
        """Terminate a namespace and delete its objects, as the namespace controller does.

        The namespace is removed with its last object.
        """
        if old["metadata"].get("deletionTimestamp"):
            return old, False
        metadata = {**old["metadata"], "deletionTimestamp": self.now()}
        terminating: Object = {**old, "metadata": metadata, "status": {"phase": "Terminating"}}
        if dry_run:
            return terminating, False
        terminating = self._store.put(resource.plural, terminating)
        name = metadata["name"]
        for kind in BY_PLURAL.values():
            for obj in self._store.list(kind.plural, name) if kind.namespaced else ():
                self.delete(kind, obj, DeleteOptions())
        self._remove_if_empty(name)
        return terminating, False

    def _remove_if_empty(self, name: str) -> None:
        namespace = self._store.get("namespaces", "", name)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        kinds = (kind for kind in BY_PLURAL.values() if kind.namespaced)
        if not any(self._store.entries(kind.plural, name) for kind in kinds):
            self._store.remove("namespaces", "", name)


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raise ApiError 409 unless ``obj`` meets the preconditions in ``options``."""
    metadata = obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata['uid']}). The object might have been deleted and then recreated"
        )
        raise errors.precondition_failed(resource, metadata["name"], why)
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({metadata['resourceVersion']}). The object might "
            "have been modified"
        )
        raise errors.precondition_failed(resource, metadata["name"], why)


def _check_versions(resource: Resource, new: Object, old: Object) -> None:
    after, before = new["metadata"], old["metadata"]
    name = before["name"]
    if after.get("uid") and after["uid"] != before["uid"]:
        raise errors.another_uid(resource, after, before["uid"])
    version = after.get("resourceVersion")
    version = "" if version == "0" else version
    if version and not version.isdigit():
        why = f'strconv.ParseUint: parsing "{version}": invalid syntax'
        raise errors.ApiError(500, "", why)
    if not version:
        if not resource.unconditional_update:
            why = "must be specified for an update"
            cause = errors.invalid_value("metadata.resourceVersion", "0", why)
            kind = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise errors.invalid_kind(kind, name, [cause])
    elif version != before["resourceVersion"]:
        raise errors.conflict(resource, name, errors.MODIFIED)


def _set_deletion_time(
    pod: Object, metadata: Object, requested: int | None, now: datetime
) -> bool | None:
    """Set the deletion time of a pod.

    Returns:
        Whether the metadata changed; None if the pod terminates early enough already.
    """
    if requested is not None and requested < 0:
        requested = 1
    deletion_time = instant(metadata.get("deletionTimestamp"))
    if deletion_time is not None:
        granted = metadata.get("deletionGracePeriodSeconds")
        if not granted:
            return False
        if requested is None or requested >= granted:
            return None
        ends = deletion_time + timedelta(seconds=requested - granted)
        if ends < now:
            ends, requested = now, min(requested, 1)
        metadata.update(deletionTimestamp=stamp(ends), deletionGracePeriodSeconds=requested)
        return True
    spec = pod.get("spec") or {}
    seconds = spec.get("terminationGracePeriodSeconds") or 0 if requested is None else requested
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if finished or not spec.get("nodeName"):
        seconds = 0
    seconds = 1 if seconds < 0 else seconds
    metadata["deletionTimestamp"] = stamp(now + timedelta(seconds=seconds))
    metadata["deletionGracePeriodSeconds"] = seconds
    if metadata.get("generation"):
        metadata["generation"] += 1
    return True


def _mark_deleting(metadata: Object, now: datetime) -> None:
    """Set the deletion timestamp of an object that has finalizers."""
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = stamp(now)
        if metadata.get("generation"):
            metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = 0


def _keep_metadata(new: Object, old: Object) -> None:
    """Restore the fields that clients cannot change (upstream: BeforeUpdate)."""
    after, before = new["metadata"], old["metadata"]
    for field in (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "generateName",
    ):
        _keep(after, before, field)
    if "deletionTimestamp" in before:
        after["deletionTimestamp"] = before["deletionTimestamp"]
    if "deletionGracePeriodSeconds" in before:
        after.setdefault("deletionGracePeriodSeconds", before["deletionGracePeriodSeconds"])
    for field in _OPTIONAL_FIELDS:
        if not after.get(field):
            after.pop(field, None)


def _keep(new: Object, old: Object, field: str) -> None:
    """Copy a field from the old object, or remove it if the old object has none."""
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def _is_new_generation(resource: Resource, new: Object, old: Object) -> bool:
    if resource.plural == "mutatingwebhookconfigurations":
        return new.get("webhooks") != old.get("webhooks")
    if new.get("spec") != old.get("spec"):
        return True
    # Annotations of Deployments are copied to their ReplicaSets, so they count.
    annotations = new["metadata"].get("annotations"), old["metadata"].get("annotations")
    return resource.plural == "deployments" and annotations[0] != annotations[1]


def _in_order(resource: Resource, obj: Object) -> Object:
    """The object with kind, apiVersion and metadata first, in the order of the encoding."""
    keys = iter(obj)
    if next(keys) == "kind" and next(keys) == "apiVersion" and next(keys, "") == "metadata":
        return obj
    first: Object = {"kind": resource.kind, "apiVersion": resource.api_version}
    first["metadata"] = obj["metadata"]
    return {**first, **{key: value for key, value in obj.items() if key not in first}}
