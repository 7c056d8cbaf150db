"""The API server's verbs on an object store: what a controller in this process calls.

Requests over a transport come in through :mod:`spotalis.embedded.server.endpoints`.
Every write is atomic: other tasks run in the middle of a request only while an admission webhook
is called (on the creation of a pod).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spotalis.embedded.objects.copies import deep_copy
from spotalis.embedded.objects.resources import BY_PLURAL, Object, Resource
from spotalis.embedded.server import errors, eviction, scale
from spotalis.embedded.server.admission import Admission, Review, WebhookCaller
from spotalis.embedded.server.apply import applied, disown_changed
from spotalis.embedded.server.audit import Audit, AuditEntry
from spotalis.embedded.server.defaults import admit, date_conditions, set_defaults
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.events import to_stored
from spotalis.embedded.server.patches import APPLY, patched
from spotalis.embedded.server.validation import check_patched, check_uid
from spotalis.embedded.server.writes import DeleteOptions, Writer, check_preconditions
from spotalis.embedded.store import ObjectStore
from spotalis.model.environment import Clock, Random

__all__ = ["SYSTEM", "Api", "ApiError", "DeleteOptions", "WebhookCaller"]

SYSTEM = "system:controller"
"""Who asks when nobody says."""
_BINDING = Resource(plural="pods/binding", kind="Binding")
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class Api:
    """An API server.

    Objects given to it are copied; objects that it returns are those in the store: read them,
    copy them, never change them.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        webhook: WebhookCaller | None = None,
        audit: Audit | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        """A server with the four namespaces that every cluster has.

        Args:
            clock: for stamps.
            rng: for names and UIDs.
            webhook: what calls admission webhooks; None: they cannot be reached.
            audit: the log to write; its own by default.
            store: where the objects are; a new one by default.
        """
        self.clock = clock
        self.rng = rng
        self.store = ObjectStore() if store is None else store
        self.audit = Audit(clock) if audit is None else audit
        self._writer = Writer(self.store, clock, rng)
        self._admission = Admission(self.store, webhook, self._writer.uid)
        for name in _NAMESPACES:
            if self.store.get("namespaces", "", name) is None:
                self._writer.create(BY_PLURAL["namespaces"], {"metadata": {"name": name}})

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """The object; unlike the other verbs it is not logged.

        Raises:
            ApiError: 404.
        """
        found = self.store.get(plural, namespace, name)
        if found is None:
            raise errors.not_found(BY_PLURAL[plural], name)
        return found

    async def create(
        self,
        plural: str,
        obj: Object,
        *,
        user: str = SYSTEM,
        dry_run: bool = False,
        warnings: list[str] | None = None,
    ) -> Object:
        """Create an object, after admission; what was made of it.

        ``warnings`` takes what webhooks warn of.

        Raises:
            ApiError: 403, 404 (no such namespace), 409 or 422; 500 when a webhook fails.
        """
        resource = BY_PLURAL[plural]
        namespace = obj["metadata"].get("namespace", "") if resource.namespaced else ""
        name = obj["metadata"].get("name", "")
        with self.audit.entry(
            "create", plural, namespace, name, user, code=201, dry_run=dry_run
        ) as entry:
            made = await self._create(resource, _own(resource, obj), entry, warnings)
            entry.name = made["metadata"]["name"]
            return made

    async def update(
        self,
        plural: str,
        obj: Object,
        *,
        user: str = SYSTEM,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, its status alone, or its scale; the object as it is now.

        Conflicts are looked for where ``metadata.resourceVersion`` is given.

        Raises:
            ApiError: 404, 409 or 422.
        """
        resource = BY_PLURAL[plural]
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "") if resource.namespaced else ""
        name = metadata.get("name", "")
        with self.audit.entry(
            "update", plural, namespace, name, user, subresource=subresource, dry_run=dry_run
        ) as entry:
            old = self.store.get(plural, namespace, name)
            if old is None:
                if subresource or not resource.create_on_update:
                    raise errors.not_found(resource, name)
                if metadata.get("uid"):
                    raise errors.another_uid(resource, metadata, "", dry_run=dry_run)
                entry.code = 201
                created = _own(resource, obj)
                created["metadata"].pop("resourceVersion", None)
                return await self._create(resource, created, entry, None)
            if subresource == "scale":
                new = _own(resource, scale.scaled(resource, old, obj))
                subresource = ""
            else:
                new = _own(resource, obj)
            return self._replace(resource, new, old, subresource=subresource, dry_run=dry_run)

    async def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        body: Any,
        *,
        patch_type: str,
        user: str = SYSTEM,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
        warnings: list[str] | None = None,
    ) -> Object:
        """Change parts of an object; the object as it is now.

        Args:
            plural: its kind.
            namespace: ``""`` for cluster-wide kinds.
            name: of the object.
            body: the patch, decoded.
            patch_type: its content type, as in :mod:`spotalis.embedded.server.patches`.
            user: who asks.
            subresource: ``""``, ``status`` or ``scale``.
            field_manager: who applies; required for server-side apply and ignored otherwise.
            force: take fields from other managers (server-side apply).
            dry_run: say what would be, and change nothing.
            warnings: takes what webhooks warn of, should the object be created.

        Raises:
            ApiError: 400, 404, 409, 415 or 422.
        """
        resource = BY_PLURAL[plural]
        with self.audit.entry(
            "patch", plural, namespace, name, user, subresource=subresource, dry_run=dry_run
        ) as entry:
            old = self.store.get(plural, namespace, name)
            if patch_type == APPLY:
                return await self._apply(
                    resource, namespace, name, body, old, field_manager, force, subresource,
                    entry, warnings,
                )  # fmt: skip
            if old is None:
                raise errors.not_found(resource, name)
            if subresource == "scale":
                new = scale.scaled(resource, old, patched(scale.scale_of(old), body, patch_type))
                subresource = ""
            else:
                new = patched(old, body, patch_type)
            _check_name(new, name)
            check_patched(resource, new)
            check_uid(resource, new, old)
            own = _own(resource, new)
            return self._replace(resource, own, old, subresource=subresource, dry_run=dry_run)

    async def delete(
        self,
        plural: str,
        namespace: str,
        name: str,
        *,
        user: str = SYSTEM,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        propagation: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Delete an object, or begin to; its last state so far.

        A pod on a node stays until its kubelet deletes it with ``grace_seconds`` 0; what has
        finalizers stays until they are gone.

        Raises:
            ApiError: 404, or 409 where ``uid`` or ``resource_version`` is another.
        """
        resource = BY_PLURAL[plural]
        with self.audit.entry("delete", plural, namespace, name, user, dry_run=dry_run):
            old = self.get(plural, namespace, name)
            options = DeleteOptions(
                uid=uid,
                resource_version=resource_version,
                grace_seconds=grace_seconds,
                propagation=propagation,
            )
            deleted, _ = self._writer.delete(resource, old, options, dry_run=dry_run)
            return deleted

    async def evict(
        self,
        namespace: str,
        name: str,
        *,
        user: str = SYSTEM,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
        body: Object | None = None,
    ) -> None:
        """Delete a pod if its PodDisruptionBudget allows it; ``body`` is kept in the audit log.

        Raises:
            ApiError: 404; 409 where ``uid`` or ``resource_version`` is another; 429 the budget
                does not allow it now; 500 more than one budget selects the pod.
        """
        resource = BY_PLURAL["pods"]
        with self.audit.entry(
            "create", "pods", namespace, name, user,
            subresource="eviction", code=201, dry_run=dry_run,
        ) as entry:  # fmt: skip
            entry.request = body
            pod = self.get("pods", namespace, name)
            now = self._writer.now()
            # The real server, too, spends the budget before it looks at the preconditions, and for
            # a pod that is not ready puts its own version in the place of the one asked for.
            guarded = not eviction.needs_no_budget(pod)
            if guarded and eviction.spend(self.store, pod, now, dry_run=dry_run):
                resource_version = pod["metadata"]["resourceVersion"]
            options = DeleteOptions(
                uid=uid, resource_version=resource_version, grace_seconds=grace_seconds
            )
            check_preconditions(resource, pod, options)
            condemned = eviction.disrupted(pod, now)
            if not dry_run and condemned != pod:
                pod = self.store.put("pods", condemned)
            checked = DeleteOptions(grace_seconds=grace_seconds)
            self._writer.delete(resource, pod, checked, dry_run=dry_run)

    def bind(self, namespace: str, name: str, node: str, *, user: str = "") -> Object:
        """Bind a pod to a node, as the scheduler does, and say that it is scheduled.

        Raises:
            ApiError: 404; 409 it is bound already, or on its way out.
        """
        user = user or "system:kube-scheduler"
        with self.audit.entry(
            "create", "pods", namespace, name, user, subresource="binding", code=201
        ):
            pod = self.get("pods", namespace, name)
            bound = (pod.get("spec") or {}).get("nodeName")
            if pod["metadata"].get("deletionTimestamp"):
                why = f"pod {name} is being deleted, cannot be assigned to a host"
                raise errors.conflict(_BINDING, name, why)
            if bound:
                why = f'pod {name} is already assigned to node "{bound}"'
                raise errors.conflict(_BINDING, name, why)
            at = self._writer.now()
            scheduled: Object = {"type": "PodScheduled", "status": "True"}
            scheduled |= {"lastProbeTime": None, "lastTransitionTime": at}
            status = pod.get("status") or {}
            others = [
                one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"
            ]
            changed = {
                **pod,
                "spec": {**pod["spec"], "nodeName": node},
                "status": {**status, "conditions": [*others, scheduled]},
            }
            return self.store.put("pods", changed)

    def set_status(
        self,
        plural: str,
        namespace: str,
        name: str,
        change: Callable[[Object], None],
        *,
        user: str = SYSTEM,
    ) -> Object:
        """Change a status, for controllers in this process; the object as it is now.

        ``change`` gets a copy of the object, with a ``status``; whatever else it changes is lost.
        Nothing is written when the status stays as it was.

        Raises:
            ApiError: 404.
        """
        old = self.get(plural, namespace, name)
        status = old.get("status")
        copy = {**old, "status": deep_copy(status or {})}
        change(copy)
        date_conditions(plural, copy)
        if copy["status"] == (status or {}):
            return old
        with self.audit.entry("update", plural, namespace, name, user, subresource="status"):
            return self.store.put(plural, {**old, "status": copy["status"]})

    async def _create(
        self, resource: Resource, obj: Object, entry: AuditEntry, warnings: list[str] | None
    ) -> Object:
        namespace = obj["metadata"].get("namespace", "")
        self._check_namespace(resource, namespace, obj)
        if resource.plural in ("pods", "nodes"):
            set_defaults(resource.plural, obj)
            admit(resource.plural, obj)
        if resource.plural == "pods":
            obj.pop("status", None)
            for field in ("uid", "creationTimestamp"):
                obj["metadata"].pop(field, None)
            review = Review(
                resource=resource,
                obj={
                    "kind": resource.kind,
                    "apiVersion": resource.api_version,
                    **obj,
                    "status": {},
                },
                namespace=namespace,
                user=entry.user,
                dry_run=entry.dry_run,
            )
            try:
                await self._admission.admit(review)
            finally:
                entry.annotations |= review.annotations
                if warnings is not None:
                    warnings += review.warnings
            obj = review.obj
            self._check_namespace(resource, namespace, obj)  # time has passed
        return self._writer.create(resource, obj, dry_run=entry.dry_run)

    def _check_namespace(self, resource: Resource, namespace: str, obj: Object) -> None:
        if not resource.namespaced:
            return
        found = self.store.get("namespaces", "", namespace)
        if found is None:
            raise errors.not_found(BY_PLURAL["namespaces"], namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = (
                "unable to create new content in namespace "
                f"{namespace} because it is being terminated"
            )
            message = f"namespace {namespace} is being terminated"
            cause = errors.Cause("NamespaceTerminating", message, "metadata.namespace")
            raise errors.forbidden(resource, obj["metadata"].get("name", ""), why, [cause])

    def _replace(
        self, resource: Resource, new: Object, old: Object, *, subresource: str, dry_run: bool
    ) -> Object:
        disown_changed(new, old)
        return self._writer.replace(resource, new, old, subresource=subresource, dry_run=dry_run)

    async def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        wanted: Any,
        old: Object | None,
        manager: str,
        force: bool,
        subresource: str,
        entry: AuditEntry,
        warnings: list[str] | None,
    ) -> Object:
        if not manager:
            cause = errors.required("fieldManager", "is required for apply patch")
            raise errors.invalid_kind("PatchOptions.meta.k8s.io", "", [cause])
        if not isinstance(wanted, dict):
            why = (
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot "
                "unmarshal array into Go value of type map[string]interface {}"
            )
            raise errors.bad_request(why)
        if old is None and subresource:
            raise errors.not_found(resource, name)
        metadata = {**(wanted.get("metadata") or {}), "name": name}
        if namespace:
            metadata["namespace"] = namespace
        named = wanted.get("apiVersion", ""), wanted.get("kind", "")
        if named != (resource.api_version, resource.kind) and resource.plural != "events":
            group, _, version = named[0].rpartition("/")
            raise errors.bad_request(f"invalid object type: {group}/{version}, Kind={named[1]}")
        wanted = to_stored({**wanted, "metadata": metadata})
        now = self._writer.now()
        result = applied(old, wanted, manager, now, force=force, subresource=subresource)
        version = metadata.get("resourceVersion")
        if old is not None and version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, name, errors.MODIFIED)
        if old is None:
            entry.code = 201
            return await self._create(resource, _own(resource, result), entry, warnings)
        if result is old:
            return old
        own = _own(resource, result)
        return self._writer.replace(
            resource, own, old, subresource=subresource, dry_run=entry.dry_run
        )


def _own(resource: Resource, obj: Object) -> Object:
    """A copy to be changed freely, of the kind and scope that it must be of."""
    copy: Object = deep_copy(to_stored(obj) if resource.plural == "events" else obj)
    copy["kind"], copy["apiVersion"] = resource.kind, resource.api_version
    if not resource.namespaced:
        copy["metadata"].pop("namespace", None)
    return copy


def _check_name(new: Object, name: str) -> None:
    given = (new.get("metadata") or {}).get("name", "")
    if given != name:
        message = f"the name of the object ({given}) does not match the name on the URL ({name})"
        raise errors.bad_request(message)
