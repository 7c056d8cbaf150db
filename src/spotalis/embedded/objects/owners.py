"""Owner references, and the keys that name objects in a work queue."""

from __future__ import annotations

from spotalis.embedded.objects.resources import Object


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``/name`` for cluster-scoped kinds."""
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def split(key: str) -> tuple[str, str]:
    """The namespace and the name in a key."""
    namespace, _, name = key.partition("/")
    return namespace, name


def uid_of(obj: Object) -> str:
    """``metadata.uid``."""
    uid: str = obj["metadata"]["uid"]
    return uid


def controller_of(obj: Object) -> Object | None:
    """The owner reference with ``controller: true``, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def owner_uids(obj: Object) -> tuple[str, ...]:
    """The uids of all owner references."""
    return tuple(r["uid"] for r in obj["metadata"].get("ownerReferences") or ())


def controller_uid(obj: Object) -> tuple[str, ...]:
    """The uid of the controlling owner as a tuple of one element, or an empty one (for indexes)."""
    reference = controller_of(obj)
    return () if reference is None else (reference["uid"],)


def reference_to(owner: Object, api_version: str, kind: str) -> Object:
    """The owner reference that makes ``owner`` the controller of a new object."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def deleting(obj: Object) -> bool:
    """Whether the object has a deletion timestamp."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def replicas_of(workload: Object) -> int:
    """``spec.replicas``, by default 1."""
    value = workload["spec"].get("replicas")
    return 1 if value is None else int(value)
