"""How objects are created, replaced and deleted: metadata, defaults, validation, finalizers, grace.

The rules of kube-apiserver's generic registry and of the strategies of its kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.embedded.objects.resources import BY_PLURAL, Object, Resource
from spotalis.embedded.objects.timestamps import stamp
from spotalis.embedded.server import errors
from spotalis.embedded.server.defaults import date_conditions, set_defaults, tolerate
from spotalis.embedded.server.validation import check_create, check_update
from spotalis.embedded.store import ObjectStore
from spotalis.model.environment import Clock, Random

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names: no vowels, and no digits that look like one."""
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_NAME_TRIES = 8
_LONGEST_BASE = 58
_SYSTEM_FIELDS = (
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_OPTIONAL_FIELDS = ("labels", "annotations", "ownerReferences", "finalizers", "managedFields")
"""Of metadata: left out where they are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """What a deletion asks for; the defaults ask for nothing."""

    uid: str = ""
    """Only the object with this UID."""
    resource_version: str = ""
    """Only the object as of this version."""
    grace_seconds: int | None = None
    """None: as the pod says."""
    propagation: str = ""
    """``Background``, ``Foreground`` or ``Orphan``; ``""``: the default of the kind."""


class Writer:
    """Changes a store by the rules of the API."""

    def __init__(self, store: ObjectStore, clock: Clock, rng: Random) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng

    def name(self, resource: Resource, obj: Object) -> None:
        """Give an object the name that its ``generateName`` asks for, in place.

        Raises:
            ApiError: 409, eight generated names in a row are taken (one in five million names).
        """
        metadata = obj["metadata"]
        base = metadata.get("generateName")
        if metadata.get("name") or not base:
            return
        for _ in range(_NAME_TRIES):
            name = base[:_LONGEST_BASE] + self._suffix()
            if self._store.get(resource.plural, metadata.get("namespace", ""), name) is None:
                metadata["name"] = name
                return
        raise errors.name_exhausted(resource, base)

    def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an object that has been admitted; it is changed in place.

        Raises:
            ApiError: 409 it exists; 422 it cannot be.
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
        _initial_status(resource, obj, self._clock.now())
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
        """Put ``new`` in the place of ``old``; ``new`` is changed in place.

        Nothing is written when nothing changes. An object that is being deleted and loses its
        last finalizer is removed.

        Raises:
            ApiError: 409 it is not what ``new`` was made from; 422 it may not change so.
        """
        self._check_versions(resource, new, old, dry_run=dry_run)
        _keep_metadata(new, old)
        if subresource == "status":
            _keep(new, old, "spec")
            if resource.plural == "deployments":
                _keep_in(new["metadata"], old["metadata"], "labels")
            if resource.plural == "pods":
                _keep_in(new["metadata"], old["metadata"], "ownerReferences")
                date_conditions(resource.plural, new)
        else:
            if "status" in resource.subresources:
                _keep(new, old, "status")
            if "spec" not in new or new["spec"] != old.get("spec"):
                set_defaults(resource.plural, new)
                if resource.plural == "pods":
                    tolerate(new["spec"])
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
        """Delete, or begin to: the object as it is now, and whether it is gone.

        Raises:
            ApiError: 409 it is not the one meant.
        """
        check_preconditions(resource, old, options)
        if resource.plural == "namespaces":
            return self._end_namespace(resource, old, dry_run=dry_run)
        metadata = dict(old["metadata"])
        now = self._clock.now().replace(microsecond=0)
        graceful = False
        if resource.plural == "pods":
            shortened = _grace(old, metadata, options.grace_seconds, now)
            if shortened is None:
                return old, False  # it is on its way, and asked for no sooner end
            graceful = shortened
        finalizers = _finalizers(resource, metadata.get("finalizers") or [], options.propagation)
        changed = graceful
        if set(finalizers) != set(metadata.get("finalizers") or ()):
            metadata["finalizers"] = finalizers
            changed = True
            if not finalizers:
                del metadata["finalizers"]
        if finalizers and not graceful:
            _mark(metadata, now)
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
        """The time as the API writes it: RFC 3339 in UTC, whole seconds."""
        return stamp(self._clock.now())

    def uid(self) -> str:
        """A random (version 4) UUID."""
        bits = self._rng.getrandbits(128)
        bits = bits & ~(0xF << 76) | 4 << 76
        bits = bits & ~(0x3 << 62) | 2 << 62
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _suffix(self) -> str:
        return "".join(ALPHABET[self._rng.getrandbits(32) % len(ALPHABET)] for _ in range(5))

    def _check_versions(
        self, resource: Resource, new: Object, old: Object, *, dry_run: bool
    ) -> None:
        after, before = new["metadata"], old["metadata"]
        name = before["name"]
        if after.get("uid") and after["uid"] != before["uid"]:
            raise errors.another_uid(resource, after, before["uid"], dry_run=dry_run)
        version = after.get("resourceVersion")
        version = "" if version == "0" else version
        if version and not version.isdigit():
            raise errors.unparsed_version(version)
        if not version:
            if not resource.unconditional_update:
                why = "must be specified for an update"
                cause = errors.invalid_value("metadata.resourceVersion", "0", why)
                kind = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
                raise errors.invalid_kind(kind, name, [cause])
        elif version != before["resourceVersion"]:
            raise errors.conflict(resource, name, errors.MODIFIED)

    def _remove(self, resource: Resource, obj: Object) -> Object:
        namespace = obj["metadata"].get("namespace", "")
        last = self._store.remove(resource.plural, namespace, obj["metadata"]["name"])
        if namespace:
            self._release_namespace(namespace)
        return last

    def _end_namespace(
        self, resource: Resource, old: Object, *, dry_run: bool
    ) -> tuple[Object, bool]:
        """Terminate a namespace and all that is in it: the namespace controller's work, done here.

        It goes when the last object in it has gone.
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
        self._release_namespace(name)
        return terminating, False

    def _release_namespace(self, name: str) -> None:
        namespace = self._store.get("namespaces", "", name)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        kinds = (kind for kind in BY_PLURAL.values() if kind.namespaced)
        if not any(self._store.entries(kind.plural, name) for kind in kinds):
            self._store.remove("namespaces", "", name)


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raise ApiError 409 unless ``obj`` is the one that ``options`` mean."""
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


def _grace(pod: Object, metadata: Object, asked: int | None, now: datetime) -> bool | None:
    """Set a pod's deletion time; whether anything was set. None: it terminates soon enough."""
    if asked is not None and asked < 0:
        asked = 1
    began = metadata.get("deletionTimestamp")
    if began:
        granted = metadata.get("deletionGracePeriodSeconds")
        if not granted:
            return False
        if asked is None or asked >= granted:
            return None
        ends = datetime.fromisoformat(began) + timedelta(seconds=asked - granted)
        if ends < now:
            ends, asked = now, min(asked, 1)
        metadata.update(deletionTimestamp=stamp(ends), deletionGracePeriodSeconds=asked)
        return True
    spec = pod.get("spec") or {}
    seconds = spec.get("terminationGracePeriodSeconds") or 0 if asked is None else asked
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if finished or not spec.get("nodeName"):
        seconds = 0
    seconds = 1 if seconds < 0 else seconds
    metadata["deletionTimestamp"] = stamp(now + timedelta(seconds=seconds))
    metadata["deletionGracePeriodSeconds"] = seconds
    if metadata.get("generation"):
        metadata["generation"] += 1
    return True


def _mark(metadata: Object, now: datetime) -> None:
    """Mark an object that waits for its finalizers as being deleted."""
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = stamp(now)
        if metadata.get("generation"):
            metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = 0


def _finalizers(resource: Resource, have: Sequence[str], propagation: str) -> list[str]:
    """An object's finalizers once it is deleted with this propagation policy."""
    if resource.plural == "events":
        return list(have)
    if not propagation:
        propagation = _PROPAGATION.get(next((f for f in have if f in _PROPAGATION), ""), "")
    if not propagation and resource.plural == "jobs":
        propagation = "Orphan" if resource.group == "batch" else ""
    wanted = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(propagation, [])
    return [one for one in have if one not in _PROPAGATION] + wanted


_PROPAGATION = {ORPHAN: "Orphan", FOREGROUND: "Foreground"}


def _initial_status(resource: Resource, obj: Object, now: datetime) -> None:
    """The status of a new object: writers of it come later, but for a node's kubelet."""
    match resource.plural:
        case "pods":
            obj["status"] = {"phase": "Pending", "qosClass": _quality(obj.get("spec") or {})}
            if (obj.get("spec") or {}).get("schedulingGates"):
                gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
                gated["message"] = "Scheduling is blocked due to non-empty scheduling gates"
                dated = {"lastProbeTime": None, "lastTransitionTime": stamp(now)}
                obj["status"]["conditions"] = [{**gated, **dated}]
        case "namespaces":
            obj["status"] = {"phase": "Active"}
            obj["spec"] = {"finalizers": ["kubernetes"]}
        case "poddisruptionbudgets":
            counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
            obj["status"] = dict.fromkeys(counts, 0)
        case "statefulsets":
            obj["status"] = {"replicas": 0, "availableReplicas": 0}
        case "replicasets":
            obj["status"] = {"replicas": 0}
        case "nodes":
            obj.setdefault("status", {})
        case _ if "status" in resource.subresources:
            obj["status"] = {}


def _quality(spec: Object) -> str:
    """The quality of service class of a pod."""
    guaranteed, any_resources = True, False
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_resources = any_resources or bool(limits or requests)
        for kind in ("cpu", "memory"):
            if kind not in limits or requests.get(kind, limits[kind]) != limits[kind]:
                guaranteed = False
    if not any_resources:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _keep_metadata(new: Object, old: Object) -> None:
    """Whatever ``new`` says, these stay as they are (BeforeUpdate)."""
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
        _keep_in(after, before, field)
    if "deletionTimestamp" in before:
        after["deletionTimestamp"] = before["deletionTimestamp"]
    if "deletionGracePeriodSeconds" in before:
        after.setdefault("deletionGracePeriodSeconds", before["deletionGracePeriodSeconds"])
    for field in _OPTIONAL_FIELDS:
        if not after.get(field):
            after.pop(field, None)


def _keep(new: Object, old: Object, field: str) -> None:
    """Take a field over from the old object, or leave it out where that had none."""
    _keep_in(new, old, field)


def _keep_in(new: Object, old: Object, field: str) -> None:
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
    """The object with its kind first, as it is encoded; empty metadata left out."""
    keys = iter(obj)
    if next(keys) == "kind" and next(keys) == "apiVersion" and next(keys, "") == "metadata":
        return obj
    first: Object = {"kind": resource.kind, "apiVersion": resource.api_version}
    first["metadata"] = obj["metadata"]
    return {**first, **{key: value for key, value in obj.items() if key not in first}}
